//! The programs that `try` runs: where they are, and what to do if they are not there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::TryError;

/// Where firewall tools live; many ordinary users do not have these in their `PATH`.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// `chosen`, or else the program `name` beside this one.
pub(super) fn ours(name: &str, chosen: Option<&Path>) -> Result<PathBuf, TryError> {
    let own = env::current_exe().map_err(|error| TryError::Io("find this program", error))?;
    let path = chosen.map_or_else(|| own.with_file_name(name), Path::to_owned);
    if path.is_file() {
        return Ok(path);
    }
    let help = if chosen.is_some() {
        "".to_owned()
    } else {
        format!(": build it (cargo build -p knockd -p knock), or say --{name} PATH")
    };
    Err(TryError::Missing(format!(
        "there is no {}{help}",
        path.display()
    )))
}

/// The search path for the daemon and its commands.
pub(super) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(SYSTEM_DIRECTORIES.map(PathBuf::from));
    env::join_paths(directories).unwrap_or(path)
}

/// The program `name` of the package `package`, from the search path.
pub(super) fn installed(name: &str, package: &str) -> Result<PathBuf, TryError> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            TryError::Missing(format!(
                "{name} is not installed; install it with: {} {package}",
                installer()
            ))
        })
}

/// How this distribution installs packages (os-release(5)).
fn installer() -> &'static str {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let ids = text
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|ids| ids.trim_matches('"').split(' '));
    for id in ids {
        match id {
            "debian" | "ubuntu" => return "sudo apt-get install",
            "fedora" | "rhel" | "centos" => return "sudo dnf install",
            "suse" | "opensuse" => return "sudo zypper install",
            "alpine" => return "sudo apk add",
            "arch" => return "sudo pacman -S",
            _ => {}
        }
    }
    "your package manager, package"
}
