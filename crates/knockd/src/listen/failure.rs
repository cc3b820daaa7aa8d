//! Why packets cannot be seen.

use std::fmt;
use std::io;

/// Why packets cannot be seen.
#[derive(Debug)]
pub enum StartError {
    /// The capability `CAP_NET_RAW` is missing.
    Permission,
    /// The packet socket or its ring could not be made.
    Capture(io::Error),
    /// The kernel's interfaces could not be listed or followed.
    Links(io::Error),
    /// Something inside the daemon could not be made.
    Inside(io::Error),
    /// The listener did not become ready: why, in words.
    Listener(String),
}

pub(super) fn capture_error(error: knock_sys::Error) -> StartError {
    match error {
        knock_sys::Error::Socket(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            StartError::Permission
        }
        knock_sys::Error::Socket(error)
        | knock_sys::Error::Ring(error)
        | knock_sys::Error::Map(error) => StartError::Capture(error),
        error @ knock_sys::Error::Size(_) => StartError::Capture(io::Error::other(error)),
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission => f.write_str(
                "cannot see packets: the capability CAP_NET_RAW is missing \
                 (start as root, or give the container or the unit CAP_NET_RAW)",
            ),
            Self::Capture(error) => write!(f, "cannot see packets: {error}"),
            Self::Links(error) => write!(f, "cannot follow the network interfaces: {error}"),
            Self::Inside(error) => write!(f, "cannot start the listener: {error}"),
            Self::Listener(why) => write!(f, "cannot start the listener: {why}"),
        }
    }
}

impl std::error::Error for StartError {}
