//! Where the socket is: taken from the dead, never from the living.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::config_file::reason;

/// A socket in the file system, which goes with us.
#[derive(Debug)]
pub struct Place {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of the file: somebody may have put another one there.
    file: Option<(u64, u64)>,
}

/// Why there is no control socket.
#[derive(Debug)]
pub enum PlaceError {
    /// Another daemon, this process, answers there.
    Living(Option<i32>),
    /// Something is there that is no socket.
    NotASocket,
    /// The system.
    Io(io::Error),
}

impl Place {
    /// Listens at `path`, which has then this mode; makes its folder if only that is missing.
    ///
    /// # Errors
    /// If there is another daemon, or something else, or it cannot be made.
    pub fn take(path: &Path, mode: u32) -> Result<Self, PlaceError> {
        look(path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            let made = DirBuilder::new().mode(0o755).create(folder);
            made.or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })?;
        }
        // Nobody shall find it before it is the owner's alone, nor a moment without one.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        fs::remove_file(&new).ok();
        let place = bind(&new).and_then(|socket| {
            fs::set_permissions(&new, Permissions::from_mode(mode))?;
            fs::rename(&new, path)?;
            Ok(socket)
        });
        let socket = place.inspect_err(|_| drop(fs::remove_file(&new)))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            file: identity(path),
        })
    }

    /// What to accept at; it never waits.
    #[must_use]
    pub const fn socket(&self) -> &UnixListener {
        &self.socket
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // It may not be ours to remove, after a change of the folder; it is refused then.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether nobody answers at `path`.
fn look(path: &Path) -> Result<(), PlaceError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(there) if !there.file_type().is_socket() => return Err(PlaceError::NotASocket),
        Ok(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let guest = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let guest = guest.map_err(io::Error::from)?;
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    match connect(&guest, &address) {
        Ok(()) => {
            let pid = socket_peercred(&guest).ok();
            Err(PlaceError::Living(pid.map(|peer| peer.pid.as_raw_pid())))
        }
        // It has more guests than it takes in.
        Err(Errno::AGAIN) => Err(PlaceError::Living(None)),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Err(errno) => Err(PlaceError::Io(errno.into())),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let there = fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Living(Some(pid)) => write!(f, "another daemon answers there: process {pid}"),
            Self::Living(None) => f.write_str("another daemon answers there"),
            Self::NotASocket => f.write_str("something is there that is no socket"),
            Self::Io(error) => f.write_str(&reason(error)),
        }
    }
}

impl std::error::Error for PlaceError {}
