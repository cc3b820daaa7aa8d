//! Sends one step: one packet, and as little else as the system allows.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use knock_core::flags::TcpFlags;
use knock_core::sequence::Protocol;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::device;
use crate::raw;
use crate::shape::Shape;
use crate::step::Step;

/// Knocks at one address, always the same one.
#[derive(Clone, Debug)]
pub struct Knocker {
    to: SocketAddr,
    from: Option<SocketAddr>,
    interface: Option<String>,
    shape: Shape,
}

/// Why nothing can be sent at all.
#[derive(Debug)]
pub enum RouteError {
    /// The system gives no socket of the address's family.
    Socket(io::Error),
    /// The interface cannot be used.
    Interface(io::Error),
    /// The source address, or the source port, cannot be used.
    Source(io::Error),
    /// We may not send TCP packets of our own making.
    Raw(io::Error),
    /// We may not send echo requests.
    Echo(io::Error),
}

impl Knocker {
    /// A knocker for `to` (its port is ignored), from the address `from` (its port too) and through
    /// `interface` where they are given, whose packets are as `shape` says. Tries all that, so that
    /// a mistake shows before anything is sent.
    ///
    /// # Errors
    /// If the system refuses `from`, its port or `interface`, or cannot speak to `to`'s family at all.
    pub fn new(
        to: SocketAddr,
        from: Option<SocketAddr>,
        interface: Option<&str>,
        shape: Shape,
    ) -> Result<Self, RouteError> {
        let knocker = Self {
            to,
            from: from.map(|from| in_scope_of(from, &to)),
            interface: interface.map(str::to_owned),
            shape,
        };
        knocker.socket(Type::DGRAM)?;
        Ok(knocker)
    }

    /// Looks whether we may send `step`, and sends nothing.
    ///
    /// # Errors
    /// If it takes a privilege that we do not have.
    pub fn may_send(&self, step: Step) -> Result<(), RouteError> {
        let (from, interface) = (self.without_port(), self.interface.as_deref());
        match step {
            Step::Echo(_) => raw::echoes(&self.to, from, interface).map(drop),
            Step::Port(Protocol::Tcp, _) if self.flags().is_some() => {
                raw::segments(&self.to, from, interface).map(drop)
            }
            Step::Port(..) => Ok(()),
        }
    }

    /// The host's address, and the port that `step` is sent to; 0 if it has none.
    #[must_use]
    pub fn address(&self, step: Step) -> SocketAddr {
        let mut address = self.to;
        address.set_port(step.port().map_or(0, NonZeroU16::get));
        address
    }

    /// Sends one step and returns at once, whatever becomes of it: no answer is waited for, and a
    /// refusal (RST, ICMP) is none of ours. Every step comes from a socket of its own, so no
    /// answer to an earlier step is taken for a failure of this one.
    ///
    /// # Errors
    /// If the system did not take the packet: no route, a local firewall, no such interface.
    pub fn knock(&self, step: Step) -> io::Result<()> {
        let to = self.address(step);
        match (step, self.flags()) {
            (Step::Port(Protocol::Tcp, _), None) => self.syn(&to.into()),
            (Step::Port(Protocol::Tcp, _), Some(flags)) => self.segment(to, flags),
            (Step::Port(Protocol::Udp, _), _) => self.datagram(&to.into()),
            (Step::Echo(size), _) => self.echo(size),
        }
    }

    /// The flags that a connect does not begin with, if such were asked for.
    fn flags(&self) -> Option<TcpFlags> {
        let flags = self.shape.flags.filter(|flags| !flags.are_of_a_connect());
        flags.map(crate::shape::Flags::set)
    }

    /// A SYN, by a connect that nobody waits for. Dropping the socket then ends it: an attempt
    /// that has no answer yet goes without a trace, so nothing is ever sent again; one that was
    /// accepted meanwhile (a fast path) is reset, before its handshake is complete where the
    /// system lets us hold back the third packet.
    fn syn(&self, to: &SockAddr) -> io::Result<()> {
        let socket = self.socket(Type::STREAM)?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        hold_back_the_ack(&socket);
        was_sent(socket.connect(to))
    }

    fn datagram(&self, to: &SockAddr) -> io::Result<()> {
        let socket = self.socket(Type::DGRAM)?;
        was_sent(socket.send_to(self.shape.payload.bytes(), to).map(drop))
    }

    /// A segment of our own, from a port that no other socket of this machine has. The kernel knows
    /// nothing of it: a SYN-ACK that comes back is answered with a reset.
    fn segment(&self, to: SocketAddr, flags: TcpFlags) -> io::Result<()> {
        let socket = raw::segments(&self.to, self.without_port(), self.interface.as_deref())?;
        let port = self.socket_at(self.local(to)?, Type::STREAM)?;
        let from = local_address(&port)?;
        let packet = raw::segment(from, to, flags, random()?)?;
        was_sent(raw::send(&socket, &packet, &to))
    }

    fn echo(&self, size: u16) -> io::Result<()> {
        let socket = raw::echoes(&self.to, self.without_port(), self.interface.as_deref())?;
        let [a, b, ..] = random()?.to_be_bytes();
        let packet = raw::echo(self.to.ip(), u16::from_be_bytes([a, b]), size);
        was_sent(raw::send(&socket, &packet, &self.to))
    }

    /// Our address on the way to `to`, with the source port that was asked for.
    fn local(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let interface = self.interface.as_deref();
        let probe = socket(&self.to, self.without_port(), interface, Type::DGRAM, None)?;
        probe.connect(&to.into())?;
        let mut local = local_address(&probe)?;
        local.set_port(self.shape.source_port.map_or(0, NonZeroU16::get));
        Ok(local)
    }

    fn socket(&self, kind: Type) -> Result<Socket, RouteError> {
        match (self.from, self.shape.source_port) {
            (None, None) => socket(&self.to, None, self.interface.as_deref(), kind, None),
            (from, port) => {
                let mut from = from.unwrap_or_else(|| any_of_family(&self.to));
                from.set_port(port.map_or(0, NonZeroU16::get));
                self.socket_at(from, kind)
            }
        }
    }

    fn socket_at(&self, from: SocketAddr, kind: Type) -> Result<Socket, RouteError> {
        let interface = self.interface.as_deref();
        socket(&self.to, Some(from), interface, kind, None)
    }

    /// Raw sockets have no ports.
    fn without_port(&self) -> Option<SocketAddr> {
        let mut from = self.from?;
        from.set_port(0);
        Some(from)
    }
}

const fn any_of_family(address: &SocketAddr) -> SocketAddr {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(any, 0)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// A number that nobody guesses.
fn random() -> io::Result<u32> {
    getrandom::u32().map_err(|error| io::Error::other(error.to_string()))
}

/// A socket of the family of `to`, from the address `from` and through `interface` where they are
/// given.
pub(crate) fn socket(
    to: &SocketAddr,
    from: Option<SocketAddr>,
    interface: Option<&str>,
    kind: Type,
    protocol: Option<socket2::Protocol>,
) -> Result<Socket, RouteError> {
    let domain = Domain::for_address(*to);
    let socket = Socket::new(domain, kind, protocol).map_err(RouteError::Socket)?;
    if let Some(name) = interface {
        device::bind(&socket, domain, name).map_err(RouteError::Interface)?;
    }
    if let Some(from) = from {
        let from = in_scope_of(from, to);
        socket.bind(&from.into()).map_err(RouteError::Source)?;
    }
    Ok(socket)
}

/// A link-local source without a zone is on the destination's link: where else.
fn in_scope_of(mut from: SocketAddr, to: &SocketAddr) -> SocketAddr {
    if let (SocketAddr::V6(from), SocketAddr::V6(to)) = (&mut from, to)
        && from.ip().is_unicast_link_local()
        && from.scope_id() == 0
    {
        from.set_scope_id(to.scope_id());
    }
    from
}

/// Linux answers a SYN-ACK by an ACK at once, in the time that `connect` needs to return, unless
/// the socket delays its ACKs (`TCP_QUICKACK` off, tcp(7)): then the reset of the close is the
/// first thing that the other side sees. Where the system refuses this, the knock works as well.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn hold_back_the_ack(socket: &Socket) {
    socket.set_tcp_quickack(false).ok();
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn hold_back_the_ack(_: &Socket) {}

/// Whether the packet left, from what a call that does not wait said: "in progress" is a success,
/// and so is an answer of the other side, which can only have come after our packet.
fn was_sent(result: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};

    match result {
        Err(error) if in_progress(&error) => Ok(()),
        Err(error) => match error.kind() {
            ConnectionRefused | ConnectionReset | ConnectionAborted => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

#[cfg(unix)]
fn in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Windows says `WSAEWOULDBLOCK`.
#[cfg(not(unix))]
fn in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error())
    }
}

impl std::error::Error for RouteError {}

impl RouteError {
    /// What the system said.
    #[must_use]
    pub const fn error(&self) -> &io::Error {
        let (Self::Socket(error)
        | Self::Interface(error)
        | Self::Source(error)
        | Self::Raw(error)
        | Self::Echo(error)) = self;
        error
    }
}

impl From<RouteError> for io::Error {
    fn from(error: RouteError) -> Self {
        let (RouteError::Socket(error)
        | RouteError::Interface(error)
        | RouteError::Source(error)
        | RouteError::Raw(error)
        | RouteError::Echo(error)) = error;
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: io::ErrorKind) -> io::Result<()> {
        was_sent(Err(kind.into()))
    }

    #[test]
    fn an_answer_proves_that_the_packet_was_sent() {
        assert!(said(io::ErrorKind::ConnectionRefused).is_ok());
        assert!(said(io::ErrorKind::ConnectionReset).is_ok());
        assert!(was_sent(Ok(())).is_ok());
    }

    #[test]
    fn a_refusal_of_our_own_system_is_a_failure() {
        assert!(said(io::ErrorKind::NetworkUnreachable).is_err());
        assert!(said(io::ErrorKind::PermissionDenied).is_err());
        assert!(said(io::ErrorKind::AddrNotAvailable).is_err());
    }

    #[test]
    fn a_source_that_is_not_ours_is_found_before_anything_is_sent() {
        let to = "127.0.0.1:0".parse().unwrap();
        let from = "192.0.2.1:0".parse().ok();
        let error = Knocker::new(to, from, None, Shape::default()).unwrap_err();
        assert!(matches!(error, RouteError::Source(_)), "{error:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_that_is_not_there_is_found_before_anything_is_sent() {
        let to = "127.0.0.1:0".parse().unwrap();
        for name in ["nosuch0", "", "lo0123456789012345"] {
            let error = Knocker::new(to, None, Some(name), Shape::default()).unwrap_err();
            assert!(
                matches!(error, RouteError::Interface(_)),
                "{name}: {error:?}"
            );
        }
    }

    #[test]
    fn a_link_local_source_is_on_the_link_of_the_destination() {
        let to = "[fe80::2%7]:0".parse().unwrap();
        let from = in_scope_of("[fe80::1]:0".parse().unwrap(), &to);
        assert_eq!(from, "[fe80::1%7]:0".parse().unwrap());
    }
}
