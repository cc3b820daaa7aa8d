//! Whether the kernel has Landlock. Which process is in a Landlock domain it tells nobody.

use std::fmt;

use serde::Serialize;

/// What is known of the kernel's Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Landlock {
    /// It has this version of the interface.
    Active(u32),
    /// Not built, or not among the modules that the kernel was started with.
    Inactive,
}

impl Landlock {
    /// Asks the running kernel.
    pub(super) fn of_kernel() -> Self {
        knock_sys::landlock_version().map_or(Self::Inactive, Self::Active)
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active(version) => write!(
                f,
                "version {version} in this kernel, which does not tell whom it confines;\n  \
                 what the listener got of it is in the status that knockd logs at SIGUSR1",
            ),
            Self::Inactive => f.write_str("not active in this kernel, so nobody is confined by it"),
        }
    }
}
