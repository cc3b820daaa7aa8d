//! Whatever packets come whenever, and however the doors change: a door opens only to a source
//! that has knocked its steps in their order and within its time, and nothing grows beyond its
//! bound.
#![no_main]

use std::collections::HashMap;
use std::net::IpAddr;

use knock_core::door::{Door, DoorId};
use knock_core::engine::{Engine, Event, EventKind, Limits};
use knock_core::packet::Packet;
use knock_core::sequence::{Protocol, Sequence};
use knock_core::time::Timestamp;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _bytes_used_up = live(Unstructured::new(data)).is_err();
});

fn live(mut u: Unstructured<'_>) -> Result<()> {
    let u = &mut u;
    let mut world = World::new(fuzz::doors(u, 6)?, u.int_in_range(1..=24)?);
    while !u.is_empty() {
        // Mostly some milliseconds pass, now and then minutes.
        let millis = u64::from(u.arbitrary::<u8>()?);
        let scale = if u.ratio(1, 16)? { 1000 } else { 1 };
        world.now += millis * scale;
        match u.int_in_range(0..=15)? {
            0 => world.time_passes(),
            1 => {
                let door = DoorId(u.int_in_range(0..=6)?);
                let sequence = if u.ratio(3, 4)? {
                    Some(fuzz::sequence(u)?)
                } else {
                    None
                };
                world.set_sequence(door, sequence);
            }
            2 if u.ratio(1, 4)? => world.set_doors(fuzz::doors(u, 6)?),
            _ => world.packet(&fuzz::packet(u)?, u.ratio(7, 8)?),
        }
    }
    Ok(())
}

/// An attempt, as its events tell of it.
#[derive(Clone, Copy)]
struct Attempt {
    stage: u8,
    began: Timestamp,
}

struct World {
    engine: Engine,
    most: usize,
    /// Milliseconds.
    now: u64,
    doors: Vec<Door>,
    /// What each door's steps are now.
    sequences: Vec<Option<Sequence>>,
    attempts: HashMap<(DoorId, IpAddr), Attempt>,
}

impl World {
    fn new(doors: Vec<Door>, most: u32) -> Self {
        let limits = Limits { max_attempts: most };
        Self {
            engine: Engine::new(&doors, limits, [1, 2]),
            most: most as usize,
            now: 0,
            sequences: doors.iter().map(fixed).collect(),
            doors,
            attempts: HashMap::new(),
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn packet(&mut self, packet: &Packet, local: bool) {
        self.engine.handle_packet(packet, local, self.at());
        self.take_events(Some((packet, local)));
    }

    /// All that is due is ended, in a bounded number of calls.
    fn time_passes(&mut self) {
        let mut calls = 0;
        while self
            .engine
            .poll_timeout()
            .is_some_and(|due| due <= self.at())
        {
            self.engine.handle_timeout(self.at());
            self.take_events(None);
            calls += 1;
            assert!(calls <= 4 * self.most + 4, "time-outs without end");
        }
    }

    fn set_sequence(&mut self, door: DoorId, sequence: Option<Sequence>) {
        self.engine.set_sequence(door, sequence.clone());
        let at = usize::from(door.0);
        if self.doors.get(at).is_some_and(|door| fixed(door).is_none()) {
            self.sequences[at] = sequence;
            self.attempts.retain(|(of, _), _| *of != door);
        }
        self.take_events(None);
    }

    /// Doors whose name and trigger are as before, in the order of doors alike, go on as they
    /// were; all else begins anew.
    fn set_doors(&mut self, doors: Vec<Door>) {
        self.engine.set_doors(&doors);
        let mut sequences: Vec<_> = doors.iter().map(fixed).collect();
        let mut moved = HashMap::new();
        for (old, door) in self.doors.iter().enumerate() {
            let alike = |new: &usize| {
                let new_door = &doors[*new];
                new_door.name == door.name && new_door.trigger == door.trigger
            };
            let taken: Vec<usize> = moved.values().copied().collect();
            let free = |new: &usize| !taken.contains(new);
            if let Some(new) = (0..doors.len()).filter(free).find(alike) {
                moved.insert(old, new);
                sequences[new].clone_from(&self.sequences[old]);
            }
        }
        self.attempts = (self.attempts.iter())
            .filter_map(|((door, source), attempt)| {
                let new = moved.get(&usize::from(door.0))?;
                Some(((DoorId(u16::try_from(*new).ok()?), *source), *attempt))
            })
            .collect();
        self.doors = doors;
        self.sequences = sequences;
        self.take_events(None);
    }

    fn take_events(&mut self, by: Option<(&Packet, bool)>) {
        while let Some(event) = self.engine.poll_event() {
            self.check(&event, by);
        }
        assert!(self.engine.attempts() <= self.most);
        assert_eq!(
            self.engine.poll_timeout().is_none(),
            self.engine.attempts() == 0
        );
    }

    /// Holds an event to what had happened before.
    fn check(&mut self, event: &Event, by: Option<(&Packet, bool)>) {
        assert!(event.at <= self.at(), "{event:?} of the future");
        let key = (event.door, event.source);
        let door = &self.doors[usize::from(event.door.0)];
        let known = self.attempts.get(&key).copied();
        match event.kind {
            EventKind::Stage(stage) => {
                let (packet, local) = by.expect("a stage comes of a packet");
                let sequence = self.sequences[usize::from(event.door.0)].as_ref();
                let steps = sequence.expect("a shut door has no stage").steps();
                assert_eq!(packet.source, event.source);
                assert_eq!(packet.step(), steps[usize::from(stage) - 1]);
                assert!(
                    packet.protocol == Protocol::Udp || door.trigger.flags.matches(packet.flags)
                );
                assert!(door.trigger.listens_at(packet.destination, local));
                let began = if stage == 1 {
                    event.at
                } else {
                    let known = known.expect("a later stage has an earlier one");
                    assert_eq!(known.stage + 1, stage);
                    let took = event.at.saturating_since(known.began);
                    assert!(took <= door.trigger.seq_timeout, "{took:?}");
                    known.began
                };
                self.attempts.insert(key, Attempt { stage, began });
            }
            EventKind::Opening => {
                let known = self
                    .attempts
                    .remove(&key)
                    .expect("an opening has a last stage");
                let one_time = fixed(door).is_none();
                let sequence = &mut self.sequences[usize::from(event.door.0)];
                let steps = sequence
                    .as_ref()
                    .map_or(0, |sequence| sequence.steps().len());
                assert_eq!(usize::from(known.stage), steps);
                if one_time {
                    *sequence = None;
                    self.attempts.retain(|(of, _), _| *of != event.door);
                }
            }
            EventKind::Broken { stage, by: step } => {
                let (packet, _) = by.expect("a packet breaks");
                assert_eq!((packet.source, packet.step()), (event.source, step));
                let known = self
                    .attempts
                    .remove(&key)
                    .expect("what is broken was there");
                assert_eq!(known.stage, stage);
            }
            EventKind::Timeout { stage } => {
                let known = self.attempts.remove(&key).expect("what is over was there");
                assert_eq!(known.stage, stage);
                assert!(event.at.saturating_since(known.began) >= door.trigger.seq_timeout);
            }
        }
    }
}

fn fixed(door: &Door) -> Option<Sequence> {
    door.trigger.source.fixed().cloned()
}
