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
        String::new()
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

/// How this distribution installs packages.
fn installer() -> &'static str {
    installer_of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The same, from the text of os-release(5).
fn installer_of(os_release: &str) -> &'static str {
    let ids = os_release
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_the_command_that_installs_it() {
        let error = installed("no-such-program", "some-package").unwrap_err();
        let expected = format!(
            "no-such-program is not installed; install it with: {} some-package",
            installer()
        );
        assert_eq!(error.to_string(), expected);
        let error = ours("knockd", Some(Path::new("/nonexistent"))).unwrap_err();
        assert_eq!(error.to_string(), "there is no /nonexistent");
    }

    #[test]
    fn distributions_are_told_by_themselves_or_by_what_they_are_like() {
        let debian = "PRETTY_NAME=\"Debian\"\nID=debian\n";
        assert_eq!(installer_of(debian), "sudo apt-get install");
        let alma = "ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert_eq!(installer_of(alma), "sudo dnf install");
        assert_eq!(installer_of(""), "your package manager, package");
    }
}
