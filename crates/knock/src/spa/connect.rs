//! Connect to what a knock has opened, and pass bytes both ways: ssh's `ProxyCommand`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Type;

use crate::knocker;

/// The shortest time that one attempt is given, and the pause after one that was refused: the
/// kernel's own next SYN would come after a second.
const ATTEMPT: Duration = Duration::from_millis(80);
/// The longest.
const LONGEST: Duration = Duration::from_secs(2);
/// How long is tried in all: what opens a door may be a command that is slow.
pub const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 65_536;

/// Connects from `local` to `to`, where a knock took `round_trip`. Each attempt has a socket of its
/// own, so that a SYN that came too soon costs no second.
///
/// # Errors
/// What the last attempt said, after [`PATIENCE`].
pub fn connect(
    to: SocketAddr,
    local: IpAddr,
    interface: Option<&str>,
    round_trip: Duration,
) -> io::Result<TcpStream> {
    let until = Instant::now() + PATIENCE;
    let mut patience = first_patience(round_trip);
    loop {
        let begun = Instant::now();
        let left = until.saturating_duration_since(begun);
        match attempt(to, local, interface, patience.min(left).max(ATTEMPT)) {
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

/// How long the first attempt is given.
pub(super) fn first_patience(round_trip: Duration) -> Duration {
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
pub(super) fn attempt(
    to: SocketAddr,
    local: IpAddr,
    interface: Option<&str>,
    patience: Duration,
) -> io::Result<TcpStream> {
    let from = SocketAddr::new(local, 0);
    let socket = knocker::socket(&to, Some(from), interface, Type::STREAM)
        .map_err(|error| io::Error::other(error.to_string()))?;
    socket.connect_timeout(&to.into(), patience)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Passes bytes between standard input, standard output and `stream`, until both directions have
/// ended. The end of one is passed on and ends nothing but itself.
///
/// # Errors
/// If the stream or standard output breaks.
pub fn pass(stream: &TcpStream) -> io::Result<()> {
    let to_host = stream.try_clone()?;
    let upward = thread::Builder::new().spawn(move || {
        let input = io::stdin();
        let sent = copy(&mut input.lock(), &mut &to_host);
        to_host.shutdown(Shutdown::Write).ok();
        sent
    })?;
    let mut from_host = stream;
    copy(&mut from_host, &mut output()?)?;
    if close_output() {
        // What is left of the other direction; it ends by itself when the host is gone.
        upward.join().ok();
    }
    Ok(())
}

/// Not `io::copy`: each piece goes on at once.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}

/// Standard output without the library's line buffer.
#[cfg(unix)]
fn output() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(output.into())
}

#[cfg(not(unix))]
fn output() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Whoever reads our output learns that it has ended. Whether that can be done.
#[cfg(unix)]
fn close_output() -> bool {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    null.is_ok_and(|null| rustix::stdio::dup2_stdout(&null).is_ok())
}

#[cfg(not(unix))]
fn close_output() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_opens_late_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        let opens = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            let listener = TcpListener::bind(to).unwrap();
            listener.accept().map(|(_, from)| from.ip())
        });
        let begun = Instant::now();
        connect(to, to.ip(), None, Duration::from_millis(1)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(opens.join().unwrap().unwrap(), to.ip());
    }
}
