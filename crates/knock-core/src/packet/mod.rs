//! What a packet says, as far as a knock goes: a view over hostile bytes that never fails late.
//!
//! Any bytes have an answer, a [`Packet`] or a [`NotAKnock`], in time linear in the few headers
//! that are walked; nothing is allocated and nothing is read twice.

mod ip;
mod link;
#[cfg(test)]
pub(crate) mod tests;

use core::net::IpAddr;

use ip::Payload;

use crate::flags::TcpFlags;
use crate::sequence::{Protocol, Step};

/// A TCP segment or UDP datagram, reduced to what a door can ask about.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// The IP source address.
    pub source: IpAddr,
    /// The IP destination address.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The TCP flags; none for UDP.
    pub flags: TcpFlags,
}

/// Why bytes are no knock. None of these is worth more than a counter.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum NotAKnock {
    /// The bytes end before the header that they announce.
    Truncated,
    /// Neither IPv4 nor IPv6, or a header that contradicts itself.
    Malformed,
    /// A later fragment of a datagram: it has no ports.
    Fragment,
    /// Neither TCP nor UDP.
    OtherProtocol,
    /// More IPv6 extension headers than we are ready to walk, which is eight.
    TooManyHeaders,
}

impl Packet {
    /// The step that this packet is.
    #[must_use]
    pub const fn step(&self) -> Step {
        Step {
            protocol: self.protocol,
            port: self.destination_port,
        }
    }

    /// Reads an IP packet; the first byte is the IP header's.
    ///
    /// As the original, it asks neither whether the IP total length agrees with the bytes that are
    /// there, nor for checksums, the time to live or the length of the TCP header: what carries
    /// ports and flags counts.
    ///
    /// # Errors
    /// If it is no first or only fragment of a TCP segment or UDP datagram, or too short to tell.
    pub fn from_ip(bytes: &[u8]) -> Result<Self, NotAKnock> {
        link::version(bytes)
    }

    /// Reads what follows a link-layer header that announced `ether_type` (host byte order): an
    /// IP packet, or one behind up to two VLAN tags (IEEE 802.1Q, 802.1ad).
    ///
    /// An IP packet whose version is not the announced one is [`NotAKnock::Malformed`].
    ///
    /// # Errors
    /// As [`Packet::from_ip`]; other ether types are [`NotAKnock::Malformed`].
    #[inline]
    pub fn from_ether_type(ether_type: u16, bytes: &[u8]) -> Result<Self, NotAKnock> {
        link::ether_type(ether_type, bytes)
    }

    /// Reads a frame as a pcap file of link type `link` has it.
    ///
    /// # Errors
    /// As [`Packet::from_ether_type`].
    pub fn from_link(link: LinkType, bytes: &[u8]) -> Result<Self, NotAKnock> {
        link::frame(link, bytes)
    }
}

/// What the UDP datagram carries that stands where [`Packet::from_ether_type`] would read it: for
/// those few packets whose payload matters, so that all others need not be read so far.
///
/// Its length is what the UDP header says, and all of it is there.
///
/// # Errors
/// As [`Packet::from_ether_type`]; and a TCP segment is [`NotAKnock::OtherProtocol`], a first
/// fragment that others follow is [`NotAKnock::Fragment`], a length beyond the end of the bytes is
/// [`NotAKnock::Truncated`], and one that is less than the UDP header's own is
/// [`NotAKnock::Malformed`].
pub fn payload(ether_type: u16, bytes: &[u8]) -> Result<&[u8], NotAKnock> {
    let Payload(payload) = link::ether_type(ether_type, bytes)?;
    Ok(payload)
}

/// As [`payload`], of a frame as a pcap file of link type `link` has it.
///
/// # Errors
/// As [`payload`].
pub fn payload_from_link(link: LinkType, bytes: &[u8]) -> Result<&[u8], NotAKnock> {
    let Payload(payload) = link::frame(link, bytes)?;
    Ok(payload)
}

/// The first `N` bytes, and the rest.
fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), NotAKnock> {
    bytes.split_first_chunk().ok_or(NotAKnock::Truncated)
}

/// What is left after `count` bytes.
fn skip(bytes: &[u8], count: usize) -> Result<&[u8], NotAKnock> {
    bytes.get(count..).ok_or(NotAKnock::Truncated)
}

/// The link-layer headers that pcap files have (<https://www.tcpdump.org/linktypes.html>).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum LinkType {
    /// `LINKTYPE_ETHERNET`, 1.
    Ethernet,
    /// `LINKTYPE_RAW`, 101, and its relatives 12, 228 and 229: no header.
    RawIp,
    /// `LINKTYPE_LINUX_SLL`, 113: Linux "cooked" capture.
    LinuxSll,
    /// `LINKTYPE_LINUX_SLL2`, 276: Linux "cooked" capture, version 2.
    LinuxSll2,
    /// `LINKTYPE_NULL`, 0, and `LINKTYPE_LOOP`, 108: BSD loopback.
    Loopback,
}
