//! A disk that can be full: a small file system of its own, with a file that takes up the room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cache;

/// A mounted file system in memory; gone when dropped, so what uses it must be dropped before.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many megabytes.
    ///
    /// # Errors
    /// We may not: that takes root, and a container may forbid it all the same.
    pub fn mount(mb: u32) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("causeway-disk-")
            .tempdir()
            .context("make a folder for a small disk")?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mb}m,mode=0755"), "causeway-disk"]);
        cache::run(mount.arg(folder.path())).context("mount a small disk")?;
        Ok(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes up the room, but for so many kilobytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn fill(&self, left_kb: u64) -> Result<()> {
        let mut df = Command::new("df");
        let text = cache::run(df.args(["--output=avail", "-k"]).arg(self.path()))?;
        let free: u64 = text
            .split_whitespace()
            .last()
            .and_then(|number| number.parse().ok())
            .context("read how much room there is")?;
        let mut take = Command::new("fallocate");
        take.arg("--length").arg(format!("{}KiB", free.saturating_sub(left_kb)));
        cache::run(take.arg(self.ballast())).context("take up the room")?;
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// There is nothing that takes it up.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("give the room back")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still hold a file of it.
        drop(Command::new("umount").arg("--lazy").arg(self.folder.path()).status());
    }
}
