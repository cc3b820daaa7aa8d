//! Files are written with the crate `pcap-file`, which shares no code with our reader.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;

use super::*;

type Read1 = (u64, u16, Vec<u8>);

fn read(bytes: &[u8]) -> (Vec<Read1>, Option<PcapError>) {
    let mut records = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    loop {
        match reader.next_record() {
            Ok(Some(r)) => records.push((r.time, r.link, r.bytes.to_vec())),
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        }
    }
}

fn classic(endianness: Endianness, ts_resolution: TsResolution) -> Vec<u8> {
    let header = PcapHeader {
        endianness,
        ts_resolution,
        datalink: DataLink::LINUX_SLL,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for (time, data) in [(1_500, b"abc".as_slice()), (2_000_000_000, b"")] {
        let time = Duration::from_nanos(time);
        writer
            .write_packet(&PcapPacket::new(time, 60, data))
            .unwrap();
    }
    writer.into_writer()
}

fn interface(
    options: Vec<InterfaceDescriptionOption<'static>>,
) -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options,
    }
}

fn enhanced(interface_id: u32, units: u64, data: &[u8]) -> EnhancedPacketBlock<'_> {
    EnhancedPacketBlock {
        interface_id,
        // The writer counts in its own nanoseconds and writes them as units.
        timestamp: Duration::from_nanos(units),
        original_len: 60,
        data: Cow::Borrowed(data),
        options: vec![],
    }
}

fn ng(endianness: Endianness) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).unwrap();
    let nano = InterfaceDescriptionOption::IfTsResol(9);
    let offset = InterfaceDescriptionOption::IfTsOffset(7);
    writer.write_pcapng_block(interface(vec![nano])).unwrap();
    writer.write_pcapng_block(interface(vec![offset])).unwrap();
    writer
        .write_pcapng_block(enhanced(0, 1_500, b"abc"))
        .unwrap();
    let simple = SimplePacketBlock {
        original_len: 4,
        data: Cow::Borrowed(b"wxyz"),
    };
    writer.write_pcapng_block(simple).unwrap();
    writer.write_pcapng_block(enhanced(1, 0, b"")).unwrap();
    writer.into_inner()
}

#[test]
fn classic_files_of_every_byte_order_and_resolution_are_read() {
    for endianness in [Endianness::Big, Endianness::Little] {
        for (resolution, first) in [
            (TsResolution::MicroSecond, 1_000),
            (TsResolution::NanoSecond, 1_500),
        ] {
            let (records, error) = read(&classic(endianness, resolution));
            assert!(error.is_none(), "{error:?}");
            let second = (2_000_000_000, 113, vec![]);
            assert_eq!(records, [(first, 113, b"abc".to_vec()), second]);
        }
    }
}

#[test]
fn ng_files_of_either_byte_order_are_read() {
    for endianness in [Endianness::Big, Endianness::Little] {
        let (records, error) = read(&ng(endianness));
        assert!(error.is_none(), "{error:?}");
        let expected = [
            (1_500, 1, b"abc".to_vec()),
            (1_500, 1, b"wxyz".to_vec()),
            (7_000_000_000, 1, vec![]),
        ];
        assert_eq!(records, expected);
    }
}

#[test]
fn sections_may_change_the_byte_order_and_begin_their_interfaces_anew() {
    let mut bytes = ng(Endianness::Big);
    bytes.extend(ng(Endianness::Little));
    let (records, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records.len(), 6);
}

#[test]
fn every_truncation_gives_what_came_before_and_says_where() {
    for bytes in [
        classic(Endianness::Little, TsResolution::MicroSecond),
        ng(Endianness::Little),
    ] {
        let (all, _) = read(&bytes);
        for length in 4..bytes.len() {
            let (records, error) = read(&bytes[..length]);
            assert!(all.starts_with(&records));
            match error {
                // Between two packets a file may well end.
                None => {}
                Some(error) => {
                    assert!(matches!(error.fault, Fault::Truncated), "{error}");
                    assert_eq!(usize::try_from(error.offset), Ok(length));
                }
            }
        }
    }
}

#[test]
fn what_is_no_capture_is_called_so() {
    for bytes in [b"".as_slice(), b"abc", b"#!/bin/sh\n"] {
        let (_, error) = read(bytes);
        assert!(matches!(error.unwrap().fault, Fault::NotACapture));
    }
}

#[test]
fn impossible_lengths_are_errors_and_take_no_memory() {
    let mut bytes = classic(Endianness::Little, TsResolution::MicroSecond);
    bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    let (records, error) = read(&bytes);
    assert!(records.is_empty());
    let text = error.unwrap().to_string();
    assert_eq!(
        text,
        "the file is damaged before byte 40: a packet's length is 4294967295"
    );
}

#[test]
fn a_packet_of_no_interface_is_an_error() {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    writer.write_pcapng_block(interface(vec![])).unwrap();
    writer.write_pcapng_block(enhanced(0, 0, b"abc")).unwrap();
    let mut bytes = writer.into_inner();
    let at = bytes.len() - 36 + 8;
    bytes[at] = 9;
    let (_, error) = read(&bytes);
    let fault = error.unwrap().fault;
    assert!(
        matches!(fault, Fault::Corrupt("a packet's interface", _)),
        "{fault:?}"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..300), start in 0..5_usize) {
        let files = [
            vec![],
            classic(Endianness::Big, TsResolution::NanoSecond),
            ng(Endianness::Little),
            ng(Endianness::Big)[..28].to_vec(),
            vec![0xd4, 0xc3, 0xb2, 0xa1],
        ];
        let mut bytes = files[start].clone();
        bytes.extend(tail);
        let _ = read(&bytes);
    }

    #[test]
    fn damage_anywhere_never_makes_it_panic(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        big in any::<bool>(), use_ng in any::<bool>(),
    ) {
        let endianness = if big { Endianness::Big } else { Endianness::Little };
        let mut bytes = if use_ng { ng(endianness) } else { classic(endianness, TsResolution::NanoSecond) };
        for (index, value) in at {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let _ = read(&bytes);
    }
}
