//! A packet of a script as the bytes of an Ethernet frame.
//!
//! Written from the RFCs alone, byte by byte, so that it shares no mistake with the packet view
//! that it tests; `tests/frames.rs` holds it to a third opinion, the `etherparse` crate.

use std::net::IpAddr;

use knock_core::sequence::Protocol;

use crate::script::{Knock, Variation};

/// Of which interface to which.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// The sender's MAC address.
    pub source: [u8; 6],
    /// The receiver's MAC address.
    pub destination: [u8; 6],
}

impl Link {
    /// Made-up addresses, for frames that no kernel sees.
    pub const NOMINAL: Self = Self {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
    };
}

/// Nobody's (locally administered) MAC address.
const FOREIGN: [u8; 6] = [2, 0xde, 0xad, 0xbe, 0xef, 0];

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_SERVICE_VLAN: u16 = 0x88a8;

const HEADER_HOP_BY_HOP: u8 = 0;
const HEADER_ROUTING: u8 = 43;
const HEADER_FRAGMENT: u8 = 44;
const HEADER_DESTINATION_OPTIONS: u8 = 60;

/// The Ethernet frame of `knock`; `source_port` where the knock does not name its own.
#[must_use]
pub fn build(knock: &Knock, link: Link, source_port: u16) -> Vec<u8> {
    let (ether_type, ip) = ip_packet(knock, source_port);
    let mut frame = Vec::with_capacity(ip.len() + 22);
    let foreign = knock.variations.contains(&Variation::ForeignMac);
    frame.extend(if foreign { FOREIGN } else { link.destination });
    frame.extend(link.source);
    for variation in &knock.variations {
        if let Variation::Vlan(id) = variation {
            frame.extend(ETHER_VLAN.to_be_bytes());
            frame.extend(id.to_be_bytes());
        } else if let Variation::QinQ(id) = variation {
            frame.extend(ETHER_SERVICE_VLAN.to_be_bytes());
            frame.extend(id.to_be_bytes());
            frame.extend(ETHER_VLAN.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(ip);
    frame
}

/// The ether type and the IP packet of `knock`.
#[must_use]
pub fn ip_packet(knock: &Knock, source_port: u16) -> (u16, Vec<u8>) {
    let transport = transport(knock, source_port);
    match (knock.source, knock.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Header::new(knock, &source.octets(), &destination.octets());
            (ETHER_IPV4, header.ipv4(&transport))
        }
        (source, destination) => {
            let header = Header::new(knock, &v6_octets(source), &v6_octets(destination));
            (ETHER_IPV6, header.ipv6(&transport))
        }
    }
}

fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// The TCP segment (RFC 9293, 3.1) or UDP datagram (RFC 768), cut if the knock says so.
fn transport(knock: &Knock, source_port: u16) -> Vec<u8> {
    let (mut port, mut payload, mut data_offset) = (source_port, 0, 5);
    let mut cut = usize::MAX;
    for variation in &knock.variations {
        match *variation {
            Variation::SourcePort(n) => port = n,
            Variation::Payload(n) => payload = usize::from(n),
            Variation::Cut(n) => cut = usize::from(n),
            Variation::DataOffset(n) => data_offset = n,
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    bytes.extend(port.to_be_bytes());
    bytes.extend(knock.port.to_be_bytes());
    let checksum_at = match knock.protocol {
        Protocol::Tcp => {
            bytes.extend(1_u32.to_be_bytes());
            bytes.extend(0_u32.to_be_bytes());
            bytes.extend([data_offset << 4, knock.flags.bits()]);
            bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
            16
        }
        Protocol::Udp => {
            let length = u16::try_from(8 + payload).unwrap_or(u16::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0]);
            6
        }
    };
    bytes.extend(std::iter::repeat_n(b'x', payload));
    let mut sum = checksum(&[&pseudo_header(knock, bytes.len()), &bytes]);
    if knock.variations.contains(&Variation::BadChecksum) {
        sum = sum.wrapping_add(1);
    }
    patch(&mut bytes, checksum_at, sum);
    bytes.truncate(cut);
    bytes
}

fn pseudo_header(knock: &Knock, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (knock.source, knock.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (source, destination) => {
            bytes.extend(v6_octets(source));
            bytes.extend(v6_octets(destination));
        }
    }
    bytes.extend(u32::try_from(length).unwrap_or(0).to_be_bytes());
    bytes.extend([0, 0, 0, protocol_number(knock.protocol)]);
    bytes
}

const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// The Internet checksum of the parts, one after another (RFC 1071); all but the last are even.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn patch(bytes: &mut [u8], at: usize, value: u16) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *byte = new;
    }
}

/// What an IP header of either version says.
struct Header {
    source: Vec<u8>,
    destination: Vec<u8>,
    protocol: u8,
    ttl: u8,
    length: Option<u16>,
    options: bool,
    bad_checksum: bool,
    /// The offset in units of 8 bytes, and whether more follow.
    fragment: Option<(u16, bool)>,
    extensions: Vec<u8>,
}

impl Header {
    fn new(knock: &Knock, source: &[u8], destination: &[u8]) -> Self {
        let mut header = Self {
            source: source.to_vec(),
            destination: destination.to_vec(),
            protocol: protocol_number(knock.protocol),
            ttl: 64,
            length: None,
            options: false,
            bad_checksum: false,
            fragment: None,
            extensions: Vec::new(),
        };
        for variation in &knock.variations {
            match *variation {
                Variation::Options => header.options = true,
                Variation::FirstFragment => header.fragment = Some((0, true)),
                Variation::LaterFragment => header.fragment = Some((185, false)),
                Variation::BadIpChecksum => header.bad_checksum = true,
                Variation::IpLength(n) => header.length = Some(n),
                Variation::Ttl(n) => header.ttl = n,
                Variation::IpProtocol(n) => header.protocol = n,
                Variation::HopByHop => header.extensions.push(HEADER_HOP_BY_HOP),
                Variation::DestinationOptions => header.extensions.push(HEADER_DESTINATION_OPTIONS),
                Variation::Routing => header.extensions.push(HEADER_ROUTING),
                _ => {}
            }
        }
        header
    }

    /// RFC 791, 3.1.
    fn ipv4(&self, body: &[u8]) -> Vec<u8> {
        let header_length: u8 = if self.options { 28 } else { 20 };
        let whole = u16::try_from(usize::from(header_length) + body.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0x40 | (header_length / 4), 0];
        bytes.extend(self.length.unwrap_or(whole).to_be_bytes());
        bytes.extend([0x12, 0x34]);
        let fragment = self
            .fragment
            .map_or(0, |(offset, more)| offset | if more { 0x2000 } else { 0 });
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(&self.source);
        bytes.extend(&self.destination);
        if self.options {
            bytes.extend([1; 7]);
            bytes.push(0);
        }
        let sum = checksum(&[&bytes]);
        patch(
            &mut bytes,
            10,
            sum.wrapping_add(u16::from(self.bad_checksum)),
        );
        bytes.extend(body);
        bytes
    }

    /// RFC 8200, 3 and 4.
    fn ipv6(&self, body: &[u8]) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if self.fragment.is_some() {
            chain.push(HEADER_FRAGMENT);
        }
        let mut rest = Vec::new();
        for (i, kind) in chain.iter().enumerate() {
            let next = chain.get(i + 1).copied().unwrap_or(self.protocol);
            rest.extend(self.extension(*kind, next));
        }
        rest.extend(body);
        let length = u16::try_from(rest.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(self.length.unwrap_or(length).to_be_bytes());
        bytes.push(chain.first().copied().unwrap_or(self.protocol));
        bytes.push(self.ttl);
        bytes.extend(&self.source);
        bytes.extend(&self.destination);
        bytes.extend(rest);
        bytes
    }

    fn extension(&self, kind: u8, next: u8) -> [u8; 8] {
        match kind {
            HEADER_FRAGMENT => {
                let (offset, more) = self.fragment.unwrap_or((0, false));
                let [high, low] = ((offset << 3) | u16::from(more)).to_be_bytes();
                [next, 0, high, low, 0, 0, 0x12, 0x34]
            }
            HEADER_ROUTING => [next, 0, 0, 0, 0, 0, 0, 0],
            // One PadN option of six bytes.
            _ => [next, 0, 1, 4, 0, 0, 0, 0],
        }
    }
}
