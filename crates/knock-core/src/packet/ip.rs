//! IPv4, IPv6 with its extension headers, and what TCP and UDP begin with.

use core::net::IpAddr;

use super::{NotAKnock, Packet, skip, take};
use crate::flags::TcpFlags;
use crate::sequence::Protocol;

/// The most IPv6 extension headers that are walked. RFC 8200, 4.1 allows seven in a sensible
/// packet; the bound is what a stranger can make us work for.
const MAX_EXTENSIONS: usize = 8;

/// IP protocol numbers (<https://www.iana.org/assignments/protocol-numbers>).
mod number {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

/// An IPv4 packet (RFC 791, 3.1).
pub(super) fn v4(bytes: &[u8]) -> Result<Packet, NotAKnock> {
    let (header, _) = take::<20>(bytes)?;
    let &[
        first,
        _,
        _,
        _,
        _,
        _,
        f0,
        f1,
        _,
        protocol,
        _,
        _,
        ref addresses @ ..,
    ] = header;
    let words = usize::from(first & 0x0f);
    if first >> 4 != 4 || words < 5 {
        return Err(NotAKnock::Malformed);
    }
    if u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return Err(NotAKnock::Fragment);
    }
    let &[s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    transport(
        IpAddr::from([s0, s1, s2, s3]),
        IpAddr::from([d0, d1, d2, d3]),
        protocol,
        skip(bytes, words * 4)?,
    )
}

/// An IPv6 packet (RFC 8200, 3).
pub(super) fn v6(bytes: &[u8]) -> Result<Packet, NotAKnock> {
    let (header, rest) = take::<8>(bytes)?;
    let &[first, _, _, _, _, _, next, _] = header;
    if first >> 4 != 6 {
        return Err(NotAKnock::Malformed);
    }
    let (source, rest) = take::<16>(rest)?;
    let (destination, rest) = take::<16>(rest)?;
    let (protocol, payload) = skip_extensions(next, rest)?;
    transport(
        IpAddr::from(*source),
        IpAddr::from(*destination),
        protocol,
        payload,
    )
}

/// The protocol behind the extension headers (RFC 8200, 4; RFC 4302, 2.2), and its bytes.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> Result<(u8, &[u8]), NotAKnock> {
    for _ in 0..=MAX_EXTENSIONS {
        let length = match next {
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION_OPTIONS => {
                let (&[_, length], _) = take::<2>(rest)?;
                (usize::from(length) + 1) * 8
            }
            number::AUTHENTICATION => {
                let (&[_, length], _) = take::<2>(rest)?;
                (usize::from(length) + 2) * 4
            }
            number::FRAGMENT => {
                let (&[_, _, o0, o1], _) = take::<4>(rest)?;
                if u16::from_be_bytes([o0, o1]) & 0xfff8 != 0 {
                    return Err(NotAKnock::Fragment);
                }
                8
            }
            protocol => return Ok((protocol, rest)),
        };
        let (&[following], _) = take::<1>(rest)?;
        next = following;
        rest = skip(rest, length)?;
    }
    Err(NotAKnock::TooManyHeaders)
}

/// The beginning of a TCP segment (RFC 9293, 3.1) or UDP datagram (RFC 768).
fn transport(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    bytes: &[u8],
) -> Result<Packet, NotAKnock> {
    let (protocol, ports, flags) = match protocol {
        number::TCP => {
            let (&[s0, s1, d0, d1, .., flags], _) = take::<14>(bytes)?;
            (Protocol::Tcp, [s0, s1, d0, d1], TcpFlags::from_bits(flags))
        }
        number::UDP => (Protocol::Udp, *take::<4>(bytes)?.0, TcpFlags::NONE),
        _ => return Err(NotAKnock::OtherProtocol),
    };
    let [s0, s1, d0, d1] = ports;
    Ok(Packet {
        source,
        destination,
        protocol,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        flags,
    })
}
