//! A listening service on one host, and the question from another whether it can be reached.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::TryError;
use crate::lab::Host;

/// What the service says to whoever reaches it.
pub(super) const BANNER: &str = "hello from behind the door";

/// Starts a service at `address` of `host` that greets with [`BANNER`] and then sends back what it
/// gets. It ends with this process.
pub(super) fn serve(host: &Host, address: SocketAddr) -> Result<(), TryError> {
    let listener = host
        .run(|| TcpListener::bind(address))?
        .map_err(|error| TryError::Io("listen", error))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away early is its own affair.
            thread::spawn(move || greet(stream).ok());
        }
    });
    Ok(())
}

fn greet(mut stream: TcpStream) -> io::Result<()> {
    writeln!(stream, "{BANNER}")?;
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream).map(drop)
}

/// What came of an attempt to connect.
#[derive(Debug)]
pub(super) enum Answer {
    /// The service has greeted.
    Open(TcpStream, Duration),
    /// The host has refused: nothing listens, or a firewall rejects.
    Refused,
    /// No answer at all, as from a firewall that drops.
    Silent(Duration),
}

impl Answer {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open(..))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_, after) => write!(f, "\"{BANNER}\" after {} ms", after.as_millis()),
            Self::Refused => f.write_str("connection refused"),
            Self::Silent(after) => write!(f, "no answer in {} ms", after.as_millis()),
        }
    }
}

/// Connects from the address `from` of `host` to `to` and waits for the greeting.
pub(super) fn connect(
    host: &Host,
    from: IpAddr,
    to: SocketAddr,
    patience: Duration,
) -> Result<Answer, TryError> {
    let start = Instant::now();
    let stream = host.run(|| -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), patience)?;
        Ok(socket.into())
    })?;
    match stream.and_then(|stream| greeted(stream, patience)) {
        Ok(stream) => Ok(Answer::Open(stream, start.elapsed())),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(Answer::Refused),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Ok(Answer::Silent(start.elapsed()))
            }
            _ => Err(TryError::Io("connect", error)),
        },
    }
}

fn greeted(stream: TcpStream, patience: Duration) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(&stream).take(256).read_line(&mut line)?;
    if line.trim_end() == BANNER {
        Ok(stream)
    } else {
        Err(io::Error::other(format!(
            "an unexpected greeting: {line:?}"
        )))
    }
}

/// Whether an established connection still carries bytes there and back.
pub(super) fn is_alive(mut stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok() && byte == *b"x"
}
