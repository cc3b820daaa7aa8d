//! How the daemon is, as data: from what it knows, and from the kernel for what the gate is.

use std::collections::BTreeMap;
use std::time::Duration;

use knock_core::door::{Door, SequenceSource};
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use rustix::process::geteuid;
use rustix::thread::capabilities;

use crate::clock;
use crate::control::{
    self, Attempt, Counters, Gate, GateState, GrantState, Granted, Guarded, Interface, LayerState,
    Listener, LogLevel, OneTime, Shown, Standing, Status,
};
use crate::daemon::gatekeeper::{Gatekeeper, to};
use crate::daemon::serve::Daemon;
use crate::events::{Grant, Kind, Memory};
use crate::gate;
use crate::keeper::Progress;
use crate::listen;
use crate::sandbox::{Layer, State};

impl Daemon {
    pub(in crate::daemon) fn status(&mut self) -> Status {
        // First what waits for the listener: what it has told by then counts below.
        let counters = self.counters();
        let now = listen::now();
        let gate = self.gatekeeper.as_mut().map(gate_of);
        let started = clock::on_the_wall(self.started);
        let log_level = if self.settings.log.debug {
            LogLevel::Debug
        } else {
            LogLevel::Info
        };
        Status {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.events.run().clone(),
            started,
            now: clock::on_the_wall(now),
            last_event: self.events.last(),
            config: self.settings.cli.config.clone(),
            log_level,
            shadow: self.settings.shadow,
            keeper: self.keeper_process(),
            listener: self.side.listener().map(|pid| Listener {
                pid,
                layers: self.side.layers().iter().map(layer).collect(),
            }),
            interfaces: self.interfaces(),
            doors: self.doors_told(),
            attempts: self.attempts(now),
            grants: self.grants(now),
            counters,
            gate,
        }
    }

    fn keeper_process(&self) -> control::Keeper {
        let (_, running, waiting) = self.keeper.counts();
        let held = capabilities(None).map(|sets| sets.effective);
        let names = held.map(|set| set.iter_names().map(|(name, _)| format!("CAP_{name}")));
        control::Keeper {
            pid: std::process::id(),
            uid: geteuid().as_raw(),
            capabilities: names.map(Iterator::collect).unwrap_or_default(),
            commands_running: count(running),
            commands_waiting: count(waiting),
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        let all = self.side.interfaces();
        let told = all.map(|(name, up, addresses)| Interface {
            name: name.to_owned(),
            up,
            addresses,
        });
        told.collect()
    }

    fn doors_told(&self) -> Vec<control::Door> {
        let one_time: BTreeMap<_, _> = self.one_time.sequences().into_iter().collect();
        let doors = (0_u16..).zip(self.doors.now().iter());
        doors
            .map(|(id, door)| {
                let sequence = one_time.get(&knock_core::door::DoorId(id));
                let openings = self.events.opened(&door.name);
                told(door, sequence.map(Option::as_ref), openings)
            })
            .collect()
    }

    fn attempts(&self, now: Timestamp) -> Shown<Attempt> {
        let doors = self.doors_told();
        let mut total = 0;
        let mut shown = Vec::new();
        for (id, source, stage, until) in self.side.attempts(now) {
            total += 1;
            let door = doors.get(usize::from(id.0));
            let Some(door) = door.filter(|_| shown.len() < Shown::<Attempt>::MOST) else {
                continue;
            };
            shown.push(Attempt {
                door: door.name.clone(),
                source,
                stage: stage.into(),
                steps: door.steps,
                left_ms: millis(until.saturating_since(now)),
            });
        }
        Shown { total, shown }
    }

    fn grants(&self, now: Timestamp) -> Shown<Granted> {
        let by_commands = self.keeper.grants();
        let mut grants: Vec<_> = by_commands
            .map(|grant| {
                let (state, until) = match grant.progress {
                    Progress::Opening => (GrantState::Opening, None),
                    Progress::Open(until) => (GrantState::Open, Some(until)),
                    Progress::Closing => (GrantState::Closing, None),
                };
                Granted {
                    door: grant.door.to_owned(),
                    to: grant.source.to_string(),
                    grant: Grant::Commands(grant.id.0),
                    state,
                    who: grant.who.cloned(),
                    services: Vec::new(),
                    until: until.map(clock::on_the_wall),
                    left_ms: until.map(|until| millis(until.saturating_since(now))),
                }
            })
            .collect();
        let mut total = grants.len();
        if let Some(gatekeeper) = &self.gatekeeper {
            let at_gate = gatekeeper.grants();
            total += at_gate.len();
            // They are in their order already, and there may be very many.
            let first = at_gate.into_iter().take(Shown::<Granted>::MOST);
            grants.extend(first.map(|grant| Granted {
                door: grant.key.door().to_owned(),
                to: to(grant.key),
                grant: Grant::Gate,
                state: GrantState::Open,
                who: grant.who.cloned(),
                services: gatekeeper.services(grant.key),
                until: Some(clock::on_the_wall(grant.until)),
                left_ms: Some(millis(grant.until.saturating_since(now))),
            }));
        }
        grants.sort_by_key(|grant| grant.left_ms.unwrap_or(u64::MAX));
        grants.truncate(Shown::<Granted>::MOST);
        Shown {
            total: count(total),
            shown: grants,
        }
    }

    fn counters(&mut self) -> Counters {
        let of_side = self.side.counters();
        let engine = &of_side.engine;
        let sealed = &of_side.sealed;
        let (left_out, without_commands) = self.keeper.losses();
        Counters {
            packets: of_side.seen,
            not_knocks: of_side.not_knocks,
            kernel_drops: of_side.dropped,
            knocks: engine.knocks,
            wrong: engine.broken,
            timeouts: engine.timeouts,
            openings: engine.openings,
            evictions: engine.evictions,
            openings_lost: of_side.openings_lost,
            without_commands,
            lines_left_out: of_side.lines_left_out.saturating_add(left_out),
            events: by_kind(&self.events),
            refusals: by_reason(&self.events, Kind::Refuse),
            closings: by_reason(&self.events, Kind::Close),
            sealed_junk: sealed.junk,
            sealed_limited: sealed.limited,
            sealed_broken: sealed.broken,
            sealed_opened: sealed.opened,
            codes_unknown: sealed.codes_unknown,
            codes_limited: sealed.codes_limited,
        }
    }
}

fn told(door: &Door, one_time: Option<Option<&Sequence>>, openings: u64) -> control::Door {
    let native = door.action.native.as_ref();
    let commands = [&door.action.v4, &door.action.v6];
    let mut commands = commands.into_iter().flatten();
    let runs = commands.clone().next().is_some();
    let stops = commands.any(|commands| commands.stop.is_some());
    let sequence = match &door.trigger.source {
        SequenceSource::Fixed(sequence) => Some(sequence),
        SequenceSource::OneTime(_) => one_time.flatten(),
        SequenceSource::None => None,
    };
    let steps = sequence.map_or(0, |sequence| sequence.steps().len());
    control::Door {
        name: door.name.clone(),
        steps: u16::try_from(steps).unwrap_or(u16::MAX),
        one_time: one_time.map(|sequence| OneTime {
            open: sequence.is_some(),
        }),
        sealed: door.spa.is_some(),
        open: native.map_or_else(Vec::new, |native| {
            native.open.iter().map(ToString::to_string).collect()
        }),
        open_for_ms: native.map(|native| millis(native.open_for)),
        commands: runs,
        openings,
        cmd_timeout_ms: stops.then(|| millis(door.action.cmd_timeout)),
        closes: door.action.close.as_ref().map(|close| close.door.clone()),
    }
}

/// The gate as the kernel has it.
fn gate_of(gatekeeper: &mut Gatekeeper) -> Gate {
    let is_down = gatekeeper.is_down();
    let (reading, trouble) = gatekeeper.read();
    let trouble = trouble.map(str::to_owned);
    let (state, reading, trouble) = match reading {
        Ok(Some(reading)) => (GateState::Up, reading, trouble),
        Ok(None) if is_down => (GateState::Down, gate::Reading::default(), trouble),
        Ok(None) => (GateState::Absent, gate::Reading::default(), trouble),
        Err(error) => {
            let trouble = Some(error.to_string());
            (GateState::Unreadable, gate::Reading::default(), trouble)
        }
    };
    let total = count(reading.granted.len());
    let elements = reading.granted.iter().take(Shown::<Standing>::MOST);
    Gate {
        state,
        trouble,
        guarded: reading
            .guarded
            .iter()
            .map(|(what, left)| Guarded {
                what: what.to_string(),
                left_ms: left.map(millis),
            })
            .collect(),
        elements: Shown {
            total,
            shown: elements
                .map(|element| Standing {
                    door: element.door.clone(),
                    to: element.sources.to_string(),
                    what: element.at.to_string(),
                    left_ms: element.left.map(millis),
                })
                .collect(),
        },
        admitted: reading.admitted,
        dropped: reading.dropped,
    }
}

fn layer((layer, state): &(Layer, State)) -> control::Layer {
    control::Layer {
        name: layer.to_string(),
        state: match state {
            State::On => LayerState::On,
            State::Partly(version) => LayerState::Partly(*version),
            State::Missing(_) => LayerState::Missing,
        },
    }
}

fn by_kind(events: &Memory) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (kind, _, count) in events.counts() {
        *counts.entry(kind.name().to_owned()).or_default() += count;
    }
    counts
}

fn by_reason(events: &Memory, of: Kind) -> BTreeMap<String, u64> {
    let counts = events.counts().filter(|(kind, ..)| *kind == of);
    let counts = counts.filter_map(|(_, reason, count)| Some((reason?.name(), count)));
    counts.collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
