//! Who keeps the gate of a network namespace: one daemon at a time.
//!
//! The hold is an abstract socket (unix(7)): its name is one for each network namespace, as the
//! table is, and the kernel lets go of it when its holder dies, however it does. Nobody is served
//! there; who connects can read who listens, and goes. Anybody of this machine can connect or take
//! the name, so nothing here waits for anybody: a holder shows its guests out ([`Hold::show_out`]),
//! and one that does not is none of us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use rustix::process::{Pid, geteuid};

const NAME: &[u8] = b"postern/gate";

/// Guests that wait to be shown out.
const GUESTS: i32 = 64;

/// The most guests that are shown out at once.
const GUESTS_A_CALL: usize = 256;

/// How long a holder may take to show guests out, so that there is room for one more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps other daemons from the gate as long as it lives.
#[derive(Debug)]
pub struct Hold {
    socket: OwnedFd,
    /// A stranger has the name.
    is_nominal: bool,
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
        let socket = socket()?;
        let is_nominal = match bind(&socket, &address()?) {
            Ok(()) => {
                listen(&socket, GUESTS).map_err(io::Error::from)?;
                false
            }
            Err(Errno::ADDRINUSE) => match holder()? {
                Some(pid) => return Err(HoldError::Held(pid)),
                None => true,
            },
            Err(errno) => return Err(HoldError::Io(errno.into())),
        };
        Ok(Self { socket, is_nominal })
    }

    /// What to poll for guests; `None` if there are none.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_nominal).then(|| self.socket.as_fd())
    }

    /// Shows out whoever has come, up to a bound. Never waits.
    pub fn show_out(&self) {
        for _ in 0..GUESTS_A_CALL {
            if accept_with(&self.socket, SocketFlags::CLOEXEC).is_err() {
                return;
            }
        }
    }
}

/// The daemon that keeps the gate of the caller's network namespace, one of root's or of ours.
///
/// # Errors
/// If the system does not say.
pub fn holder() -> io::Result<Option<Pid>> {
    let deadline = Instant::now() + PATIENCE;
    let guest = loop {
        let guest = socket()?;
        match connect(&guest, &address()?) {
            Ok(()) => break guest,
            Err(Errno::CONNREFUSED) => return Ok(None),
            // Its guests have filled the place. Ours shows them out.
            Err(Errno::AGAIN) if Instant::now() < deadline => sleep(Duration::from_millis(10)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    };
    // Of a socket that listens, the one who let it.
    let holder = socket_peercred(&guest)?;
    let is_one_of_us = holder.uid.is_root() || holder.uid == geteuid();
    Ok(is_one_of_us.then_some(holder.pid))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn address() -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(NAME)?)
}

impl From<io::Error> for HoldError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
