//! Ties a socket to a network interface, where the system can.

use std::io;

use socket2::{Domain, Socket};

/// Sends what leaves `socket`, of address family `domain`, by the interface `name` alone.
///
/// # Errors
/// `NotFound` if there is no such interface; `Unsupported` where the system has no such thing;
/// else what the system says.
pub fn bind(socket: &Socket, domain: Domain, name: &str) -> io::Result<()> {
    imp::bind(socket, domain, name)
}

/// `SO_BINDTODEVICE` (socket(7)); needs no privilege since Linux 5.7.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::{Domain, Socket, io};

    /// `IFNAMSIZ` less the terminating zero. The kernel cuts a longer name and may so hit another
    /// interface; it takes an empty one for "any".
    const NAME_MAX: usize = 15;

    pub(super) fn bind(socket: &Socket, _: Domain, name: &str) -> io::Result<()> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        socket.bind_device(Some(name.as_bytes()))
    }
}

/// `IP_BOUND_IF` and `IPV6_BOUND_IF`.
#[cfg(target_vendor = "apple")]
mod imp {
    use super::{Domain, Socket, io};
    use std::num::NonZeroU32;

    pub(super) fn bind(socket: &Socket, domain: Domain, name: &str) -> io::Result<()> {
        let index = NonZeroU32::new(nix::net::if_::if_nametoindex(name)?);
        if domain == Domain::IPV6 {
            socket.bind_device_by_index_v6(index)
        } else {
            socket.bind_device_by_index_v4(index)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod imp {
    use super::{Domain, Socket, io};

    pub(super) fn bind(_: &Socket, _: Domain, _: &str) -> io::Result<()> {
        let text = "this system cannot choose an interface; use --source";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}
