//! The packet view against packets that etherparse built, cut and bent.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder,
    SlicedPacket, TcpHeader, TransportSlice,
};
use proptest::collection::vec as bytes;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A packet to build: what it says, and the headers that stand in the way.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// What the view must say, unless `offset` makes it a later fragment.
    pub(crate) packet: Packet,
    /// Fragment offset in units of 8 bytes; IPv6 has a fragment header for it.
    pub(crate) offset: Option<u16>,
    headers: Headers,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Headers {
    ipv4_options: Vec<u8>,
    hop_by_hop: Option<Vec<u8>>,
    destination: Option<Vec<u8>>,
    routing: Option<(Vec<u8>, Option<Vec<u8>>)>,
    authentication: Option<Vec<u8>>,
    tcp_options: Vec<u8>,
}

/// `unit * n + extra` arbitrary bytes.
fn padded(unit: usize, extra: usize, most: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..=most).prop_flat_map(move |n| bytes(any::<u8>(), unit * n + extra))
}

prop_compose! {
    fn headers()(
        ipv4_options in padded(4, 0, 10),
        hop_by_hop in option::weighted(0.3, padded(8, 6, 3)),
        destination in option::weighted(0.3, padded(8, 6, 3)),
        routing in option::weighted(0.3, (padded(8, 6, 3), option::of(padded(8, 6, 2)))),
        authentication in option::of(padded(4, 0, 4)),
        tcp_options in padded(4, 0, 10),
    ) -> Headers {
        Headers { ipv4_options, hop_by_hop, destination, routing, authentication, tcp_options }
    }
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(s, d)| (s.into(), d.into())),
        any::<([u8; 16], [u8; 16])>().prop_map(|(s, d)| (s.into(), d.into())),
    ]
}

/// Packets to `ports`, half of them without anything in the way.
pub(crate) fn built(ports: impl Strategy<Value = u16>) -> impl Strategy<Value = Built> {
    carrying(ports, bytes(any::<u8>(), 0..20))
}

/// The same with such payloads.
pub(crate) fn carrying(
    ports: impl Strategy<Value = u16>,
    payloads: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Built> {
    let plain = Headers {
        ipv4_options: vec![],
        hop_by_hop: None,
        destination: None,
        routing: None,
        authentication: None,
        tcp_options: vec![],
    };
    let headers = prop_oneof![Just(plain), headers()];
    let fragment = prop_oneof![3 => Just(None), 1 => (0..4_u16).prop_map(Some)];
    (
        addresses(),
        any::<(bool, u16, u8)>(),
        ports,
        fragment,
        headers,
        payloads,
    )
        .prop_map(
            |(ip, (tcp, source_port, flags), destination_port, offset, headers, payload)| Built {
                packet: Packet {
                    source: ip.0,
                    destination: ip.1,
                    protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                    source_port,
                    destination_port,
                    flags: TcpFlags::from_bits(if tcp { flags } else { 0 }),
                },
                offset,
                headers,
                payload,
            },
        )
}

impl Built {
    /// What the view must say of the whole packet.
    pub(crate) fn expected(&self) -> Result<Packet, NotAKnock> {
        match self.offset {
            Some(offset) if offset > 0 => Err(NotAKnock::Fragment),
            _ => Ok(self.packet),
        }
    }

    /// What the view must say of the payload.
    pub(crate) fn expected_payload(&self) -> Result<&[u8], NotAKnock> {
        // etherparse sets "more fragments" where there is an offset, also for 0.
        match (self.packet.protocol, self.offset) {
            (Protocol::Tcp, None | Some(0)) => Err(NotAKnock::OtherProtocol),
            (Protocol::Udp, None) => Ok(&self.payload),
            _ => Err(NotAKnock::Fragment),
        }
    }

    /// The ether type that announces it.
    pub(crate) fn ether_type(&self) -> u16 {
        if self.packet.source.is_ipv4() {
            0x0800
        } else {
            0x86dd
        }
    }

    /// The packet as etherparse writes it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ip = PacketBuilder::ip(self.ip_headers());
        let mut buffer = vec![0; 4096];
        let size = match self.packet.protocol {
            Protocol::Tcp => ip
                .tcp_header(self.tcp_header())
                .write_to_slice(&mut buffer, &self.payload),
            Protocol::Udp => ip
                .udp(self.packet.source_port, self.packet.destination_port)
                .write_to_slice(&mut buffer, &self.payload),
        };
        buffer.truncate(size.unwrap());
        buffer
    }

    /// How many bytes of it the view needs.
    fn needed(&self) -> usize {
        let transport = match self.packet.protocol {
            Protocol::Tcp => 14,
            Protocol::Udp => 4,
        };
        let whole = match self.packet.protocol {
            Protocol::Tcp => 20 + self.headers.tcp_options.len(),
            Protocol::Udp => 8,
        };
        self.bytes().len() - self.payload.len() - whole + transport
    }

    fn tcp_header(&self) -> TcpHeader {
        let Packet {
            source_port,
            destination_port,
            flags,
            ..
        } = self.packet;
        let mut header = TcpHeader::new(source_port, destination_port, 1, 1024);
        let set = |flag| !flags.intersection(flag).is_empty();
        header.fin = set(TcpFlags::FIN);
        header.syn = set(TcpFlags::SYN);
        header.rst = set(TcpFlags::RST);
        header.psh = set(TcpFlags::PSH);
        header.ack = set(TcpFlags::ACK);
        header.urg = set(TcpFlags::URG);
        header.ece = self.payload.len() % 2 == 1;
        header.set_options_raw(&self.headers.tcp_options).unwrap();
        header
    }

    fn ip_headers(&self) -> IpHeaders {
        let offset = IpFragOffset::try_new(self.offset.unwrap_or(0)).unwrap();
        let any = IpNumber(0);
        match (self.packet.source, self.packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header =
                    Ipv4Header::new(0, 9, any, source.octets(), destination.octets()).unwrap();
                header.more_fragments = self.offset.is_some();
                header.fragment_offset = offset;
                header.options = self.headers.ipv4_options.as_slice().try_into().unwrap();
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                let raw = |payload: &Vec<u8>| Ipv6RawExtHeader::new_raw(any, payload).unwrap();
                let h = &self.headers;
                let extensions = Ipv6Extensions {
                    hop_by_hop_options: h.hop_by_hop.as_ref().map(raw),
                    destination_options: h.destination.as_ref().map(raw),
                    routing: h
                        .routing
                        .as_ref()
                        .map(|(routing, last)| Ipv6RoutingExtensions {
                            routing: raw(routing),
                            final_destination_options: last.as_ref().map(raw),
                        }),
                    fragment: self
                        .offset
                        .map(|_| Ipv6FragmentHeader::new(any, offset, true, 7)),
                    auth: (h.authentication.as_ref())
                        .map(|icv| IpAuthHeader::new(any, 1, 1, icv).unwrap()),
                };
                IpHeaders::Ipv6(header, extensions)
            }
            _ => unreachable!("the families of a packet are the same"),
        }
    }
}

/// What etherparse's strict parser makes of IP bytes.
fn by_etherparse(bytes: &[u8]) -> Option<(Protocol, u16, u16, u8)> {
    match SlicedPacket::from_ip(bytes).ok()?.transport? {
        TransportSlice::Tcp(tcp) => Some((
            Protocol::Tcp,
            tcp.source_port(),
            tcp.destination_port(),
            tcp.slice().get(13)? & 0x3f,
        )),
        TransportSlice::Udp(udp) => {
            Some((Protocol::Udp, udp.source_port(), udp.destination_port(), 0))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_packet_that_etherparse_built_is_read_as_it_was_meant(built in built(any::<u16>())) {
        prop_assert_eq!(Packet::from_ip(&built.bytes()), built.expected());
        prop_assert_eq!(Packet::from_ether_type(built.ether_type(), &built.bytes()), built.expected());
    }

    #[test]
    fn the_payload_of_a_whole_datagram_is_given_as_it_was_meant(
        built in built(any::<u16>()),
        padding in bytes(any::<u8>(), 0..20),
    ) {
        let whole = [built.bytes(), padding].concat();
        let ether_type = built.ether_type();
        prop_assert_eq!(payload(ether_type, &whole), built.expected_payload());
        prop_assert_eq!(payload_from_link(LinkType::RawIp, &whole), built.expected_payload());
        for cut in 0..built.bytes().len() {
            prop_assert!(payload(ether_type, &whole[..cut]).is_err());
        }
    }

    #[test]
    fn a_payload_is_given_only_of_what_is_a_packet(
        built in built(any::<u16>()),
        bends in bytes((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut bent = built.bytes();
        for (at, value) in bends {
            let at = at.index(bent.len());
            bent[at] = value;
        }
        if let Ok(payload) = payload(built.ether_type(), &bent) {
            let packet = Packet::from_ether_type(built.ether_type(), &bent);
            prop_assert!(packet.is_ok_and(|packet| packet.protocol == Protocol::Udp));
            let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
            let header = bent.windows(8 + payload.len()).any(|w| w[4..6] == length && w.ends_with(payload));
            prop_assert!(header);
        }
    }

    #[test]
    fn a_packet_cut_before_the_flags_or_ports_is_truncated(
        built in built(any::<u16>()),
        cut in any::<Index>(),
    ) {
        let whole = built.bytes();
        let cut = cut.index(whole.len());
        let read = Packet::from_ip(&whole[..cut]);
        if built.offset.unwrap_or(0) == 0 {
            let expected = if cut < built.needed() { Err(NotAKnock::Truncated) } else { Ok(built.packet) };
            prop_assert_eq!(read, expected);
        } else {
            prop_assert!(matches!(read, Err(NotAKnock::Truncated | NotAKnock::Fragment)));
        }
    }

    #[test]
    fn what_etherparse_reads_of_a_bent_packet_is_read_alike(
        built in built(any::<u16>()),
        bends in bytes((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut bent = built.bytes();
        for (at, value) in bends {
            let at = at.index(bent.len());
            bent[at] = value;
        }
        let ipv4_with_authentication = bent[0] >> 4 == 4 && bent[9] == 51;
        if let Some(theirs) = by_etherparse(&bent).filter(|_| !ipv4_with_authentication) {
            let ours = Packet::from_ip(&bent)
                .map(|p| (p.protocol, p.source_port, p.destination_port, p.flags.bits()));
            prop_assert_eq!(ours, Ok(theirs));
        }
    }

    #[test]
    fn any_bytes_have_an_answer(
        first in any::<u8>(),
        ether_type in any::<u16>(),
        rest in bytes(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![first];
        bytes.extend(rest);
        let links = [
            LinkType::Ethernet,
            LinkType::RawIp,
            LinkType::LinuxSll,
            LinkType::LinuxSll2,
            LinkType::Loopback,
        ];
        let as_ether_types = [ether_type, 0x0800, 0x86dd, 0x8100]
            .map(|ether_type| Packet::from_ether_type(ether_type, &bytes));
        let as_frames = links.map(|link| Packet::from_link(link, &bytes));
        // The shortest knock: a UDP datagram over IPv4, cut behind its ports.
        let knocks = as_ether_types.iter().chain(&as_frames).filter(|read| read.is_ok()).count();
        prop_assert!(knocks == 0 || bytes.len() >= 24);
    }
}

/// A UDP datagram to port 7000 over IPv6, behind the extension headers `chain` of 8 bytes each.
fn behind(chain: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0];
    packet.push(*chain.first().unwrap_or(&17));
    packet.push(64);
    packet.extend([1; 32]);
    for next in chain.iter().skip(1).chain([&17]) {
        packet.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
    }
    if chain.is_empty() {
        packet.truncate(40);
    }
    packet.extend([0x30, 0x39, 0x1b, 0x58]);
    packet
}

/// A UDP datagram from 192.0.2.1:12345 to port 7000 over IPv4.
fn datagram() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend([0x30, 0x39, 0x1b, 0x58]);
    packet
}

fn port(read: Result<Packet, NotAKnock>) -> Result<u16, NotAKnock> {
    read.map(|packet| packet.destination_port)
}

/// `datagram` behind the bytes `front`.
fn after(front: &[u8]) -> Vec<u8> {
    let mut frame = front.to_vec();
    frame.extend(datagram());
    frame
}

#[test]
fn neither_lengths_nor_checksums_nor_the_time_to_live_are_asked_for() {
    let mut packet = datagram();
    packet[2..4].copy_from_slice(&[0xff, 0xff]);
    packet[8] = 0;
    packet[10..12].copy_from_slice(&[0xde, 0xad]);
    assert_eq!(port(Packet::from_ip(&packet)), Ok(7000));
    // A TCP header that says it has four bytes: the original reads its ports all the same.
    packet[9] = 6;
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x02]);
    let read = Packet::from_ip(&packet).unwrap();
    assert_eq!((read.destination_port, read.flags), (7000, TcpFlags::SYN));
    assert_eq!(read.source, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
}

#[test]
fn a_udp_length_less_than_its_header_or_beyond_the_bytes_has_no_payload() {
    let mut packet = datagram();
    packet.extend([0, 7, 0, 0, 1, 2, 3]);
    assert_eq!(payload(0x0800, &packet), Err(NotAKnock::Malformed));
    for (length, expected) in [
        (8, Ok(&[][..])),
        (10, Ok(&[1, 2][..])),
        (11, Ok(&[1, 2, 3][..])),
        (12, Err(NotAKnock::Truncated)),
    ] {
        packet[25] = length;
        assert_eq!(payload(0x0800, &packet), expected, "{length}");
    }
    packet[6] = 0x20;
    assert_eq!(payload(0x0800, &packet), Err(NotAKnock::Fragment));
    assert_eq!(port(Packet::from_ip(&packet)), Ok(7000));
}

#[test]
fn an_ipv4_header_shorter_than_itself_is_malformed() {
    let mut packet = datagram();
    packet[0] = 0x44;
    assert_eq!(Packet::from_ip(&packet), Err(NotAKnock::Malformed));
    packet[0] = 0x55;
    assert_eq!(Packet::from_ip(&packet), Err(NotAKnock::Malformed));
    assert_eq!(Packet::from_ip(&[]), Err(NotAKnock::Truncated));
}

#[test]
fn eight_extension_headers_are_walked_and_not_nine() {
    assert_eq!(port(Packet::from_ip(&behind(&[]))), Ok(7000));
    assert_eq!(port(Packet::from_ip(&behind(&[60; 8]))), Ok(7000));
    assert_eq!(
        Packet::from_ip(&behind(&[60; 9])),
        Err(NotAKnock::TooManyHeaders)
    );
}

#[test]
fn what_is_neither_tcp_nor_udp_is_named_so() {
    let icmp = {
        let mut packet = datagram();
        packet[9] = 1;
        packet
    };
    assert_eq!(Packet::from_ip(&icmp), Err(NotAKnock::OtherProtocol));
    let mut no_next_header = behind(&[0]);
    no_next_header[40] = 59;
    assert_eq!(
        Packet::from_ip(&no_next_header),
        Err(NotAKnock::OtherProtocol)
    );
}

#[test]
fn the_announced_version_must_be_the_packets() {
    let packet = datagram();
    assert_eq!(port(Packet::from_ether_type(0x0800, &packet)), Ok(7000));
    assert_eq!(
        Packet::from_ether_type(0x86dd, &packet),
        Err(NotAKnock::Malformed)
    );
    assert_eq!(
        Packet::from_ether_type(0x0806, &packet),
        Err(NotAKnock::Malformed)
    );
}

#[test]
fn two_vlan_tags_are_stepped_over_and_not_three() {
    let one = after(&[0x00, 0x07, 0x08, 0x00]);
    for tag in [0x8100, 0x88a8, 0x9100] {
        assert_eq!(port(Packet::from_ether_type(tag, &one)), Ok(7000));
    }
    let two = after(&[0, 7, 0x81, 0, 0, 9, 0x08, 0]);
    assert_eq!(port(Packet::from_ether_type(0x88a8, &two)), Ok(7000));
    let three = after(&[0, 7, 0x81, 0, 0, 8, 0x81, 0, 0, 9, 0x08, 0]);
    assert_eq!(
        Packet::from_ether_type(0x88a8, &three),
        Err(NotAKnock::Malformed)
    );
}

#[test]
fn every_link_type_leads_to_the_packet() {
    let mut ethernet = [2; 14];
    ethernet[12..].copy_from_slice(&[0x08, 0]);
    let mut tagged = [2; 18];
    tagged[12..].copy_from_slice(&[0x81, 0, 0, 7, 0x08, 0]);
    let mut sll = [0; 16];
    sll[14..].copy_from_slice(&[0x08, 0]);
    let mut sll2 = [0; 20];
    sll2[..2].copy_from_slice(&[0x08, 0]);
    for (link, front) in [
        (LinkType::Ethernet, &ethernet[..]),
        (LinkType::Ethernet, &tagged),
        (LinkType::LinuxSll, &sll),
        (LinkType::LinuxSll2, &sll2),
        (LinkType::RawIp, &[]),
        (LinkType::Loopback, &[2, 0, 0, 0]),
        (LinkType::Loopback, &[0, 0, 0, 2]),
    ] {
        assert_eq!(port(Packet::from_link(link, &after(front))), Ok(7000));
        let short = &after(front)[..front.len().saturating_sub(1)];
        assert_eq!(
            Packet::from_link(link, short),
            Err(NotAKnock::Truncated),
            "{link:?}"
        );
    }
    for family in [10, 24, 28, 30] {
        let mut frame = vec![family, 0, 0, 0];
        frame.extend(behind(&[]));
        assert_eq!(
            port(Packet::from_link(LinkType::Loopback, &frame)),
            Ok(7000)
        );
    }
    let other = Packet::from_link(LinkType::Loopback, &after(&[2, 0, 0, 2]));
    assert_eq!(other, Err(NotAKnock::Malformed));
}
