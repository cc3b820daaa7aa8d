//! What can go wrong in a lab.

use std::fmt;
use std::fs;
use std::io;

/// What can go wrong in a lab.
#[derive(Debug)]
pub enum LabError {
    /// The kernel (or the container around us) does not let us have namespaces of our own.
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
        /// What the administrator can do about it.
        hint: &'static str,
    },
    /// A system call failed that should not.
    System {
        /// What was being done.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A network change was refused.
    Network {
        /// On which host.
        host: String,
        /// What was being done, with its names.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A program could not be started.
    Spawn {
        /// The program.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// Not an address with a prefix length, such as `10.77.0.2/24`.
    Address(String),
    /// A closure that was run on a host has panicked.
    Panicked,
}

impl LabError {
    /// For `.map_err()`: a [`LabError::System`] about `what`.
    pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::System {
            what,
            error: error.into(),
        }
    }

    /// For `.map_err()`: a [`LabError::Refused`] about `what`, with the hint that fits here.
    pub(super) fn refused<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Refused {
            what,
            error: error.into(),
            hint: hint(),
        }
    }
}

/// Which switch of this machine stands against namespaces for ordinary users.
fn hint() -> &'static str {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|s| s.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "run it as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
    } else if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "run it as root, or allow user namespaces: \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "run it as root, or allow user namespaces: sysctl user.max_user_namespaces=10000"
    } else {
        "run it as root; inside a container, give the container the capability SYS_ADMIN"
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { what, error, hint } => {
                write!(f, "cannot make {what} ({error}): {hint}")
            }
            Self::System { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Network { host, what, error } => write!(f, "{host}: cannot {what}: {error}"),
            Self::Spawn { program, error } => write!(f, "cannot start {program}: {error}"),
            Self::Address(text) => write!(
                f,
                "`{text}` is not an address with a prefix length such as 10.77.0.2/24"
            ),
            Self::Panicked => f.write_str("a thread on a lab host has panicked"),
        }
    }
}

impl std::error::Error for LabError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. }
            | Self::System { error, .. }
            | Self::Network { error, .. }
            | Self::Spawn { error, .. } => Some(error),
            Self::Address(_) | Self::Panicked => None,
        }
    }
}
