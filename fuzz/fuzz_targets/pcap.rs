//! Any file is read to its end or to an error, and no record is longer than may be or than the
//! file.
#![no_main]

use knock_core::packet::Packet;
use knockd::pcap::{MAX_PACKET, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new(data) else {
        return;
    };
    let mut bytes = 0;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                assert!(record.bytes.len() <= MAX_PACKET);
                bytes += record.bytes.len();
                if let Some(link) = record.link_type()
                    && let Ok(packet) = Packet::from_link(link, record.bytes)
                {
                    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
                }
            }
            Ok(None) => break,
            Err(error) => {
                assert!(error.offset <= data.len() as u64, "{error}");
                break;
            }
        }
    }
    assert!(bytes <= data.len());
    assert!(reader.offset() <= data.len() as u64);
});
