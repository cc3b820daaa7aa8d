//! Follows the attempts from outside the engine, to tell why a packet that looks like the next
//! knock was none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;

use knock_core::door::DoorId;
use knock_core::engine::EventKind;
use knock_core::packet::Packet;
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;

use super::one_time::Sequences;
use super::player::{Finding, What};

/// The most sources and doors that are followed at once, and the most clues that are remembered
/// as given; beyond it clues are left out, but no opening is missed.
const MOST: usize = 1 << 20;

type Key = (IpAddr, DoorId);

#[derive(Debug)]
pub(super) struct Clues {
    /// At which doors a step occurs.
    doors: HashMap<Step, Vec<DoorId>>,
    sequences: HashMap<DoorId, Sequence>,
    stages: HashMap<Key, u8>,
    cooling: HashMap<Key, Timestamp>,
    /// Each kind of clue is given once for a source and door.
    given: HashSet<(Key, Discriminant<What>)>,
}

impl Clues {
    pub(super) fn new(sequences: &Sequences) -> Self {
        let mut clues = Self {
            doors: HashMap::new(),
            sequences: HashMap::new(),
            stages: HashMap::new(),
            cooling: HashMap::new(),
            given: HashSet::new(),
        };
        for (door, sequence) in sequences.all() {
            clues.set_sequence(door, sequence);
        }
        clues
    }

    /// A one-time door has gone on; all attempts at it are over.
    pub(super) fn set_sequence(&mut self, door: DoorId, sequence: Option<&Sequence>) {
        if let Some(old) = self.sequences.remove(&door) {
            for step in old.steps() {
                if let Some(doors) = self.doors.get_mut(step) {
                    doors.retain(|other| *other != door);
                }
            }
            self.stages.retain(|(_, other), _| *other != door);
        }
        let Some(sequence) = sequence else { return };
        for step in sequence.steps() {
            let doors = self.doors.entry(*step).or_default();
            if doors.last() != Some(&door) && !doors.contains(&door) {
                doors.push(door);
            }
        }
        self.sequences.insert(door, sequence.clone());
    }

    /// Takes what the engine has said.
    pub(super) fn follow(&mut self, source: IpAddr, door: DoorId, event: EventKind) {
        match event {
            EventKind::Stage(stage) if self.stages.len() < MOST => {
                self.stages.insert((source, door), stage);
            }
            EventKind::Stage(_) => {}
            EventKind::Opening | EventKind::Timeout { .. } | EventKind::Broken { .. } => {
                self.stages.remove(&(source, door));
            }
        }
    }

    /// The door is deaf for the source until `until`.
    pub(super) fn cool(&mut self, source: IpAddr, door: DoorId, until: Timestamp) {
        if self.cooling.len() < MOST {
            self.cooling.insert((source, door), until);
        }
    }

    /// Looks at a packet before the engine does. `clue` says what about it a door refuses.
    pub(super) fn look(
        &mut self,
        packet: &Packet,
        time: u64,
        clue: impl Fn(DoorId) -> Option<What>,
        findings: &mut VecDeque<Finding>,
    ) {
        let step = packet.step();
        let source = packet.source;
        for door in self.doors.get(&step).into_iter().flatten().copied() {
            let key = (source, door);
            let stage = self.stages.get(&key).copied().unwrap_or(0);
            let steps = self.sequences.get(&door).map_or(&[][..], Sequence::steps);
            if steps.get(usize::from(stage)) != Some(&step) {
                continue;
            }
            let now = Timestamp::from_nanos(time);
            let cooling = || {
                let until = self.cooling.get(&key)?;
                (now < *until).then_some(What::CoolingDown { step })
            };
            let Some(what) = clue(door).or_else(cooling) else {
                continue;
            };
            if self.given.len() < MOST && self.given.insert((key, discriminant(&what))) {
                findings.push_back(Finding {
                    time,
                    source,
                    door,
                    what,
                });
            }
        }
    }

    /// The attempts that have not come to an end, by address.
    pub(super) fn unfinished(&self) -> Vec<(IpAddr, DoorId, u8)> {
        let attempts = self.stages.iter();
        let mut attempts: Vec<_> = attempts.map(|((ip, door), n)| (*ip, *door, *n)).collect();
        attempts.sort_unstable();
        attempts
    }
}
