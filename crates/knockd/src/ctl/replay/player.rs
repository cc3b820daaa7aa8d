//! Plays a capture to the engine, and finds out why what did not count did not.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use knock_core::config::Config;
use knock_core::door::{Door, DoorId};
use knock_core::engine::{Engine, EventKind, Limits};
use knock_core::flags::TcpFlags;
use knock_core::packet::{NotAKnock, Packet};
use knock_core::sequence::{Sequence, Step};
use knock_core::target::Target;
use knock_core::time::Timestamp;

use super::clues::Clues;
use super::one_time::Sequences;
use crate::pcap::Record;

/// Something that a replay found out.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) source: IpAddr,
    pub(super) door: DoorId,
    pub(super) what: What,
}

/// What was found out. Stages count from 1; `of` is how many steps the door has.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// A step was knocked.
    Stage { stage: u8, of: usize, step: Step },
    /// The door opened.
    Opening,
    /// The sequence's time was over.
    Timeout { stage: u8, of: usize },
    /// A wrong knock.
    Broken {
        stage: u8,
        of: usize,
        by: Step,
        next: Option<Step>,
    },
    /// The right step with flags that the door does not want.
    WrongFlags { step: Step, flags: TcpFlags },
    /// The right step at an address where the door does not listen.
    NotOurs { step: Step, destination: IpAddr },
    /// The first step again while the door is cooling down.
    CoolingDown { step: Step },
    /// The file ended within an attempt.
    Unfinished {
        stage: u8,
        of: usize,
        next: Option<Step>,
    },
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    /// TCP and UDP packets.
    pub(super) counted: u64,
    /// Later fragments, other protocols.
    pub(super) other: u64,
    /// Cut short, contradictory, or of a link type that we do not know.
    pub(super) unreadable: u64,
    /// The first such link type.
    pub(super) unknown_link: Option<u16>,
    /// Time of the first and of the last packet.
    pub(super) span: Option<(u64, u64)>,
    /// Openings of each door.
    pub(super) openings: Vec<u64>,
    /// Attempts that were given up because the table was full.
    pub(super) evictions: u64,
}

/// The engine, and what it takes to explain it.
#[derive(Debug)]
pub(super) struct Player {
    doors: Vec<Door>,
    local: Vec<Target>,
    engine: Engine,
    sequences: Sequences,
    clues: Clues,
    findings: VecDeque<Finding>,
    tally: Tally,
}

impl Player {
    /// Doors of `config`, on a host with the addresses `local` (none: every destination is ours).
    pub(super) fn new(config: &Config, local: Vec<Target>) -> Self {
        let doors = config.doors.clone();
        let limits = Limits {
            max_attempts: config.options.max_attempts,
        };
        let mut engine = Engine::new(&doors, limits, [random(), random()]);
        let sequences = Sequences::read(&doors);
        for (door, sequence) in sequences.one_time() {
            engine.set_sequence(door, sequence.cloned());
        }
        let clues = Clues::new(&sequences);
        let tally = Tally {
            openings: vec![0; doors.len()],
            ..Tally::default()
        };
        Self {
            doors,
            local,
            engine,
            sequences,
            clues,
            findings: VecDeque::new(),
            tally,
        }
    }

    /// What should be known beforehand: one-time files that could not be read.
    pub(super) fn notes(&self) -> &[String] {
        self.sequences.notes()
    }

    /// Takes the next packet of the file.
    pub(super) fn play(&mut self, record: &Record<'_>) {
        self.tally.packets += 1;
        let first = self.tally.span.map_or(record.time, |(first, _)| first);
        self.tally.span = Some((first, record.time));
        self.pass_time(Timestamp::from_nanos(record.time));
        let Some(link) = record.link_type() else {
            self.tally.unreadable += 1;
            self.tally.unknown_link.get_or_insert(record.link);
            return;
        };
        match Packet::from_link(link, record.bytes) {
            Ok(packet) => {
                self.tally.counted += 1;
                self.packet(&packet, record.time);
            }
            Err(NotAKnock::Fragment | NotAKnock::OtherProtocol) => self.tally.other += 1,
            Err(_) => self.tally.unreadable += 1,
        }
    }

    /// The file is over.
    pub(super) fn finish(&mut self) {
        self.tally.evictions = self.engine.counters().evictions;
        let time = self.tally.span.map_or(0, |(_, last)| last);
        for (source, door, stage) in self.clues.unfinished() {
            let (of, next) = self.ahead(door, stage);
            let what = What::Unfinished { stage, of, next };
            self.findings.push_back(Finding {
                time,
                source,
                door,
                what,
            });
        }
    }

    /// The next finding, oldest first.
    pub(super) fn poll_finding(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends the attempts whose time was over before `now`.
    fn pass_time(&mut self, now: Timestamp) {
        while self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
            self.take_events();
        }
    }

    fn packet(&mut self, packet: &Packet, time: u64) {
        let ours = self.local.is_empty();
        let local = ours || self.local.iter().any(|t| t.contains(packet.destination));
        let doors = &self.doors;
        let clue = |door: DoorId| {
            let trigger = &doors.get(usize::from(door.0))?.trigger;
            let step = packet.step();
            if packet.protocol == knock_core::sequence::Protocol::Tcp
                && !trigger.flags.matches(packet.flags)
            {
                let flags = packet.flags;
                return Some(What::WrongFlags { step, flags });
            }
            let destination = packet.destination;
            (!trigger.listens_at(destination, local)).then_some(What::NotOurs { step, destination })
        };
        self.clues.look(packet, time, clue, &mut self.findings);
        self.engine
            .handle_packet(packet, local, Timestamp::from_nanos(time));
        self.take_events();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let (source, door) = (event.source, event.door);
            let what = match event.kind {
                EventKind::Stage(stage) => {
                    let (of, _) = self.ahead(door, stage);
                    let step = self.ahead(door, stage.saturating_sub(1)).1;
                    let Some(step) = step else { continue };
                    What::Stage { stage, of, step }
                }
                EventKind::Opening => What::Opening,
                EventKind::Timeout { stage } => What::Timeout {
                    stage,
                    of: self.ahead(door, stage).0,
                },
                EventKind::Broken { stage, by } => {
                    let (of, next) = self.ahead(door, stage);
                    What::Broken {
                        stage,
                        of,
                        by,
                        next,
                    }
                }
            };
            let time = event.at.as_nanos();
            self.findings.push_back(Finding {
                time,
                source,
                door,
                what,
            });
            self.clues.follow(source, door, event.kind);
            if event.kind == EventKind::Opening {
                self.opened(source, door, event.at);
            }
        }
    }

    fn opened(&mut self, source: IpAddr, id: DoorId, at: Timestamp) {
        let index = usize::from(id.0);
        if let Some(count) = self.tally.openings.get_mut(index) {
            *count += 1;
        }
        let cooldown = self.doors.get(index).map(|door| door.trigger.cooldown);
        if let Some(cooldown) = cooldown.filter(|cooldown| !cooldown.is_zero()) {
            self.clues.cool(source, id, at.saturating_add(cooldown));
        }
        if self.sequences.spend(id) {
            let next = self.sequences.current(id).cloned();
            self.clues.set_sequence(id, next.as_ref());
            self.engine.set_sequence(id, next);
        }
    }

    /// How many steps a door has, and the one after `stage` of them.
    fn ahead(&self, door: DoorId, stage: u8) -> (usize, Option<Step>) {
        let steps = self
            .sequences
            .current(door)
            .map_or(&[][..], Sequence::steps);
        (steps.len(), steps.get(usize::from(stage)).copied())
    }
}

/// The standard library's source of keys for hash tables.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
