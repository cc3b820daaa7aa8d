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
        return Ok(path
            .canonicalize()
            .map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the test bed has no directory above it")?;
    let package = if name == "knock" { "knock" } else { "knockd" };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--offline", "--package", package])
        .status()?;
    if !status.success() {
        return Err(format!("{package} does not build").into());
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug").join(name))
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
