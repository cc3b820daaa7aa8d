//! A way to the host, of one family.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::Type;

use crate::knocker::{self, RouteError};

/// One family's way to the host.
#[derive(Debug)]
pub struct Way {
    to: SocketAddr,
    local: IpAddr,
    socket: UdpSocket,
}

impl Way {
    /// A socket for it, connected, so that only the host itself is heard.
    ///
    /// # Errors
    /// If the system refuses `from` or `interface`, or has no route.
    pub fn new(
        to: SocketAddr,
        from: Option<SocketAddr>,
        interface: Option<&str>,
    ) -> Result<Self, RouteError> {
        let socket = knocker::socket(&to, from, interface, Type::DGRAM, None)?;
        socket.connect(&to.into()).map_err(RouteError::Socket)?;
        let socket: UdpSocket = socket.into();
        let local = socket.local_addr().map_err(RouteError::Socket)?.ip();
        Ok(Self { to, local, socket })
    }

    /// Where it leads.
    #[must_use]
    pub const fn to(&self) -> SocketAddr {
        self.to
    }

    /// Our address on it.
    #[must_use]
    pub const fn local(&self) -> IpAddr {
        self.local
    }

    /// Its socket.
    pub(super) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}
