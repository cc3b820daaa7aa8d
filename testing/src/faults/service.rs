//! A service behind a door, which says back what it is told, and a session with it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use knockd::lab::Host;
use socket2::{Domain, SockRef, Socket, Type};

use crate::Result;

/// How long an answer may take: a packet that was lost is sent again, after 200 ms and more.
const PATIENCE: Duration = Duration::from_secs(4);

/// A service.
#[derive(Debug)]
pub(super) struct Service(TcpListener);

impl Service {
    /// Listens at `port` of `host`, for any address.
    pub(super) fn new(host: &Host, port: u16) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind(("0.0.0.0", port)))??;
        let accepting = listener.try_clone()?;
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                thread::spawn(move || echo(&stream));
            }
        });
        Ok(Self(listener))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Whoever accepts is told that there is nothing more to accept.
        drop(SockRef::from(&self.0).shutdown(Shutdown::Both));
    }
}

fn echo(stream: &TcpStream) -> io::Result<u64> {
    io::copy(&mut &*stream, &mut &*stream)
}

/// A connection that was let through.
#[derive(Debug)]
pub(super) struct Session(TcpStream);

impl Session {
    /// Connects from `host`, as `source`.
    pub(super) fn new(host: &Host, source: IpAddr, to: SocketAddr) -> Result<Self> {
        let connect = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(socket.into())
        };
        let stream = host.run(connect)?;
        let stream = stream.map_err(|e| format!("no session: {e}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let session = Self(stream);
        session.goes_on()?;
        Ok(session)
    }

    /// Whether it still says back what it is told.
    pub(super) fn goes_on(&self) -> Result<()> {
        self.ask()
            .map_err(|e| format!("the session does not go on: {e}").into())
    }

    /// Whether it is dead: nothing comes back.
    pub(super) fn is_dead(&self) -> Result<()> {
        self.0
            .set_read_timeout(Some(Duration::from_millis(1_500)))?;
        match self.ask() {
            Ok(()) => Err("the session goes on, and should have ended".into()),
            Err(_) => Ok(()),
        }
    }

    fn ask(&self) -> io::Result<()> {
        let mut answer = [0; 4];
        (&self.0).write_all(b"well")?;
        (&self.0).read_exact(&mut answer)
    }
}
