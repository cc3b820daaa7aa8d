//! Any bytes are a packet or not, as IP and in every link layer, and what is one does not change
//! when bytes follow it.
#![no_main]

use knock_core::packet::{LinkType, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let longer = [data, &[0; 64]].concat();
    if let Ok(packet) = Packet::from_ip(data) {
        assert_eq!(Packet::from_ip(&longer), Ok(packet));
        assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
        assert_eq!(packet.source.is_ipv4(), data[0] >> 4 == 4);
    }
    if let Some(([high, low], rest)) = data.split_first_chunk() {
        let ether_type = u16::from_be_bytes([*high, *low]);
        if let Ok(packet) = Packet::from_ether_type(ether_type, rest) {
            // The tags that may stand before it are of four bytes each.
            assert!(
                [0, 4, 8]
                    .iter()
                    .any(|tags| Packet::from_ip(&rest[*tags..]) == Ok(packet))
            );
        }
    }
    for link in [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::LinuxSll,
        LinkType::LinuxSll2,
        LinkType::Loopback,
    ] {
        if let Ok(packet) = Packet::from_link(link, data) {
            assert_eq!(Packet::from_link(link, &longer), Ok(packet));
        }
    }
});
