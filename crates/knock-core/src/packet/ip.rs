//! IPv4, IPv6 with its extension headers, what TCP and UDP begin with, and what a UDP datagram
//! carries.

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

/// What is made of the first or only fragment of a packet.
pub(super) trait View<'a>: Sized {
    /// `has_more` says that other fragments follow; `transport` begins with the transport header.
    fn of(
        addresses: [IpAddr; 2],
        protocol: u8,
        has_more: bool,
        transport: &'a [u8],
    ) -> Result<Self, NotAKnock>;
}

/// An IPv4 packet (RFC 791, 3.1).
#[inline]
pub(super) fn v4<'a, V: View<'a>>(bytes: &'a [u8]) -> Result<V, NotAKnock> {
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
    let fragment = u16::from_be_bytes([f0, f1]);
    if fragment & 0x1fff != 0 {
        return Err(NotAKnock::Fragment);
    }
    let &[s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    V::of(
        [[s0, s1, s2, s3], [d0, d1, d2, d3]].map(IpAddr::from),
        protocol,
        fragment & 0x2000 != 0,
        skip(bytes, words * 4)?,
    )
}

/// An IPv6 packet (RFC 8200, 3).
pub(super) fn v6<'a, V: View<'a>>(bytes: &'a [u8]) -> Result<V, NotAKnock> {
    let (header, rest) = take::<8>(bytes)?;
    let &[first, _, _, _, _, _, next, _] = header;
    if first >> 4 != 6 {
        return Err(NotAKnock::Malformed);
    }
    let (source, rest) = take::<16>(rest)?;
    let (destination, rest) = take::<16>(rest)?;
    let (protocol, has_more, transport) = skip_extensions(next, rest)?;
    V::of(
        [IpAddr::from(*source), IpAddr::from(*destination)],
        protocol,
        has_more,
        transport,
    )
}

/// The protocol behind the extension headers (RFC 8200, 4; RFC 4302, 2.2), whether more fragments
/// follow, and its bytes.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> Result<(u8, bool, &[u8]), NotAKnock> {
    let mut has_more = false;
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
                let fragment = u16::from_be_bytes([o0, o1]);
                if fragment & 0xfff8 != 0 {
                    return Err(NotAKnock::Fragment);
                }
                has_more |= fragment & 1 != 0;
                8
            }
            protocol => return Ok((protocol, has_more, rest)),
        };
        let (&[following], _) = take::<1>(rest)?;
        next = following;
        rest = skip(rest, length)?;
    }
    Err(NotAKnock::TooManyHeaders)
}

/// The beginning of a TCP segment (RFC 9293, 3.1) or UDP datagram (RFC 768).
impl View<'_> for Packet {
    #[inline]
    fn of(
        [source, destination]: [IpAddr; 2],
        protocol: u8,
        _has_more: bool,
        transport: &[u8],
    ) -> Result<Self, NotAKnock> {
        let (protocol, ports, flags) = match protocol {
            number::TCP => {
                let (&[s0, s1, d0, d1, .., flags], _) = take::<14>(transport)?;
                (Protocol::Tcp, [s0, s1, d0, d1], TcpFlags::from_bits(flags))
            }
            number::UDP => (Protocol::Udp, *take::<4>(transport)?.0, TcpFlags::NONE),
            _ => return Err(NotAKnock::OtherProtocol),
        };
        let [s0, s1, d0, d1] = ports;
        Ok(Self {
            source,
            destination,
            protocol,
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            flags,
        })
    }
}

/// What a whole UDP datagram carries: as many bytes as its header says (RFC 768, Length). What
/// stands behind them, such as the padding of a short Ethernet frame, is not its own.
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

impl<'a> View<'a> for Payload<'a> {
    fn of(
        _: [IpAddr; 2],
        protocol: u8,
        has_more: bool,
        transport: &'a [u8],
    ) -> Result<Self, NotAKnock> {
        if protocol != number::UDP {
            return Err(NotAKnock::OtherProtocol);
        }
        if has_more {
            return Err(NotAKnock::Fragment);
        }
        let (&[_, _, _, _, l0, l1, _, _], payload) = take::<8>(transport)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let length = length.checked_sub(8).ok_or(NotAKnock::Malformed)?;
        let payload = payload.get(..length).ok_or(NotAKnock::Truncated)?;
        Ok(Self(payload))
    }
}
