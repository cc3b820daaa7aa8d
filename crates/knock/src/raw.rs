//! Packets that the system does not make by itself: a TCP segment with any flags, an echo request.

use std::io;
use std::net::{IpAddr, SocketAddr};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, TcpHeader};
use knock_core::flags::TcpFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::knocker::{self, RouteError};

/// What the segment offers to receive: as much as a system's own would.
const WINDOW: u16 = 64_240;

/// A TCP header (RFC 9293, 3.1) with these flags, and its checksum. Both addresses are of one family.
///
/// # Errors
/// If they are not.
pub fn segment(
    from: SocketAddr,
    to: SocketAddr,
    flags: TcpFlags,
    sequence: u32,
) -> io::Result<Vec<u8>> {
    let has = |flag: TcpFlags| !flags.intersection(flag).is_empty();
    let mut header = TcpHeader::new(from.port(), to.port(), sequence, WINDOW);
    header.fin = has(TcpFlags::FIN);
    header.syn = has(TcpFlags::SYN);
    header.rst = has(TcpFlags::RST);
    header.psh = has(TcpFlags::PSH);
    header.ack = has(TcpFlags::ACK);
    header.urg = has(TcpFlags::URG);
    let checksum = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[])
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[])
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    header.checksum = checksum.map_err(io::Error::other)?;
    Ok(header.to_bytes().to_vec())
}

/// An echo request (RFC 792; RFC 4443, 4.1) with `size` bytes of data. The system puts in the checksum
/// of one for IPv6, which has our address in it (RFC 3542, 3.1).
#[must_use]
pub fn echo(to: IpAddr, id: u16, size: u16) -> Vec<u8> {
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(size.into()).collect();
    let echo = IcmpEchoHeader { id, seq: 1 };
    let mut packet = match to {
        IpAddr::V4(_) => {
            let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &data);
            header.to_bytes().to_vec()
        }
        IpAddr::V6(_) => {
            let header = Icmpv6Header::new(Icmpv6Type::EchoRequest(echo));
            header.to_bytes().to_vec()
        }
    };
    packet.extend(data);
    packet
}

/// A socket for TCP segments of our own.
///
/// # Errors
/// [`RouteError::Raw`] if we may not have one, or the system has none.
pub(crate) fn segments(
    to: &SocketAddr,
    from: Option<SocketAddr>,
    interface: Option<&str>,
) -> Result<Socket, RouteError> {
    // Windows has the socket, and sends nothing through it.
    if cfg!(windows) {
        let text = "this system sends no TCP packets of other flags";
        let error = io::Error::new(io::ErrorKind::Unsupported, text);
        return Err(RouteError::Raw(error));
    }
    let socket = knocker::socket(to, from, interface, Type::RAW, Some(Protocol::TCP));
    socket.map_err(as_raw)
}

/// A socket for echo requests: the system's for `ping`, which needs no privilege where the
/// administrator has not said otherwise (`ping_group_range`, icmp(7)), else a raw one.
///
/// # Errors
/// [`RouteError::Echo`] if we may have neither.
pub(crate) fn echoes(
    to: &SocketAddr,
    from: Option<SocketAddr>,
    interface: Option<&str>,
) -> Result<Socket, RouteError> {
    let protocol = if Domain::for_address(*to) == Domain::IPV6 {
        Protocol::ICMPV6
    } else {
        Protocol::ICMPV4
    };
    let socket = |kind| knocker::socket(to, from, interface, kind, Some(protocol));
    match socket(Type::DGRAM) {
        Err(RouteError::Socket(_)) => socket(Type::RAW).map_err(as_echo),
        other => other,
    }
}

/// Sends a packet of ours: a raw socket has no ports.
pub(crate) fn send(socket: &Socket, packet: &[u8], to: &SocketAddr) -> io::Result<()> {
    let mut to = *to;
    to.set_port(0);
    socket.send_to(packet, &SockAddr::from(to)).map(drop)
}

fn as_raw(error: RouteError) -> RouteError {
    match error {
        RouteError::Socket(error) => RouteError::Raw(error),
        other => other,
    }
}

fn as_echo(error: RouteError) -> RouteError {
    match error {
        RouteError::Socket(error) => RouteError::Echo(error),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of RFC 1071 over what the checksum covers: zero when it is right.
    fn sum(pieces: &[&[u8]]) -> u16 {
        let bytes = pieces.concat();
        let words = bytes.chunks(2).map(|pair| {
            let low = pair.get(1).copied().unwrap_or(0);
            u32::from(u16::from_be_bytes([pair[0], low]))
        });
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn a_segment_has_its_flags_and_a_right_checksum() {
        let flags = TcpFlags::FIN.union(TcpFlags::URG);
        let (from, to) = ("192.0.2.1:1024", "192.0.2.2:7000");
        let bytes = segment(from.parse().unwrap(), to.parse().unwrap(), flags, 7).unwrap();
        assert_eq!(bytes.len(), 20);
        assert_eq!(bytes[..8], [4, 0, 0x1b, 0x58, 0, 0, 0, 7]);
        assert_eq!(bytes[12..14], [0x50, 0x21]);
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, 6, 0, 20];
        assert_eq!(sum(&[&pseudo, &bytes]), 0);
        let (from, to) = ("[2001:db8::1]:1024", "[2001:db8::2]:7000");
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let bytes = segment(from, to, flags, 7).unwrap();
        let (IpAddr::V6(a), IpAddr::V6(b)) = (from.ip(), to.ip()) else {
            panic!("families");
        };
        let rest = [0, 0, 0, 20, 0, 0, 0, 6];
        assert_eq!(sum(&[&a.octets(), &b.octets(), &rest, &bytes]), 0);
        let mixed = segment("192.0.2.1:1".parse().unwrap(), to, flags, 7);
        assert!(mixed.is_err());
    }

    #[test]
    fn an_echo_request_has_its_size_and_a_right_checksum() {
        for size in [0, 1, 64, 1472] {
            let bytes = echo("192.0.2.2".parse().unwrap(), 5, size);
            assert_eq!(bytes.len(), 8 + usize::from(size));
            assert_eq!((bytes[0], bytes[1]), (8, 0));
            assert_eq!(sum(&[&bytes]), 0, "{size}");
            let bytes = echo("2001:db8::2".parse().unwrap(), 5, size);
            assert_eq!(
                (bytes[0], bytes[1], bytes.len()),
                (128, 0, 8 + usize::from(size))
            );
        }
    }
}
