//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::live::installed;

/// Our program `name`: `given`, or else built now from the workspace beside this one.
///
/// # Errors
/// If it cannot be built.
pub fn ours(name: &str, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given {
        return canonical(&path);
    }
    let root = workspace()?;
    let package = if name == "knock" { "knock" } else { "knockd" };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--offline", "--package", package])
        .status()?;
    if !status.success() {
        return Err(format!("{package} does not build").into());
    }
    Ok(target(root).join("debug").join(name))
}

/// Our program `name` as it is shipped: `given`, or else what was built for release before, which
/// takes too long to be done on the way.
///
/// # Errors
/// If it was not built.
pub fn released(name: &str, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given {
        return canonical(&path);
    }
    let path = target(workspace()?).join("release").join(name);
    canonical(&path).map_err(|e| format!("{e}: first `cargo build --release`").into())
}

fn canonical(path: &Path) -> Result<PathBuf> {
    let found = path.canonicalize();
    found.map_err(|e| format!("{}: {e}", path.display()).into())
}

fn workspace() -> Result<&'static Path> {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.ok_or_else(|| "the test bed has no directory above it".into())
}

fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The distribution's program `name`: `given`, or else the installed one.
///
/// # Errors
/// If it is not installed.
pub fn theirs(name: &str, given: Option<PathBuf>) -> Result<PathBuf> {
    given.or_else(|| installed(name)).ok_or_else(|| {
        format!("{name} of the distribution is not here: apt-get install knockd").into()
    })
}
