//! What the listener tells the keeper: messages of one size, one for each thing that happened.
//!
//! A message carries numbers, never commands: the keeper looks doors up in its own copy. Its
//! encoding is canonical, and [`Report::decode`] takes nothing else: there is exactly one byte
//! string for each report, and every other one is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knock_core::door::DoorId;
use knock_core::engine::{Event, EventKind};
use knock_core::flags::TcpFlags;
use knock_core::packet::Packet;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::time::Timestamp;

use super::Checksum;
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
}

/// Something that the listener counts.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Counter {
    /// Packets that the engine handled.
    Packets,
    /// Packets that advanced or started an attempt.
    Knocks,
    /// Attempts ended by a wrong knock.
    Broken,
    /// Attempts ended by time.
    Timeouts,
    /// Openings.
    Openings,
    /// Attempts given up because the table was full.
    Evictions,
    /// Attempts alive now.
    Attempts,
    /// Packets that passed the kernel's filter.
    Seen,
    /// Of these, packets that are no TCP or UDP packet which a door could count.
    NotKnocks,
    /// Packets that the kernel dropped because the ring was full.
    Dropped,
    /// Reports left out by a limit, or because the keeper was busy.
    LeftOut,
    /// Openings left out by a limit, or because the keeper was busy.
    OpeningsLost,
    /// Datagrams at a port of sealed packets without a good tag: of anybody.
    SealedJunk,
    /// Datagrams with a good tag that were left out by a limit.
    SealedLimited,
    /// Datagrams with a good tag that could not be opened.
    SealedBroken,
    /// Datagrams that were opened and handed to the keeper.
    SealedOpened,
}

impl Counter {
    /// All, in their order.
    pub const ALL: [Self; 16] = [
        Self::Packets,
        Self::Knocks,
        Self::Broken,
        Self::Timeouts,
        Self::Openings,
        Self::Evictions,
        Self::Attempts,
        Self::Seen,
        Self::NotKnocks,
        Self::Dropped,
        Self::LeftOut,
        Self::OpeningsLost,
        Self::SealedJunk,
        Self::SealedLimited,
        Self::SealedBroken,
        Self::SealedOpened,
    ];

    fn number(self) -> u8 {
        let number = Self::ALL.iter().position(|counter| *counter == self);
        number.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        (any::<bool>(), any::<u16>()).prop_map(|(udp, port)| {
            if udp {
                Step::udp(port)
            } else {
                Step::tcp(port)
            }
        })
    }

    fn kind(v6: bool, source: IpAddr) -> impl Strategy<Value = ReportKind> {
        let stage = || 1..=32u8;
        let dump = (step(), any::<[u8; 16]>(), any::<(u16, u8, u32)>()).prop_map(
            move |(step, to, (source_port, flags, bytes))| ReportKind::Dump {
                packet: Packet {
                    source,
                    destination: address(if v6 { 6 } else { 4 }, to).unwrap(),
                    protocol: step.protocol,
                    source_port,
                    destination_port: step.port,
                    flags: TcpFlags::from_bits(flags),
                },
                bytes,
            },
        );
        prop_oneof![
            stage().prop_map(ReportKind::Stage),
            Just(ReportKind::Opening),
            stage().prop_map(|stage| ReportKind::Timeout { stage }),
            (stage(), step()).prop_map(|(stage, by)| ReportKind::Broken { stage, by }),
            any::<u32>().prop_map(|lines| ReportKind::LeftOut { lines }),
            dump,
            (0..Layer::ALL.len(), state()).prop_map(|(n, s)| ReportKind::Layer(Layer::ALL[n], s)),
            Just(ReportKind::Ready),
            any::<u32>().prop_map(|packets| ReportKind::Dropped { packets }),
            (0..Counter::ALL.len(), any::<u64>())
                .prop_map(|(n, value)| ReportKind::Counter(Counter::ALL[n], value)),
        ]
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::On),
            any::<u32>().prop_map(State::Partly),
            any::<i32>().prop_map(State::Missing),
        ]
    }

    fn report() -> impl Strategy<Value = Report> {
        (any::<bool>(), any::<[u8; 16]>(), any::<(u64, u16, u64)>()).prop_flat_map(
            |(v6, from, (doors, door, at))| {
                let source = address(if v6 { 6 } else { 4 }, from).unwrap();
                kind(v6, source).prop_map(move |kind| Report {
                    doors: Checksum(doors),
                    door: DoorId(door),
                    source,
                    at: Timestamp::from_nanos(at),
                    kind,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn every_report_survives_the_way(report in report()) {
            prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
        }

        #[test]
        fn what_is_taken_is_what_would_have_been_written(
            report in report(), at in 0..LENGTH, to in any::<u8>(),
        ) {
            let mut bytes = report.encode();
            bytes[at] = to;
            if let Ok(other) = Report::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }
    }

    fn opening() -> Report {
        Report {
            doors: Checksum(7),
            door: DoorId(3),
            source: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
            at: Timestamp::from_millis(5),
            kind: ReportKind::Opening,
        }
    }

    #[test]
    fn another_length_is_refused() {
        let bytes = opening().encode();
        assert_eq!(Report::decode(&bytes[..LENGTH - 1]), Err(NotAReport));
        assert_eq!(
            Report::decode(&[bytes.as_slice(), &[0]].concat()),
            Err(NotAReport)
        );
        assert_eq!(Report::decode(&[]), Err(NotAReport));
    }

    #[test]
    fn an_unused_field_that_is_not_zero_is_refused() {
        for at in (4..8).chain(24..32).chain(36..LENGTH) {
            let mut bytes = opening().encode();
            bytes[at] = 1;
            assert_eq!(Report::decode(&bytes), Err(NotAReport), "byte {at}");
        }
    }

    #[test]
    fn a_stage_that_no_sequence_has_is_refused() {
        for stage in [0, 33, 255] {
            let kind = ReportKind::Stage(stage);
            let bytes = Report { kind, ..opening() }.encode();
            assert_eq!(Report::decode(&bytes), Err(NotAReport), "stage {stage}");
        }
    }
}
