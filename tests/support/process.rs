//! Our own binaries, run as a user runs them: a process with a configuration file.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binaries,
    child::{self, Child},
    metrics::Metrics,
    wait,
};

/// A running binary of ours; SIGKILLed when dropped.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    admin: Option<SocketAddr>,
    peak_mb: f64,
    _folder: TempDir,
}

/// What a program that ran to its end left.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 128 + N when signal N ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Proc {
    /// Starts `BINARY ARGS... --config CONFIG`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(binary: &str, args: &[&str], config: &Path) -> Result<Self> {
        Self::start_with(binary, args, config, &[])
    }

    /// Starts it with further environment variables.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(
        binary: &str,
        args: &[&str],
        config: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{binary}-"))
            .tempdir()
            .with_context(|| format!("make a folder for {binary}"))?;
        let mut command = Command::new(binaries::path(binary));
        command.args(args).arg("--config").arg(config);
        command.envs(environment.iter().copied());
        let child = Child::start(binary, &mut command, folder.path(), Some(folder.path()))?;
        Ok(Self { name: binary.to_owned(), child, admin: None, peak_mb: 0.0, _folder: folder })
    }

    /// The name of the binary.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The address of its admin server, from its log line `admin listening`.
    ///
    /// # Errors
    /// It ends, or does not say within 30 s.
    pub async fn admin(&mut self) -> Result<SocketAddr> {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(address) = self.admin {
                return Ok(address);
            }
            self.child.must_run()?;
            self.admin = self.log().iter().find_map(admin_address);
            if self.admin.is_none() {
                if std::time::Instant::now() > end {
                    bail!("{} has no admin server after 30 s:\n{}", self.name, self.tail(20));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// One page of its admin server: `/metrics`, `/live`, `/ready`, `/status`.
    ///
    /// # Errors
    /// It does not answer, or with another status than 2xx.
    pub async fn page(&mut self, path: &str) -> Result<String> {
        // One for all: each new one reads the system's certificates, which takes milliseconds.
        static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
        let address = self.admin().await?;
        let answer = CLIENT
            .get_or_init(|| {
                reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap_or_default()
            })
            .get(format!("http://{address}{path}"))
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .with_context(|| format!("ask {} for {path}", self.name))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("read {path}"))?;
        if !status.is_success() {
            bail!("{} answers {path} with {status}: {}", self.name, text.trim());
        }
        Ok(text)
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// Its admin server does not answer.
    pub async fn metrics(&mut self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.page("/metrics").await?))
    }

    /// Its status page.
    ///
    /// # Errors
    /// Its admin server does not answer, or not with JSON.
    pub async fn status(&mut self) -> Result<Value> {
        let text = self.page("/status").await?;
        serde_json::from_str(&text).with_context(|| format!("read the status of {}", self.name))
    }

    /// Asks for the status until it is as it should be, and gives it; `what` says what is waited for. A process that has just
    /// been started does not answer yet.
    ///
    /// # Errors
    /// When it is not so within the limit; with the status and what the process has said.
    pub async fn status_until(
        &mut self,
        what: &str,
        limit: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let status = self.status().await.unwrap_or_default();
            if is(&status) {
                return Ok(status);
            }
            if begun.elapsed() > limit {
                bail!("waited for {what}: {status}\n{}", self.tail(20));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready after `limit`; the message has the end of its log.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        let end = std::time::Instant::now() + limit;
        loop {
            match self.page("/ready").await {
                Ok(_) => return Ok(()),
                Err(error) if std::time::Instant::now() > end => {
                    return Err(error.context(format!(
                        "{} is not ready after {limit:?}:\n{}",
                        self.name,
                        self.tail(20)
                    )));
                }
                Err(_) => self.child.must_run()?,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its resident memory now, in MB (10^6 bytes).
    ///
    /// # Errors
    /// It has ended.
    pub fn rss_mb(&mut self) -> Result<f64> {
        Ok(self.memory()?.0)
    }

    /// The most resident memory it has had, in MB (10^6 bytes); after its end, as last seen.
    ///
    /// # Errors
    /// It has ended and nobody ever asked while it ran.
    pub fn peak_mb(&mut self) -> Result<f64> {
        match self.memory() {
            Ok((_, peak)) => Ok(peak),
            Err(error) if self.peak_mb == 0.0 => Err(error),
            Err(_) => Ok(self.peak_mb),
        }
    }

    fn memory(&mut self) -> Result<(f64, f64)> {
        let (now, peak) = child::memory_mb(self.child.pid())?;
        self.peak_mb = peak;
        Ok((now, peak))
    }

    /// The processor time used, in seconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        child::cpu_seconds(self.child.pid())
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.child.kill9();
    }

    /// Sends a signal: `STOP` freezes it, `CONT` lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.child.signal(signal)
    }

    /// Asks it to stop (SIGTERM) and gives its exit code.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<i32> {
        if self.child.ended()?.is_none() {
            self.child.signal("TERM")?;
        }
        self.child.wait(limit).await
    }

    /// Waits until it ends by itself and gives its exit code.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<i32> {
        self.child.wait(limit).await
    }

    /// Its exit code, when it has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        self.child.ended()
    }

    /// Fails when it has ended, with the end of its log.
    ///
    /// # Errors
    /// It has ended.
    pub fn must_run(&mut self) -> Result<()> {
        self.child.must_run()
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.child.stdout()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    /// Its log so far: every line of its output that is a JSON object.
    #[must_use]
    pub fn log(&self) -> Vec<Value> {
        let text = self.child.stdout() + &self.child.stderr();
        text.lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until its log has a line with that message.
    ///
    /// # Errors
    /// It ends, or `limit` passes.
    pub async fn logged(&mut self, message: &str, limit: Duration) -> Result<Value> {
        let what = format!("{} to log {message:?}", self.name);
        let child = &mut self.child;
        let mut look = || {
            let text = child.stdout() + &child.stderr();
            let line = text
                .lines()
                .filter(|line| line.contains(message))
                .find_map(|line| serde_json::from_str(line).ok());
            match line {
                Some(line) => Ok(Some(line)),
                None => child.must_run().map(|()| None),
            }
        };
        wait::until(&what, limit, || std::future::ready(look())).await
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        self.child.tail(lines)
    }
}

/// Runs `BINARY ARGS... --config CONFIG` to its end.
///
/// # Errors
/// It cannot be started, or still runs after `limit`.
pub async fn run(binary: &str, args: &[&str], config: &Path, limit: Duration) -> Result<Ended> {
    let mut process = Proc::start(binary, args, config)?;
    let code = process.wait(limit).await?;
    Ok(Ended { code, stdout: process.stdout(), stderr: process.stderr() })
}

fn admin_address(line: &Value) -> Option<SocketAddr> {
    // Flattened or nested: both are common shapes of a JSON log.
    let fields = line.get("fields").unwrap_or(line);
    if fields.get("message")?.as_str()? != "admin listening" {
        return None;
    }
    fields.get("address")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_address_is_in_the_log() {
        for line in [
            r#"{"message":"admin listening","address":"127.0.0.1:9"}"#,
            r#"{"level":"INFO","fields":{"message":"admin listening","address":"127.0.0.1:9"}}"#,
        ] {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(admin_address(&line), Some("127.0.0.1:9".parse().unwrap()));
        }
    }
}
