//! Things that are fetched once and kept outside the clone: the jars of Kafka, the registry.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::env;

/// `${XDG_CACHE_HOME:-$HOME/.cache}/causeway`.
#[must_use]
pub fn folder() -> PathBuf {
    let base = match env::var("XDG_CACHE_HOME") {
        Some(base) => PathBuf::from(base),
        None => Path::new(&env::var("HOME").unwrap_or_else(|| "/tmp".to_owned())).join(".cache"),
    };
    base.join("causeway")
}

/// The folder `name` of the cache, made by `make` when it is not there.
///
/// `make` fills a folder beside it that takes the name only when it is complete, and test processes
/// that start together take turns, so that nobody sees half of it and Maven runs once.
///
/// # Errors
/// Says which folder could not be made, and why.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let done = folder().join(name);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(folder()).with_context(|| format!("make {}", folder().display()))?;
    let lock = File::create(folder().join("lock")).context("open the cache's lock file")?;
    lock.lock().context("lock the cache")?;
    if done.is_dir() {
        return Ok(done);
    }
    let part = folder().join(format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    make(&part).with_context(|| format!("fill {}", done.display()))?;
    fs::rename(&part, &done).with_context(|| format!("rename {}", part.display()))?;
    Ok(done)
}

/// Runs a tool to its end; the error has the end of what it printed.
///
/// # Errors
/// The tool is not there, or ends with another code than 0.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}; is it installed?"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{name} ended with {}:\n{}", output.status, crate::child::tail_of(&all, 30));
    }
    Ok(text)
}

/// `mvn -q -B -f pom.xml GOAL...` with a pom of ours.
///
/// # Errors
/// Maven is not there, or fails (often: no network).
pub fn maven(pom: &str, folder: &Path, goals: &[String]) -> Result<()> {
    let file = folder.join("pom.xml");
    fs::write(&file, pom).context("write pom.xml")?;
    eprintln!("fetching from Maven Central into {} (once)", folder.display());
    run(Command::new("mvn").args(["-q", "-B", "-f"]).arg(&file).args(goals))
        .context("fetch from Maven Central (install `maven`; it needs the network once)")?;
    Ok(())
}
