//! Who keeps the gate of a network namespace: one daemon at a time.
//!
//! The hold is an abstract socket (unix(7)): its name is one for each network namespace, as the
//! table is, and the kernel lets go of it when its holder dies, however it does. Nobody is served
//! there; who connects can read who listens, and goes.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, geteuid};

const NAME: &[u8] = b"postern/gate";

/// Keeps other daemons from the gate as long as it lives.
#[derive(Debug)]
pub struct Hold {
    _socket: Option<UnixListener>,
}

/// Why the gate is not ours.
#[derive(Debug)]
pub enum HoldError {
    /// Another daemon keeps it.
    Held(Pid),
    /// The system does not give us a socket.
    Io(io::Error),
}

impl Hold {
    /// Takes hold of the gate of the caller's network namespace.
    ///
    /// A stranger who took the name first keeps nobody from anything: then it is held by nobody.
    ///
    /// # Errors
    /// [`HoldError::Held`] if another daemon has it, which runs as root or as we do.
    pub fn take() -> Result<Self, HoldError> {
        match UnixListener::bind_addr(&address()?) {
            Ok(socket) => Ok(Self {
                _socket: Some(socket),
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder()? {
                Some(pid) => Err(HoldError::Held(pid)),
                None => Ok(Self { _socket: None }),
            },
            Err(error) => Err(HoldError::Io(error)),
        }
    }
}

/// The daemon that keeps the gate of the caller's network namespace.
///
/// # Errors
/// If the system does not say.
pub fn holder() -> io::Result<Option<Pid>> {
    let stream = match UnixStream::connect_addr(&address()?) {
        Ok(stream) => stream,
        // One that has as many guests as it lets in is there too; but ours never is.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(error),
    };
    // Of a socket that listens, the one who let it.
    let holder = socket_peercred(&stream)?;
    let is_one_of_us = holder.uid.is_root() || holder.uid == geteuid();
    Ok(is_one_of_us.then_some(holder.pid))
}

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME)
}

impl From<io::Error> for HoldError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
