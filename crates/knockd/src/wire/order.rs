//! What the keeper tells the listener: what to hear, and where.
//!
//! An order carries no command, no file's content and nothing else that the listener does not need
//! to know. On the stream each one follows its length.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use knock_core::door::{Action, Door, DoorId, SequenceSource, Trigger};
use knock_core::engine::Progress;
use knock_core::flags::{FlagMatch, TcpFlags};
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::target::Target;
use knock_core::time::Timestamp;
use knock_spa::code::{CodeSalt, Sieve};
use siphasher::sip::SipHasher13;

use super::Site;
use super::bytes::{Malformed, Reader, Writer};

/// An order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// How to listen; the first order.
    Settings(Settings),
    /// From now on these doors, in place of those before.
    Doors(Doors),
    /// A one-time door has this current sequence, or is shut.
    Sequence(DoorId, Option<Sequence>),
    /// These are the interfaces that count now, and their addresses.
    Reach(Reach),
    /// A listener before this one has begun this.
    Attempt(DoorId, IpAddr, Progress),
    /// What opens sealed packets; `None` if nothing does.
    Site(Option<Site>),
    /// What may be a code on paper; `None` if there is none.
    Codes(Option<Sieve>),
    /// Begin: all that was to be told first has been.
    Begin,
    /// Tell what was counted.
    Counters,
}

/// How to listen.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// IPv6 is not looked at (`-4`).
    pub only_ipv4: bool,
    /// Every packet that passes the kernel's filter is reported (`-D`).
    pub dump: bool,
    /// The key of the attempt table's hash: a secret random number.
    pub seed: [u64; 2],
}

/// A set of doors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doors {
    /// Which set this is; reports carry it.
    pub checksum: Checksum,
    /// The doors, without what they do; a door's id is its index.
    pub doors: Arc<[Door]>,
    /// The current sequences of the one-time doors; one that is not here is shut.
    pub sequences: Vec<(DoorId, Option<Sequence>)>,
    /// Attempts alive at once.
    pub max_attempts: u32,
    /// The UDP ports at which sealed packets arrive: none if no door has SPA.
    pub spa_ports: Vec<u16>,
}

/// Which interfaces count, and which addresses are their own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reach {
    /// Indices, sorted; `None` for every interface. The kernel's filter has been told too, but
    /// what is in the ring already came by the filter before.
    pub interfaces: Option<Vec<u32>>,
    /// Interfaces and their addresses, sorted.
    pub locals: Vec<(u32, IpAddr)>,
}

/// What tells one set of doors from another: a hash of all that the listener is told of them.
///
/// Both sides reckon it from what they hold themselves, so they cannot speak of different doors
/// without noticing. It is no secret, and guards against confusion, not against a listener that
/// lies.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Checksum(pub u64);

/// The bytes are no order.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NotAnOrder;

const SETTINGS: u8 = 1;
const DOORS: u8 = 2;
const SEQUENCE: u8 = 3;
const REACH: u8 = 4;
const ATTEMPT: u8 = 5;
const BEGIN: u8 = 6;
const COUNTERS: u8 = 7;
const SITE: u8 = 8;
const CODES: u8 = 9;

impl Checksum {
    /// Of these doors.
    #[must_use]
    pub fn of(doors: &[Door]) -> Self {
        let mut writer = Writer::default();
        writer.list(doors, write_door);
        Self::of_bytes(&writer.0)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }
}

impl Order {
    /// The order as bytes, with their number before them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u32(0);
        self.write(&mut writer);
        let Writer(mut bytes) = writer;
        let length = u32::try_from(bytes.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(place) = bytes.first_chunk_mut() {
            *place = length.to_le_bytes();
        }
        bytes
    }

    /// The first order in `bytes`, and how many bytes it takes; `None` if they end before it does.
    ///
    /// # Errors
    /// If [`Order::encode`] would not have written them.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, NotAnOrder> {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| NotAnOrder)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let mut reader = Reader(body);
        let order = read(&mut reader).and_then(|order| reader.end().map(|()| order));
        let order = order.map_err(|Malformed| NotAnOrder)?;
        Ok(Some((order, 4 + length)))
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::Settings(settings) => {
                to.u8(SETTINGS);
                to.switch(settings.only_ipv4);
                to.switch(settings.dump);
                settings.seed.iter().for_each(|half| to.u64(*half));
            }
            Self::Doors(doors) => {
                to.u8(DOORS);
                to.u32(doors.max_attempts);
                to.list(&doors.spa_ports, |to, port| to.u16(*port));
                to.list(&doors.sequences, |to, (door, sequence)| {
                    to.u16(door.0);
                    to.option(sequence.as_ref(), write_sequence);
                });
                to.list(&doors.doors, write_door);
            }
            Self::Sequence(door, sequence) => {
                to.u8(SEQUENCE);
                to.u16(door.0);
                to.option(sequence.as_ref(), write_sequence);
            }
            Self::Reach(reach) => {
                to.u8(REACH);
                to.option(reach.interfaces.as_ref(), |to, all| {
                    to.list(all, |to, index| to.u32(*index));
                });
                to.list(&reach.locals, |to, (index, address)| {
                    to.u32(*index);
                    to.address(*address);
                });
            }
            Self::Attempt(door, source, progress) => {
                to.u8(ATTEMPT);
                to.u16(door.0);
                to.address(*source);
                to.u8(progress.stage);
                to.u64(progress.until.as_nanos());
            }
            Self::Site(site) => {
                to.u8(SITE);
                to.option(site.as_ref(), |to, site| site.write(to));
            }
            Self::Codes(sieve) => {
                to.u8(CODES);
                to.option(sieve.as_ref(), |to, sieve| {
                    to.0.extend(sieve.salt.0);
                    to.list(&sieve.marks, |to, mark| to.u64(*mark));
                });
            }
            Self::Begin => to.u8(BEGIN),
            Self::Counters => to.u8(COUNTERS),
        }
    }
}

fn read(from: &mut Reader<'_>) -> Result<Order, Malformed> {
    Ok(match from.u8()? {
        SETTINGS => Order::Settings(Settings {
            only_ipv4: from.switch()?,
            dump: from.switch()?,
            seed: [from.u64()?, from.u64()?],
        }),
        DOORS => Order::Doors(read_doors(from)?),
        SEQUENCE => Order::Sequence(DoorId(from.u16()?), from.option(read_sequence)?),
        REACH => Order::Reach(Reach {
            interfaces: from.option(|from| from.list(Reader::u32))?,
            locals: from.list(|from| Ok((from.u32()?, from.address()?)))?,
        }),
        ATTEMPT => Order::Attempt(
            DoorId(from.u16()?),
            from.address()?,
            Progress {
                stage: from.u8()?,
                until: Timestamp::from_nanos(from.u64()?),
            },
        ),
        SITE => Order::Site(from.option(Site::read)?),
        CODES => Order::Codes(from.option(|from| {
            let salt = CodeSalt(from.take()?);
            let marks = from.list(Reader::u64)?;
            Ok(Sieve { salt, marks })
        })?),
        BEGIN => Order::Begin,
        COUNTERS => Order::Counters,
        _ => return Err(Malformed),
    })
}

fn read_doors(from: &mut Reader<'_>) -> Result<Doors, Malformed> {
    let max_attempts = from.u32()?;
    let spa_ports = from.list(Reader::u16)?;
    let sequences = from.list(|from| Ok((DoorId(from.u16()?), from.option(read_sequence)?)))?;
    let checksum = Checksum::of_bytes(from.0);
    let doors = from.list(read_door)?;
    Ok(Doors {
        checksum,
        doors: doors.into(),
        sequences,
        max_attempts,
        spa_ports,
    })
}

fn write_door(to: &mut Writer, door: &Door) {
    let Trigger {
        source,
        seq_timeout,
        flags,
        targets,
        strict,
        cooldown,
    } = &door.trigger;
    to.text(&door.name);
    match source {
        SequenceSource::Fixed(sequence) => {
            to.u8(0);
            write_sequence(to, sequence);
        }
        SequenceSource::OneTime(file) => {
            to.u8(1);
            to.text(file);
        }
        SequenceSource::None => to.u8(2),
    }
    to.duration(*seq_timeout);
    to.u8(flags.must_be_set().bits());
    to.u8(flags.must_be_clear().bits());
    to.list(targets, |to, target| {
        to.address(target.address());
        to.u8(target.prefix());
    });
    to.switch(*strict);
    to.duration(*cooldown);
}

fn read_door(from: &mut Reader<'_>) -> Result<Door, Malformed> {
    let name = from.text()?;
    let source = match from.u8()? {
        0 => SequenceSource::Fixed(read_sequence(from)?),
        1 => SequenceSource::OneTime(from.text()?),
        2 => SequenceSource::None,
        _ => return Err(Malformed),
    };
    let seq_timeout = from.duration()?;
    let set = TcpFlags::from_bits(from.u8()?);
    let clear = TcpFlags::from_bits(from.u8()?);
    let target = |from: &mut Reader<'_>| {
        let address = from.address()?;
        Target::network(address, from.u8()?).ok_or(Malformed)
    };
    Ok(Door {
        name,
        trigger: Trigger {
            source,
            seq_timeout,
            flags: FlagMatch::ANY.and_set(set).and_clear(clear),
            targets: from.list(target)?,
            strict: from.switch()?,
            cooldown: from.duration()?,
        },
        spa: None,
        action: Action::default(),
    })
}

fn write_sequence(to: &mut Writer, sequence: &Sequence) {
    to.list(sequence.steps(), |to, step| {
        to.switch(step.protocol == Protocol::Udp);
        to.u16(step.port);
    });
}

fn read_sequence(from: &mut Reader<'_>) -> Result<Sequence, Malformed> {
    let step = |from: &mut Reader<'_>| {
        let udp = from.switch()?;
        let port = from.u16()?;
        Ok(if udp {
            Step::udp(port)
        } else {
            Step::tcp(port)
        })
    };
    Sequence::new(from.list(step)?).map_err(|_| Malformed)
}
