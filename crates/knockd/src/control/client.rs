//! The other end of the socket: for `knockctl`, and whoever shows what the daemon does.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::config::ControlPlace;
use rustix::process::geteuid;

use super::{Answer, Code, Request, parse_answer};
use crate::config_file::reason;

/// How long an answer may take: a reload reads files and keys, a start command waits for a disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 20;

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// Why the daemon cannot be asked, or has not done it.
#[derive(Debug)]
pub enum ClientError {
    /// The configuration says that there is no control socket.
    None,
    /// There is no socket, or nobody answers there.
    NotRunning(PathBuf),
    /// It is for root and the daemon's own user.
    NotPermitted(PathBuf),
    /// The connection.
    Io(io::Error),
    /// It has ended before there was an answer.
    Ended,
    /// The answer is none that this version knows.
    Strange(String),
    /// It was refused: why, for programs and for people, and more lines about it.
    Refused(Code, String, Vec<String>),
}

/// Where the socket of a daemon with `control_socket` as in `place` is, or would be; `None` if there
/// is to be none.
///
/// Where nothing is said: in the folder that systemd has made for the service, in `/run/knockd` for
/// root, and for anybody else in the user's own folder below `/run`, or in `/run/knockd` if somebody
/// has made that, as in a container.
#[must_use]
pub fn socket_path(place: &ControlPlace) -> Option<PathBuf> {
    match place {
        ControlPlace::None => None,
        ControlPlace::At(path) => Some(path.into()),
        ControlPlace::Usual => usual_path(geteuid().is_root(), |name| env::var(name).ok()),
    }
}

fn usual_path(root: bool, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let usual = PathBuf::from(ControlPlace::USUAL);
    let name = usual.file_name()?;
    // Of several folders the first is ours (systemd.exec(5)).
    if let Some(service) = variable("RUNTIME_DIRECTORY") {
        return Some(Path::new(service.split(':').next()?).join(name));
    }
    if root || usual.parent().is_some_and(Path::is_dir) {
        return Some(usual);
    }
    let own = variable("XDG_RUNTIME_DIR")?;
    Some(Path::new(&own).join("knockd").join(name))
}

impl Connection {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// If nobody answers there, or not to us.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(path.to_owned())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted(path.to_owned()),
            _ => ClientError::Io(error),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the first line of the answer.
    ///
    /// # Errors
    /// If there is none, or it was refused.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send(request)?;
        match self.hear()? {
            Answer::Error {
                code,
                message,
                details,
            } => Err(ClientError::Refused(code, message, details)),
            answer => Ok(answer),
        }
    }

    /// Asks for events; then take them with [`Connection::hear`].
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        if let Request::Events { follow: true, .. } = request {
            self.stream.get_ref().set_read_timeout(None)?;
        }
        // Who is not let in is told so, and cannot send.
        match self
            .stream
            .get_mut()
            .write_all(request.to_line().as_bytes())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// The next line of an answer; waits for it.
    ///
    /// # Errors
    /// If there is none, or it is none that this version knows.
    pub fn hear(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let mut bounded = io::Read::take(&mut self.stream, MAX_ANSWER);
        bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionReset => ClientError::Ended,
                _ => ClientError::Io(error),
            })?;
        if line.pop() != Some(b'\n') {
            return Err(ClientError::Ended);
        }
        parse_answer(&line).map_err(|error| ClientError::Strange(error.to_string()))
    }

    /// Whether a line has come that [`Connection::hear`] gives without waiting for more than its rest.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.stream.buffer().contains(&b'\n')
    }
}

/// To be polled for input; see [`Connection::has_buffered`] first.
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(
                "the daemon has no control socket (`control_socket = none`, or no folder for one)",
            ),
            Self::NotRunning(path) => write!(
                f,
                "knockd does not run, or does not answer at {} (start it, or name its socket with \
                 --socket)",
                path.display()
            ),
            Self::NotPermitted(path) => write!(
                f,
                "{}: permission denied: only root and the daemon's own user may ask (try sudo)",
                path.display()
            ),
            Self::Io(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    f.write_str("knockd does not answer in time")
                }
                _ => write!(f, "knockd cannot be asked: {}", reason(error)),
            },
            Self::Ended => f.write_str("knockd has ended the connection"),
            Self::Strange(error) => write!(f, "knockd has answered what cannot be read: {error}"),
            Self::Refused(_, message, _) => f.write_str(message),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_place_is_one_that_the_daemon_can_have() {
        let place = |root, variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(of, _)| *of == name);
            usual_path(root, |name| Some(found(name)?.1.to_owned()))
        };
        let usual = Some(ControlPlace::USUAL.into());
        let own = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(place(true, &[own]), usual);
        let service = ("RUNTIME_DIRECTORY", "/run/service:/run/other");
        let of_service = Some("/run/service/control.sock".into());
        assert_eq!(place(false, &[own, service]), of_service);
        if !Path::new("/run/knockd").exists() {
            let of_user = Some("/run/user/7/knockd/control.sock".into());
            assert_eq!(place(false, &[own]), of_user);
            assert_eq!(place(false, &[]), None);
        }
    }
}
