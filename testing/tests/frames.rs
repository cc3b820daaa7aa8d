//! The frames of scripts, read by a third opinion.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use etherparse::{NetSlice, SlicedPacket, TransportSlice, VlanSlice};
use testbed::frame::{self, Link};
use testbed::script::{self, Knock, Word};

fn knock(word: &str) -> Knock {
    match script::parse(word, false).unwrap().remove(0) {
        Word::Packet(knock) => knock,
        other => panic!("{other:?}"),
    }
}

fn frame_of(word: &str) -> Vec<u8> {
    frame::build(&knock(word), Link::NOMINAL, 40_000)
}

#[test]
fn a_tcp_frame_has_its_ports_flags_and_checksums() {
    for word in [
        "7000/syn+ack>3",
        "7000/fin+psh+urg~payload=9",
        "7000/rst~6",
        "7000~options",
    ] {
        let bytes = frame_of(word);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            panic!("{word}: {packet:?}")
        };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 7000));
        assert_eq!(tcp.syn() && tcp.ack(), word.contains("syn+ack"));
        assert_eq!(tcp.fin() && tcp.psh() && tcp.urg(), word.contains("fin"));
        assert_eq!(tcp.rst(), word.contains("rst"));
        let sum = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(
                    header.header_checksum,
                    header.calc_header_checksum(),
                    "{word}"
                );
                assert_eq!(header.options.is_empty(), !word.contains("options"));
                let (s, d) = (header.source, header.destination);
                tcp.calc_checksum_ipv4(s, d).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                let (s, d) = (ip.header().source(), ip.header().destination());
                tcp.calc_checksum_ipv6(s, d).unwrap()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(tcp.checksum(), sum, "{word}");
    }
}

#[test]
fn a_wrong_checksum_is_wrong() {
    let (good, bad) = (frame_of("7000"), frame_of("7000~badsum"));
    assert_ne!(good, bad);
    assert_eq!(good.len(), bad.len());
}

#[test]
fn extension_headers_and_fragments_are_what_they_say() {
    let bytes = frame_of("7000:udp~6~hbh~dstopt~routing");
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        panic!("{packet:?}")
    };
    assert_eq!(udp.destination_port(), 7000);
    for (word, first) in [
        ("7000~first", true),
        ("7000~later", false),
        ("7000~6~later", false),
    ] {
        let bytes = frame_of(word);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        assert!(packet.is_ip_payload_fragmented(), "{word}");
        if let Some(NetSlice::Ipv4(ip)) = &packet.net {
            assert_eq!(ip.header().fragments_offset().value() == 0, first, "{word}");
        }
    }
}

#[test]
fn tags_are_in_front_of_the_packet() {
    let bytes = frame_of("7000~vlan=5");
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    let Some(VlanSlice::SingleVlan(tag)) = packet.vlan() else {
        panic!("{packet:?}")
    };
    assert_eq!(tag.vlan_identifier().value(), 5);
    let bytes = frame_of("7000~qinq=7");
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    assert!(matches!(packet.vlan(), Some(VlanSlice::DoubleVlan(_))));
}
