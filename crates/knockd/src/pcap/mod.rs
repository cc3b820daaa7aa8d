//! Capture files: pcap and pcapng, read packet by packet.
//!
//! Promises: any bytes at all give packets or an error with its offset, never a panic; memory is
//! bounded ([`MAX_PACKET`], [`MAX_INTERFACES`]), however large the file is; what comes before a
//! fault in the file is given before the fault is reported.
//!
//! Sources: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Why not the crate `pcap-file`
//! (our tests write their files with it): it does not say where a fault is, and refuses packets
//! that are longer than the file's own `snaplen`, which real files have.

mod classic;
mod fields;
mod ng;
mod source;

use std::fmt;
use std::io::{self, Read};

use knock_core::packet::LinkType;

use source::Source;

/// The most bytes of a packet; libpcap's own limit is 262,144.
pub const MAX_PACKET: usize = 1 << 20;

/// The most interfaces that a section of a pcapng file may describe.
pub const MAX_INTERFACES: usize = 1 << 16;

/// One packet of a capture file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// Nanoseconds since 1970-01-01 UTC. A packet without a time (pcapng's simple packet block)
    /// has that of the packet before it.
    pub time: u64,
    /// The link-layer header type, by its number (<https://www.tcpdump.org/linktypes.html>).
    pub link: u16,
    /// The bytes that were captured, from the link-layer header on.
    pub bytes: &'a [u8],
}

impl Record<'_> {
    /// The link-layer header type, if it is one that the packet view reads.
    #[must_use]
    pub const fn link_type(&self) -> Option<LinkType> {
        match self.link {
            0 | 108 => Some(LinkType::Loopback),
            1 => Some(LinkType::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(LinkType::RawIp),
            113 => Some(LinkType::LinuxSll),
            276 => Some(LinkType::LinuxSll2),
            _ => None,
        }
    }
}

/// A fault in a capture file.
#[derive(Debug)]
pub struct PcapError {
    /// How many bytes of the file had been read when it was found.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a capture file.
#[derive(Debug)]
pub enum Fault {
    /// It does not begin as a capture file does.
    NotACapture,
    /// It ends within a packet or block.
    Truncated,
    /// A field holds what it cannot hold: which, and what.
    Corrupt(&'static str, u64),
    /// It could not be read.
    Io(io::Error),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.fault {
            Fault::NotACapture => f.write_str("not a pcap or pcapng file"),
            Fault::Truncated => write!(f, "the file ends within a packet, at byte {offset}"),
            Fault::Corrupt(what, value) => {
                write!(
                    f,
                    "the file is damaged before byte {offset}: {what} is {value}"
                )
            }
            Fault::Io(error) => write!(f, "cannot read on at byte {offset}: {error}"),
        }
    }
}

impl std::error::Error for PcapError {}

/// Reads a capture file.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Classic(classic::Header),
    Ng(ng::Section),
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a capture file. `input` should be buffered.
    ///
    /// # Errors
    /// If it is no capture file, or cannot be read.
    pub fn new(input: R) -> Result<Self, PcapError> {
        let mut source = Source::new(input);
        let format = match Self::format(&mut source) {
            Ok(Some(format)) => format,
            Ok(None) => return Err(source.error(Fault::NotACapture)),
            Err(fault) => return Err(source.error(fault)),
        };
        Ok(Self { source, format })
    }

    fn format(source: &mut Source<R>) -> Result<Option<Format>, Fault> {
        // A file shorter than this is no capture rather than half of one.
        let Ok(magic) = source.array::<4>() else {
            return Ok(None);
        };
        if u32::from_be_bytes(magic) == ng::SECTION_HEADER {
            return Ok(Some(Format::Ng(ng::Section::read(source)?)));
        }
        let Some(kind) = classic::Kind::of(magic) else {
            return Ok(None);
        };
        Ok(Some(Format::Classic(classic::Header::read(kind, source)?)))
    }

    /// The next packet; `None` at the end of the file. After an error there is no more.
    ///
    /// # Errors
    /// If the file is damaged, ends within a packet, or cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, PcapError> {
        let found = match &mut self.format {
            Format::Classic(header) => header.next(&mut self.source),
            Format::Ng(section) => section.next(&mut self.source),
        };
        match found {
            Ok(None) => Ok(None),
            Ok(Some(meta)) => Ok(Some(Record {
                time: meta.time,
                link: meta.link,
                bytes: self.source.bytes().get(meta.range).unwrap_or_default(),
            })),
            Err(fault) => Err(self.source.error(fault)),
        }
    }

    /// How many bytes of the file have been read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }
}

/// A packet whose bytes are in the source's buffer.
#[derive(Debug)]
struct Meta {
    time: u64,
    link: u16,
    range: std::ops::Range<usize>,
}

#[cfg(test)]
mod tests;
