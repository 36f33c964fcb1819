//! Where our own programs are.

use std::{path::PathBuf, process::Command, sync::Mutex};

/// The path of a binary of this workspace, beside the running one (`target/PROFILE/NAME`).
///
/// `make test` and `make demo` build all of them first; a single `cargo test` run builds the one
/// that is missing. A binary that is there is taken as it is.
///
/// # Panics
/// It is missing and cannot be built: no test can go on.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let running = std::env::current_exe().unwrap_or_else(|error| panic!("find ourselves: {error}"));
    // Tests run from target/PROFILE/deps, programs from target/PROFILE.
    let folder = running
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .unwrap_or_else(|| panic!("find the folder of {}", running.display()));
    let path = folder.join(name);
    let turn = BUILDING.lock();
    if !path.exists() {
        build(name, folder);
    }
    drop(turn);
    assert!(path.exists(), "{} is not there and cargo did not build it", path.display());
    path
}

fn build(name: &str, folder: &std::path::Path) {
    let package = if name == "sqlserver-standin" { "causeway-sqlserver-standin" } else { name };
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    eprintln!("building {name}");
    let status = cargo.status().unwrap_or_else(|error| panic!("start cargo: {error}"));
    assert!(status.success(), "cargo could not build {name}");
}
