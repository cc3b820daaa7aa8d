//! What can go wrong between us and the kernel's packet filter.

use std::fmt;
use std::io;

/// What can go wrong at the gate.
#[derive(Debug)]
pub enum GateError {
    /// The process lacks `CAP_NET_ADMIN`.
    NotPermitted,
    /// The kernel has no such thing, nor a module for it.
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The kernel refused a change; nothing of it was done.
    Refused {
        /// What was asked for.
        what: String,
        /// Its answer.
        error: io::Error,
    },
    /// No answer came in time.
    NoAnswer,
    /// The socket failed.
    Socket(io::Error),
    /// The kernel accepted a change, but what was to be there is not.
    NotReadBack {
        /// What is missing.
        what: String,
    },
    /// A grant for what the gate was not put up for (or it is not up at all).
    NotGuarded {
        /// The door.
        door: String,
    },
    /// As many grants are alive as there may be.
    Full,
}

impl GateError {
    /// Whether the table, or a part of it, is gone: to put the gate up again may help.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Refused { error, .. } => error.raw_os_error() == Some(libc::ENOENT),
            Self::NotReadBack { .. } => true,
            _ => false,
        }
    }

    /// Whether something is there that was to be new.
    pub(super) fn is_there_already(&self) -> bool {
        match self {
            Self::Refused { error, .. } => error.raw_os_error() == Some(libc::EEXIST),
            _ => false,
        }
    }

    /// The kernel's refusal of `what`.
    pub(super) fn refused(what: String, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted,
            Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Self::Unsupported { what },
            _ => Self::Refused { what, error },
        }
    }

    /// The same, where everything that is named comes in the same batch: what does not exist is then
    /// a kind of thing.
    pub(super) fn of_a_new_table(self) -> Self {
        match self {
            Self::Refused { what, error } if error.raw_os_error() == Some(libc::ENOENT) => {
                Self::Unsupported { what }
            }
            other => other,
        }
    }
}

impl From<io::Error> for GateError {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock, _) => Self::NoAnswer,
            (_, Some(libc::EPERM | libc::EACCES)) => Self::NotPermitted,
            (_, Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)) => Self::Unsupported {
                what: "netfilter netlink".to_owned(),
            },
            _ => Self::Socket(error),
        }
    }
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => f.write_str("not permitted: CAP_NET_ADMIN is missing"),
            Self::Unsupported { what } => write!(f, "this kernel has no support for {what}"),
            Self::Refused { what, error } => write!(f, "the kernel refused {what}: {error}"),
            Self::NoAnswer => f.write_str("the kernel does not answer"),
            Self::Socket(error) => write!(f, "netfilter socket: {error}"),
            Self::NotReadBack { what } => {
                write!(f, "the kernel accepted {what}, but it is not there")
            }
            Self::NotGuarded { door } => write!(f, "{door}: the gate is not up for this door"),
            Self::Full => f.write_str("too many grants are alive"),
        }
    }
}

impl std::error::Error for GateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. } | Self::Socket(error) => Some(error),
            _ => None,
        }
    }
}
