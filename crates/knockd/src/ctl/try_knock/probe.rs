//! A listening service on one host, and the question from another whether it can be reached.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use knock_core::sequence::Protocol;
use socket2::{Domain, Socket, Type};

use super::TryError;
use crate::lab::Host;

/// What the service says to whoever reaches it.
pub(super) const BANNER: &str = "hello from behind the door";

/// Where a service is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Spot {
    pub(super) protocol: Protocol,
    pub(super) at: SocketAddr,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol, self.at.port())
    }
}

/// Starts a service at `spot` of `host` that greets with [`BANNER`]: over TCP who connects, and then
/// sends back what it gets; over UDP whoever sends something. It ends with this process.
pub(super) fn serve(host: &Host, spot: Spot) -> Result<(), TryError> {
    let error = |error| TryError::Io("listen", error);
    match spot.protocol {
        Protocol::Tcp => {
            let listener = host.run(|| TcpListener::bind(spot.at))?.map_err(error)?;
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away early is its own affair.
                    thread::spawn(move || greet(stream).ok());
                }
            });
        }
        Protocol::Udp => {
            let socket = host.run(|| UdpSocket::bind(spot.at))?.map_err(error)?;
            thread::spawn(move || {
                let mut question = [0; 16];
                // An error is about a client that is gone.
                loop {
                    if let Ok((_, client)) = socket.recv_from(&mut question) {
                        socket.send_to(BANNER.as_bytes(), client).ok();
                    }
                }
            });
        }
    }
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
    /// The service has greeted; over TCP, on a connection that stands.
    Open(Option<TcpStream>, Duration),
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

/// Asks from the address `from` of `host` for the greeting at `to`.
pub(super) fn connect(
    host: &Host,
    from: IpAddr,
    to: Spot,
    patience: Duration,
) -> Result<Answer, TryError> {
    let start = Instant::now();
    let from = SocketAddr::new(from, 0);
    let greeting = match to.protocol {
        Protocol::Tcp => {
            let stream = host.run(|| dial(from, to.at, patience))?;
            stream
                .and_then(|stream| greeted(stream, patience))
                .map(Some)
        }
        Protocol::Udp => host.run(|| ask(from, to.at, patience))?.map(|()| None),
    };
    match greeting {
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

fn dial(from: SocketAddr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), patience)?;
    Ok(socket.into())
}

fn ask(from: SocketAddr, to: SocketAddr, patience: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"?")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    expect(&String::from_utf8_lossy(
        answer.get(..length).unwrap_or_default(),
    ))
}

fn greeted(stream: TcpStream, patience: Duration) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(&stream).take(256).read_line(&mut line)?;
    expect(&line).map(|()| stream)
}

fn expect(line: &str) -> io::Result<()> {
    if line.trim_end() == BANNER {
        return Ok(());
    }
    let text = format!("an unexpected greeting: {line:?}");
    Err(io::Error::other(text))
}

/// Whether an established connection still carries bytes there and back.
pub(super) fn is_alive(mut stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok() && byte == *b"x"
}
