//! Whether the kernel has Landlock. Which process is in a Landlock domain it tells nobody.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// Where the kernel lists its security modules, if `securityfs` is mounted.
pub(super) const MODULES: &str = "/sys/kernel/security/lsm";

/// What is known of the kernel's Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Landlock {
    Active,
    /// Not built, or not among the modules that the kernel was started with.
    Inactive,
    /// The list cannot be read.
    Unknown,
}

impl Landlock {
    /// Reads the list `modules`, which is [`MODULES`].
    pub(super) fn read(modules: &Path) -> Self {
        match fs::read_to_string(modules) {
            Ok(text) if text.trim().split(',').any(|module| module == "landlock") => Self::Active,
            Ok(_) => Self::Inactive,
            Err(_) => Self::Unknown,
        }
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str(
                "active in this kernel, which does not tell whom it confines;\n  \
                 what the listener got of it, it says in the log at its start",
            ),
            Self::Inactive => f.write_str("not active in this kernel, so nobody is confined by it"),
            Self::Unknown => write!(
                f,
                "not known, as {MODULES} cannot be read;\n  \
                 what the listener got of it, it says in the log at its start",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landlock_is_active_if_it_is_among_the_modules() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lsm");
        assert_eq!(Landlock::read(&path), Landlock::Unknown);
        fs::write(&path, "capability,landlock,yama,apparmor").unwrap();
        assert_eq!(Landlock::read(&path), Landlock::Active);
        fs::write(&path, "capability,yama").unwrap();
        assert_eq!(Landlock::read(&path), Landlock::Inactive);
    }
}
