//! Child processes that never outlive us.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child as Process, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A running process, its two output files, and the watcher that ends it when we die.
///
/// The process leads a process group of its own: Ctrl-C in a terminal reaches us, not it, and
/// killing it takes what it started along. The watcher is a shell that waits for the end of a pipe
/// that only we hold: the kernel closes it however we end.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    watcher: Option<Process>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Child {
    /// Starts `command` with its output in `folder/NAME.out` and `folder/NAME.err`.
    ///
    /// `remove` is a folder that goes when we die; on an orderly end its owner removes it.
    ///
    /// # Errors
    /// The program is not there or cannot be started.
    pub fn start(
        name: &str,
        command: &mut Command,
        folder: &Path,
        remove: Option<&Path>,
    ) -> Result<Self> {
        let (stdout, stderr) =
            (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("open {}", path.display()))
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(open(&stdout)?)
            .stderr(open(&stderr)?)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("start {name} ({})", command.get_program().to_string_lossy())
            })?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "causeway-watcher"])
            .arg(process.id().to_string())
            .arg(remove.unwrap_or_else(|| Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the watcher shell")?;
        Ok(Self { name: name.to_owned(), process, watcher: Some(watcher), stdout, stderr })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The code it ended with, when it has ended; 128 + N when signal N ended it.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self.process.try_wait().context("look after a child")?.map(code))
    }

    /// Fails when it has ended, with what it said last.
    ///
    /// # Errors
    /// It has ended.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(code) = self.ended()? {
            bail!("{} ended with code {code}:\n{}", self.name, self.tail(30));
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<i32> {
        let end = Instant::now() + limit;
        loop {
            if let Some(code) = self.ended()? {
                return Ok(code);
            }
            if Instant::now() > end {
                bail!("{} still runs after {limit:?}:\n{}", self.name, self.tail(30));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal (`TERM`, `INT`, `STOP`, `CONT`) to the process alone.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal(&self, signal: &str) -> Result<()> {
        kill(signal, &self.pid().to_string())
    }

    /// SIGKILL for it and what it started, and waits until it is gone.
    pub fn kill9(&mut self) {
        // The watcher first: once the process is reaped, its number may be another's.
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.kill());
            drop(watcher.wait());
        }
        if matches!(self.process.try_wait(), Ok(None)) {
            drop(kill("KILL", &format!("-{}", self.pid())));
            drop(self.process.kill());
        }
        drop(self.process.wait());
    }

    /// All that it has written to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All that it has written to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The last lines of its output, for an error message.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let end = |path: &Path| tail_of(&read_end(path, 64 * 1024), lines);
        let (out, err) = (end(&self.stdout), end(&self.stderr));
        [out, err].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Waits for the end of standard input, kills process group $1, removes folder $2.
///
/// A server that dies may still write for a moment, so the removal is tried again.
const WATCH: &str = r#"cat >/dev/null 2>&1
kill -KILL "-$1" 2>/dev/null
kill -KILL "$1" 2>/dev/null
[ -n "$2" ] || exit 0
for try in 1 2 3 4 5; do rm -rf "$2" 2>/dev/null && exit 0; sleep 0.3; done"#;

/// The last `lines` lines of a text.
#[must_use]
pub fn tail_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The resident memory of a process now and at its peak, in MB (10^6 bytes), as the kernel counts.
///
/// # Errors
/// There is no such process.
pub fn memory_mb(pid: u32) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("read the memory of process {pid}"))?;
    let field = |name: &str| -> Result<f64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<f64>().ok())
            .map(|kib| kib * 1024.0 / 1e6)
            .with_context(|| format!("process {pid} has no {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// The processor time a process has used, user and system, in seconds.
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    times(pid, 2)
}

/// The same of a process and of all that it has started: PostgreSQL is a process for each connection.
///
/// # Errors
/// There is no such process.
pub fn family_cpu_seconds(pid: u32) -> Result<f64> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .with_context(|| format!("list the children of process {pid}"))?;
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    // One may end between the two looks; its time is its parent's by then.
    let living: f64 = children.filter_map(|child| cpu_seconds(child).ok()).sum();
    Ok(times(pid, 4)? + living)
}

/// The first so many of: user and system time, and both of children that have ended.
fn times(pid: u32, count: usize) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("read the times of process {pid}"))?;
    // The name of the program, in parentheses, may hold blanks: count after it.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(count)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    // USER_HZ is 100 on every Linux that Rust knows.
    Ok(ticks / 100.0)
}

fn kill(signal: &str, target: &str) -> Result<()> {
    // The shell's own `kill`: a machine without procps has it too.
    let status = Command::new("sh")
        .args(["-c", r#"kill "-$1" "$2""#, "kill", signal, target])
        .stderr(Stdio::null())
        .status()
        .context("start a shell")?;
    if !status.success() {
        bail!("send {signal} to process {target}: there is no such process");
    }
    Ok(())
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn read_end(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_reports_its_code_and_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let mut child = Child::start("three", &mut command, folder.path(), None).unwrap();
        assert_eq!(child.wait(Duration::from_secs(10)).await.unwrap(), 3);
        assert_eq!(child.tail(5), "out\nerr");
        assert!(child.must_run().unwrap_err().to_string().contains("code 3"));
    }

    #[tokio::test]
    async fn killing_takes_the_grandchildren_along() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let mut child = Child::start("parent", &mut command, folder.path(), None).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.stdout().trim().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let grandchild: u32 = child.stdout().trim().parse().unwrap();
        assert!(memory_mb(grandchild).unwrap().0 > 0.0);
        child.kill9();
        assert_eq!(child.ended().unwrap(), Some(128 + 9));
        let gone = || !matches!(memory_mb(grandchild), Ok((rss, _)) if rss > 0.0);
        while !gone() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(gone(), "the grandchild lives");
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail_of("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail_of("", 2), "");
    }
}
