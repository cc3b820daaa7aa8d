//! What the listener tells the keeper: messages of one size, one for each thing that happened.
//!
//! A message carries numbers, never commands: the keeper looks doors up in its own copy. Its
//! encoding is canonical, and [`Report::decode`] takes nothing else: there is exactly one byte
//! string for each report, and every other one is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knock_core::door::DoorId;
use knock_core::engine::{Event, EventKind};
use knock_core::flags::TcpFlags;
use knock_core::packet::Packet;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::time::Timestamp;

use super::{Checksum, Counter};
use crate::sandbox::{Layer, State};

/// Something that the listener saw.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The set of doors that `door` counts in.
    pub doors: Checksum,
    /// At which door; 0 where the kind has none.
    pub door: DoorId,
    /// Who knocked; `0.0.0.0` where nobody did.
    pub source: IpAddr,
    /// When, on the system's clock since its start (see [`crate::listen::now`]).
    pub at: Timestamp,
    /// What.
    pub kind: ReportKind,
}

/// What the listener saw.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum ReportKind {
    /// The step with this number, from 1, was knocked.
    Stage(u8),
    /// The source has completed the door. Never left out by the rate limit.
    Opening,
    /// The sequence's time was over.
    Timeout {
        /// Steps that had been knocked.
        stage: u8,
    },
    /// A wrong knock ended the attempt.
    Broken {
        /// Steps that had been knocked.
        stage: u8,
        /// The port that did it.
        by: Step,
    },
    /// So many reports were left out since the last report of this kind, by the rate limit or
    /// because the keeper was busy.
    LeftOut {
        /// How many.
        lines: u32,
    },
    /// A packet that passed the kernel's filter (`-D`). Its source is [`Report::source`].
    Dump {
        /// What it says.
        packet: Packet,
        /// The length of the IP packet in bytes.
        bytes: u32,
    },
    /// Whether a layer of the sandbox is in force; one for each layer, before the first packet.
    Layer(Layer, State),
    /// From now on packets are taken.
    Ready,
    /// The kernel has dropped so many packets since the last report of this kind, because they
    /// came faster than they could be taken.
    Dropped {
        /// How many.
        packets: u32,
    },
    /// What was counted, when it was asked for: one for each counter, in their order.
    Counter(Counter, u64),
    /// What looks like a code on paper came from [`Report::source`]. Within limits, all that the
    /// sieve lets through, and some of the others, which are worth a line.
    Code(CodeBytes),
}

/// What somebody has sent for a code: as good as one until it is spent, so it is not shown.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct CodeBytes(pub [u8; 10]);

impl fmt::Debug for CodeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeBytes(..)")
    }
}

/// The bytes are no report.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NotAReport;

/// The length of an encoded report, in bytes.
pub const LENGTH: usize = 72;

const STAGE: u8 = 1;
const OPENING: u8 = 2;
const TIMEOUT: u8 = 3;
const BROKEN: u8 = 4;
const LEFT_OUT: u8 = 5;
const DUMP: u8 = 6;
const LAYER: u8 = 7;
const READY: u8 = 8;
const DROPPED: u8 = 9;
const COUNTER: u8 = 10;
const CODE: u8 = 11;

/// The message as its fields, all integers little-endian; what a kind does not use is zero.
#[derive(Default)]
struct Raw {
    kind: u8,              // 0
    family: u8,            // 1: of both addresses, 4 or 6
    door: u16,             // 2
    stage: u8,             // 4: a stage, a layer or a counter
    protocol: u8,          // 5: as IP numbers them
    flags: u8,             // 6
    state: u8,             // 7: of a layer
    doors: u64,            // 8
    at: u64,               // 16
    number: u64,           // 24: of lines, bytes, packets, …
    source: [u8; 16],      // 32: an IPv4 address is in the first four
    destination: [u8; 16], // 48
    port: u16,             // 64
    source_port: u16,      // 66
    reserved: [u8; 4],     // 68
}

impl ReportKind {
    /// What the report of an event is.
    pub(crate) const fn of_event(kind: EventKind) -> Self {
        match kind {
            EventKind::Stage(stage) => Self::Stage(stage),
            EventKind::Opening => Self::Opening,
            EventKind::Timeout { stage } => Self::Timeout { stage },
            EventKind::Broken { stage, by } => Self::Broken { stage, by },
        }
    }
}

impl Report {
    /// What the engine's `event` is as a report.
    #[must_use]
    pub const fn of_event(doors: Checksum, event: &Event) -> Self {
        Self {
            doors,
            door: event.door,
            source: event.source,
            at: event.at,
            kind: ReportKind::of_event(event.kind),
        }
    }

    /// Something that is about no door and nobody.
    #[must_use]
    pub const fn general(doors: Checksum, kind: ReportKind, at: Timestamp) -> Self {
        Self {
            doors,
            door: DoorId(0),
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            at,
            kind,
        }
    }

    /// That `packet`, `bytes` long, was seen.
    #[must_use]
    pub const fn dump(doors: Checksum, packet: Packet, bytes: u32, at: Timestamp) -> Self {
        Self {
            doors,
            door: DoorId(0),
            source: packet.source,
            at,
            kind: ReportKind::Dump { packet, bytes },
        }
    }

    /// That what may be a code on paper came from `source`.
    #[must_use]
    pub const fn code(doors: Checksum, source: IpAddr, code: CodeBytes, at: Timestamp) -> Self {
        Self {
            doors,
            door: DoorId(0),
            source,
            at,
            kind: ReportKind::Code(code),
        }
    }

    /// The report as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let (family, source) = address_bytes(self.source);
        let mut raw = Raw {
            family,
            source,
            door: self.door.0,
            doors: self.doors.0,
            at: self.at.as_nanos(),
            ..Raw::default()
        };
        match self.kind {
            ReportKind::Stage(stage) => {
                raw.kind = STAGE;
                raw.stage = stage;
            }
            ReportKind::Opening => raw.kind = OPENING,
            ReportKind::Timeout { stage } => {
                raw.kind = TIMEOUT;
                raw.stage = stage;
            }
            ReportKind::Broken { stage, by } => {
                raw.kind = BROKEN;
                raw.stage = stage;
                raw.set_step(by);
            }
            ReportKind::LeftOut { lines } => {
                raw.kind = LEFT_OUT;
                raw.number = lines.into();
            }
            ReportKind::Dump { packet, bytes } => {
                raw.kind = DUMP;
                raw.number = bytes.into();
                raw.destination = address_bytes(packet.destination).1;
                raw.set_step(packet.step());
                raw.source_port = packet.source_port;
                raw.flags = packet.flags.bits();
            }
            ReportKind::Layer(layer, state) => {
                raw.kind = LAYER;
                raw.stage = layer.number();
                (raw.state, raw.number) = state.numbers();
            }
            ReportKind::Ready => raw.kind = READY,
            ReportKind::Dropped { packets } => {
                raw.kind = DROPPED;
                raw.number = packets.into();
            }
            ReportKind::Counter(counter, value) => {
                raw.kind = COUNTER;
                raw.stage = counter.number();
                raw.number = value;
            }
            ReportKind::Code(code) => {
                raw.kind = CODE;
                if let Some(place) = raw.destination.first_chunk_mut() {
                    *place = code.0;
                }
            }
        }
        raw.to_bytes()
    }

    /// The report that `bytes` are.
    ///
    /// # Errors
    /// If [`Report::encode`] would not have written exactly these bytes for a report that a
    /// listener can make: wrong length, unknown kind, a stage that no sequence has, a field that
    /// the kind does not use and that is not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAReport> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| NotAReport)?;
        let report = Raw::from_bytes(bytes).report().ok_or(NotAReport)?;
        if report.encode() == *bytes {
            Ok(report)
        } else {
            Err(NotAReport)
        }
    }
}

impl Raw {
    const fn set_step(&mut self, step: Step) {
        self.port = step.port;
        self.protocol = match step.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
    }

    fn step(&self) -> Option<Step> {
        match self.protocol {
            6 => Some(Step::tcp(self.port)),
            17 => Some(Step::udp(self.port)),
            _ => None,
        }
    }

    fn stage(&self) -> Option<u8> {
        (1..=Sequence::MAX)
            .contains(&usize::from(self.stage))
            .then_some(self.stage)
    }

    fn small_number(&self) -> Option<u32> {
        u32::try_from(self.number).ok()
    }

    fn report(&self) -> Option<Report> {
        let source = address(self.family, self.source)?;
        let kind = match self.kind {
            STAGE => ReportKind::Stage(self.stage()?),
            OPENING => ReportKind::Opening,
            TIMEOUT => ReportKind::Timeout {
                stage: self.stage()?,
            },
            BROKEN => ReportKind::Broken {
                stage: self.stage()?,
                by: self.step()?,
            },
            LEFT_OUT => ReportKind::LeftOut {
                lines: self.small_number()?,
            },
            DUMP => ReportKind::Dump {
                packet: self.packet(source)?,
                bytes: self.small_number()?,
            },
            LAYER => ReportKind::Layer(
                Layer::of_number(self.stage)?,
                State::of_numbers(self.state, self.number)?,
            ),
            READY => ReportKind::Ready,
            DROPPED => ReportKind::Dropped {
                packets: self.small_number()?,
            },
            COUNTER => ReportKind::Counter(Counter::of_number(self.stage)?, self.number),
            CODE => ReportKind::Code(CodeBytes(*self.destination.first_chunk()?)),
            _ => return None,
        };
        Some(Report {
            doors: Checksum(self.doors),
            door: DoorId(self.door),
            source,
            at: Timestamp::from_nanos(self.at),
            kind,
        })
    }

    fn packet(&self, source: IpAddr) -> Option<Packet> {
        let step = self.step()?;
        Some(Packet {
            source,
            destination: address(self.family, self.destination)?,
            protocol: step.protocol,
            source_port: self.source_port,
            destination_port: step.port,
            flags: TcpFlags::from_bits(self.flags),
        })
    }

    fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut rest = bytes.as_mut_slice();
        for field in [
            [self.kind, self.family].as_slice(),
            &self.door.to_le_bytes(),
            &[self.stage, self.protocol, self.flags, self.state],
            &self.doors.to_le_bytes(),
            &self.at.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.source,
            &self.destination,
            &self.port.to_le_bytes(),
            &self.source_port.to_le_bytes(),
            &self.reserved,
        ] {
            let space = std::mem::take(&mut rest);
            if let Some((place, after)) = space.split_at_mut_checked(field.len()) {
                place.copy_from_slice(field);
                rest = after;
            }
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            kind: u8::from_le_bytes(take(&mut rest)),
            family: u8::from_le_bytes(take(&mut rest)),
            door: u16::from_le_bytes(take(&mut rest)),
            stage: u8::from_le_bytes(take(&mut rest)),
            protocol: u8::from_le_bytes(take(&mut rest)),
            flags: u8::from_le_bytes(take(&mut rest)),
            state: u8::from_le_bytes(take(&mut rest)),
            doors: u64::from_le_bytes(take(&mut rest)),
            at: u64::from_le_bytes(take(&mut rest)),
            number: u64::from_le_bytes(take(&mut rest)),
            source: take(&mut rest),
            destination: take(&mut rest),
            port: u16::from_le_bytes(take(&mut rest)),
            source_port: u16::from_le_bytes(take(&mut rest)),
            reserved: take(&mut rest),
        }
    }
}

/// Takes `N` bytes from the front; the fields of [`Raw`] add up to [`LENGTH`], so they are there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((first, after)) => {
            *rest = after;
            *first
        }
        None => [0; N],
    }
}

fn address_bytes(address: IpAddr) -> (u8, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            if let Some(first) = bytes.first_chunk_mut() {
                *first = v4.octets();
            }
            (4, bytes)
        }
        IpAddr::V6(v6) => (6, v6.octets()),
    }
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        4 => bytes
            .first_chunk::<4>()
            .map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
