//! The pcap format: a header of 24 bytes, then each packet behind a header of 16.

use std::io::Read;

use super::fields::{Endian, Fields};
use super::source::{Source, packet_length};
use super::{Fault, Meta};

/// What the first four bytes tell.
#[derive(Copy, Clone, Debug)]
pub(super) struct Kind {
    endian: Endian,
    /// Nanoseconds of a unit of the second field of a packet's time.
    unit: u64,
    /// Bytes that follow the 16 of a packet's header (Kuznetzov's format of 1999 has 8).
    extra: u64,
}

impl Kind {
    pub(super) const fn of(magic: [u8; 4]) -> Option<Self> {
        let (endian, unit, extra) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (Endian::Big, 1_000, 0),
            [0xd4, 0xc3, 0xb2, 0xa1] => (Endian::Little, 1_000, 0),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Endian::Big, 1, 0),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Endian::Little, 1, 0),
            [0xa1, 0xb2, 0xcd, 0x34] => (Endian::Big, 1_000, 8),
            [0x34, 0xcd, 0xb2, 0xa1] => (Endian::Little, 1_000, 8),
            _ => return None,
        };
        Some(Self {
            endian,
            unit,
            extra,
        })
    }
}

#[derive(Debug)]
pub(super) struct Header {
    kind: Kind,
    link: u16,
}

impl Header {
    /// Reads what follows the first four bytes.
    pub(super) fn read<R: Read>(kind: Kind, source: &mut Source<R>) -> Result<Self, Fault> {
        // Version, time zone and accuracy say nothing that anybody uses; `snaplen` is often lower
        // than what the packets have.
        let [.., a, b, c, d] = source.array::<20>()?;
        // The upper half says how long a frame check sequence is, which stands behind the packet.
        let link = kind.endian.u32([a, b, c, d]) & 0xffff;
        let link = u16::try_from(link).unwrap_or(u16::MAX);
        Ok(Self { kind, link })
    }

    pub(super) fn next<R: Read>(&self, source: &mut Source<R>) -> Result<Option<Meta>, Fault> {
        let Some(header) = source.array_or_end::<16>()? else {
            return Ok(None);
        };
        let endian = self.kind.endian;
        let mut fields = Fields {
            rest: &header,
            endian,
        };
        let mut next = || fields.u32().ok_or(Fault::Truncated);
        let (seconds, part, length) = (next()?, next()?, next()?);
        source.skip(self.kind.extra)?;
        let length = packet_length(length)?;
        source.fill(length)?;
        // A part of more than a second is wrong, but harmless.
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(part) * self.kind.unit;
        Ok(Some(Meta {
            time,
            link: self.link,
            range: 0..length,
        }))
    }
}
