//! Whether a TCP port can be reached: attempts to connect, until one succeeds or time is up.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use knock_core::sequence::Protocol;
use socket2::Type;

use crate::knocker;
use crate::resolve;

/// The shortest time that one attempt is given, and the pause after one that was refused: the
/// kernel's own next SYN would come after a second.
const ATTEMPT: Duration = Duration::from_millis(80);
/// The longest.
const LONGEST: Duration = Duration::from_secs(2);
/// How long is tried in all where nobody says: what opens a door may be a command that is slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Which port is waited for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum WaitFor {
    /// This one.
    Port(NonZeroU16),
    /// The first TCP port that the server says that the door opens.
    Opened,
}

/// The text names no port that can be waited for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct WaitError;

/// What was expected; lower case, no full stop.
impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a TCP port such as tcp/22 or tcp/ssh")
    }
}

impl std::error::Error for WaitError {}

impl FromStr for WaitFor {
    type Err = WaitError;

    fn from_str(text: &str) -> Result<Self, WaitError> {
        if text.is_empty() {
            return Ok(Self::Opened);
        }
        let port = text.strip_prefix("tcp/").ok_or(WaitError)?;
        let number = if port.bytes().all(|c| c.is_ascii_digit()) {
            port.parse().ok()
        } else {
            resolve::service(port, Protocol::Tcp)
        };
        let number = number.and_then(NonZeroU16::new);
        number.map(Self::Port).ok_or(WaitError)
    }
}

/// By which way a port is reached.
#[derive(Copy, Clone, Debug)]
pub struct Way<'a> {
    /// The port, with the host's address.
    pub to: SocketAddr,
    /// Our address, with port 0; `None` leaves it to the system.
    pub from: Option<SocketAddr>,
    /// Our interface.
    pub interface: Option<&'a str>,
}

/// Connects. The first attempt is given `first`, all together `limit`. Each has a socket of its own,
/// so that a SYN that came too soon costs no second.
///
/// # Errors
/// What the last attempt said, after `limit`, or at once where no waiting mends it.
pub fn connect(way: Way<'_>, first: Duration, limit: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + limit;
    let mut patience = first;
    loop {
        let begun = Instant::now();
        let left = until.saturating_duration_since(begun);
        match attempt(way, patience.min(left).max(ATTEMPT)) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() + ATTEMPT >= until || is_final(&error) => {
                return Err(error);
            }
            Err(_) => thread::sleep(ATTEMPT.saturating_sub(begun.elapsed())),
        }
        // A way that has become slower than it was is not given up on for ever.
        patience = patience.saturating_mul(9).min(LONGEST * 8) / 8;
    }
}

/// How long the first attempt is given where an answer of the host took `round_trip`.
#[must_use]
pub fn first_patience(round_trip: Duration) -> Duration {
    round_trip.saturating_mul(3).clamp(ATTEMPT, LONGEST)
}

/// What no waiting mends.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// One attempt.
///
/// # Errors
/// What the system says.
pub fn attempt(way: Way<'_>, patience: Duration) -> io::Result<TcpStream> {
    let socket = knocker::socket(&way.to, way.from, way.interface, Type::STREAM, None)
        .map_err(|error| io::Error::other(error.to_string()))?;
    socket.connect_timeout(&way.to.into(), patience)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn unused() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn way(to: SocketAddr) -> Way<'static> {
        Way {
            to,
            from: None,
            interface: None,
        }
    }

    #[test]
    fn a_port_is_named_by_number_or_by_service() {
        let port = |text: &str| text.parse::<WaitFor>();
        let named = |port| Ok(WaitFor::Port(NonZeroU16::new(port).unwrap()));
        assert_eq!(port("tcp/22"), named(22));
        assert_eq!(port("tcp/ssh"), named(22));
        assert_eq!(port(""), Ok(WaitFor::Opened));
        for text in [
            "22",
            "udp/53",
            "tcp/",
            "tcp/0",
            "tcp/65536",
            "tcp/nosuch",
            "tcp/-1",
        ] {
            assert_eq!(port(text), Err(WaitError), "{text}");
        }
    }

    #[test]
    fn a_port_that_opens_late_is_reached() {
        let to = unused();
        let opens = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            let listener = TcpListener::bind(to).unwrap();
            listener.accept().map(|(_, from)| from.ip())
        });
        let begun = Instant::now();
        connect(way(to), ATTEMPT, PATIENCE).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(opens.join().unwrap().unwrap(), to.ip());
    }

    #[test]
    fn a_port_that_stays_closed_is_given_up_in_time() {
        let begun = Instant::now();
        let error = connect(way(unused()), ATTEMPT, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
