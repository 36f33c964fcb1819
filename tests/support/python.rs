//! Python with clients that others wrote: they judge what we say on the wire.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::cache;

const REQUIREMENTS: &str = include_str!("python/requirements.txt");

/// A Python that has the packages of `python/requirements.txt`; made once, outside the clone.
///
/// # Errors
/// `python3-venv` is not installed, or PyPI cannot be reached.
pub fn interpreter() -> Result<PathBuf> {
    peer("python", REQUIREMENTS)
}

/// A Python of its own with the packages of a list, under a name; made once, outside the clone.
///
/// # Errors
/// As [`interpreter`].
pub fn peer(name: &str, requirements: &str) -> Result<PathBuf> {
    // A change of the requirements makes another environment.
    let mark = requirements
        .bytes()
        .fold(0_u32, |mark, byte| mark.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let home = cache::once(&format!("{name}-{mark:08x}"), |folder| {
        eprintln!("fetching Python packages into {} (once)", folder.display());
        let list = folder.join("requirements.txt");
        fs::write(&list, requirements).context("write requirements.txt")?;
        // Debian's own Python: others on the PATH may lack venv or be too new for the wheels.
        let system = Path::new("/usr/bin/python3");
        let python = if system.exists() { system } else { Path::new("python3") };
        cache::run(Command::new(python).args(["-m", "venv"]).arg(folder))
            .context("make a Python environment (`apt-get install python3-venv`)")?;
        cache::run(
            Command::new(folder.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(&list),
        )
        .context("install the Python packages")?;
        Ok(())
    })?;
    Ok(home.join("bin/python"))
}

/// Runs a script with [`interpreter`] and gives what it printed.
///
/// # Errors
/// It ends with another code than 0; the message has the end of its output.
pub fn run(script: &Path, args: &[&str]) -> Result<String> {
    cache::run(Command::new(interpreter()?).arg(script).args(args))
}
