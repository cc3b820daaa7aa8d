//! Pass bytes both ways between a connection and our standard streams: ssh's `ProxyCommand`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

const CHUNK: usize = 65_536;

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
