//! The pcapng format: blocks, of which we read those that hold packets or describe interfaces.

use std::io::Read;

use super::fields::{Endian, Fields};
use super::source::{Source, packet_length};
use super::{Fault, MAX_INTERFACES, MAX_PACKET, Meta};

/// The type of the block that begins a section; the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Interface options (draft, 4.2).
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;

/// The most bytes of a block that we read: a packet, and generous options.
const MAX_BLOCK: usize = MAX_PACKET + (1 << 16);

/// A section: its byte order, and the interfaces that it has described so far.
#[derive(Debug)]
pub(super) struct Section {
    endian: Endian,
    interfaces: Vec<Interface>,
    /// The time of the last packet.
    time: u64,
}

#[derive(Copy, Clone, Debug)]
struct Interface {
    link: u16,
    /// The most bytes of a packet; 0 is no limit.
    snaplen: u32,
    /// Units of its time stamps in a second.
    units: u128,
    /// Seconds to add to its time stamps.
    offset: i64,
}

impl Section {
    /// Reads a section header whose type has been read.
    pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<Self, Fault> {
        let length = source.array::<4>()?;
        let magic = source.array::<4>()?;
        let endian = match magic {
            [0x1a, 0x2b, 0x3c, 0x4d] => Endian::Big,
            [0x4d, 0x3c, 0x2b, 0x1a] => Endian::Little,
            _ => {
                let magic = u32::from_be_bytes(magic).into();
                return Err(Fault::Corrupt("a section's byte-order mark", magic));
            }
        };
        let length = endian.u32(length);
        // Type, length, mark and the length once more are 16 of them.
        let body = length.checked_sub(16).filter(|_| length.is_multiple_of(4));
        let body = body.ok_or(Fault::Corrupt("a block's length", length.into()))?;
        source.skip(body.into())?;
        check_length(endian, length, source.array()?)?;
        Ok(Self {
            endian,
            interfaces: Vec::new(),
            time: 0,
        })
    }

    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Meta>, Fault> {
        loop {
            let Some(kind) = source.array_or_end::<4>()? else {
                return Ok(None);
            };
            if u32::from_be_bytes(kind) == SECTION_HEADER {
                let time = self.time;
                *self = Self::read(source)?;
                self.time = time;
                continue;
            }
            let length = self.endian.u32(source.array()?);
            let body = length.checked_sub(12).filter(|_| length.is_multiple_of(4));
            let body = body.ok_or(Fault::Corrupt("a block's length", length.into()))?;
            let kind = self.endian.u32(kind);
            if !matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                source.skip(body.into())?;
                check_length(self.endian, length, source.array()?)?;
                continue;
            }
            if let Some(meta) = self.block(kind, length, body, source)? {
                return Ok(Some(meta));
            }
        }
    }

    /// Reads a block, its trailing length included, so that the buffer is this block's.
    fn block<R: Read>(
        &mut self,
        kind: u32,
        length: u32,
        body: u32,
        source: &mut Source<R>,
    ) -> Result<Option<Meta>, Fault> {
        let size = usize::try_from(body).ok().filter(|size| *size <= MAX_BLOCK);
        let size = size.ok_or(Fault::Corrupt("a block's length", length.into()))?;
        source.fill(size.saturating_add(4))?;
        let (body, trailer) = source
            .bytes()
            .split_last_chunk::<4>()
            .ok_or(Fault::Truncated)?;
        check_length(self.endian, length, *trailer)?;
        let endian = self.endian;
        let fields = Fields { rest: body, endian };
        let short = || Fault::Corrupt("a block's length", length.into());
        match kind {
            INTERFACE => {
                let interface = Interface::read(fields)?.ok_or_else(short)?;
                if self.interfaces.len() >= MAX_INTERFACES {
                    let count = u64::try_from(MAX_INTERFACES).unwrap_or(u64::MAX);
                    return Err(Fault::Corrupt("the number of interfaces", count));
                }
                self.interfaces.push(interface);
                Ok(None)
            }
            SIMPLE_PACKET => self.simple(fields, body.len()).map(Some),
            PACKET => self.packet(fields, body.len(), true).map(Some),
            _ => self.packet(fields, body.len(), false).map(Some),
        }
    }

    /// An enhanced packet block (draft, 4.3), or the obsolete packet block (appendix A), which has
    /// the interface in 16 bits.
    fn packet(&mut self, mut fields: Fields<'_>, size: usize, old: bool) -> Result<Meta, Fault> {
        let read = |fields: &mut Fields<'_>| {
            let interface = if old {
                let id = fields.u16()?;
                fields.u16()?;
                id.into()
            } else {
                fields.u32()?
            };
            let (high, low) = (fields.u32()?, fields.u32()?);
            let length = fields.u32()?;
            fields.u32()?;
            Some((interface, u64::from(high) << 32 | u64::from(low), length))
        };
        let (id, time, length) = read(&mut fields).ok_or(Fault::Truncated)?;
        let interface = self.interface(id)?;
        self.time = interface.nanoseconds(time);
        let start = size.saturating_sub(fields.rest.len());
        let taken = packet_length(length)?;
        fields
            .take(taken)
            .ok_or(Fault::Corrupt("a packet's length", length.into()))?;
        Ok(Meta {
            time: self.time,
            link: interface.link,
            range: start..start.saturating_add(taken),
        })
    }

    /// A simple packet block (draft, 4.4): no time; cut at the first interface's limit.
    fn simple(&self, mut fields: Fields<'_>, size: usize) -> Result<Meta, Fault> {
        let original = fields.u32().ok_or(Fault::Truncated)?;
        let interface = self.interface(0)?;
        let length = match interface.snaplen {
            0 => original,
            limit => original.min(limit),
        };
        let start = size.saturating_sub(fields.rest.len());
        let taken = packet_length(length)?;
        fields
            .take(taken)
            .ok_or(Fault::Corrupt("a packet's length", length.into()))?;
        Ok(Meta {
            time: self.time,
            link: interface.link,
            range: start..start.saturating_add(taken),
        })
    }

    fn interface(&self, id: u32) -> Result<Interface, Fault> {
        let found = usize::try_from(id)
            .ok()
            .and_then(|i| self.interfaces.get(i));
        found
            .copied()
            .ok_or(Fault::Corrupt("a packet's interface", id.into()))
    }
}

impl Interface {
    /// `None` if the block is too short.
    fn read(mut fields: Fields<'_>) -> Result<Option<Self>, Fault> {
        let mut begin = || {
            let link = fields.u16()?;
            fields.u16()?;
            Some((link, fields.u32()?))
        };
        let Some((link, snaplen)) = begin() else {
            return Ok(None);
        };
        let mut interface = Self {
            link,
            snaplen,
            units: 1_000_000,
            offset: 0,
        };
        while let (Some(code), Some(length)) = (fields.u16(), fields.u16()) {
            let Some(value) = fields.take(length.into()) else {
                return Ok(None);
            };
            // Values are padded to four bytes; at the end the padding may be missing.
            let _padding = fields.take((4 - usize::from(length) % 4) % 4);
            match (code, value) {
                (TIME_RESOLUTION, [resolution]) => interface.units = units(*resolution)?,
                (TIME_OFFSET, [a, b, c, d, e, f, g, h]) => {
                    interface.offset = fields.endian.i64([*a, *b, *c, *d, *e, *f, *g, *h]);
                }
                (0, _) => break,
                _ => {}
            }
        }
        Ok(Some(interface))
    }

    /// A time stamp of this interface; those before 1970 are 1970, those after 2554 are 2554.
    fn nanoseconds(self, stamp: u64) -> u64 {
        let nanoseconds = u128::from(stamp) * 1_000_000_000 / self.units;
        let nanoseconds = i128::try_from(nanoseconds).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset) * 1_000_000_000;
        let time = nanoseconds.saturating_add(offset).max(0);
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

/// Units in a second for `if_tsresol`: a negative power of 10, or of 2 if the highest bit is set.
fn units(resolution: u8) -> Result<u128, Fault> {
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).ok_or(Fault::Corrupt(
        "an interface's time resolution",
        resolution.into(),
    ))
}

/// Each block says its length at both ends.
fn check_length(endian: Endian, length: u32, trailer: [u8; 4]) -> Result<(), Fault> {
    match endian.u32(trailer) {
        again if again == length => Ok(()),
        again => Err(Fault::Corrupt("a block's second length", again.into())),
    }
}
