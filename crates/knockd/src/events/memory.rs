//! The events of this run: numbered, counted, and the latest of them kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Event, Happened, Kind, Reason, RunId};
use crate::clock;
use crate::log::Line;

/// So many events are kept: some three megabytes. Who reads more slowly than they come is told how
/// many are gone.
const KEPT: usize = 8_192;

/// Numbers events, counts them, and keeps the latest.
#[derive(Debug)]
pub struct Memory {
    run: RunId,
    last: u64,
    kept: VecDeque<Arc<Event>>,
    counts: BTreeMap<(Kind, Option<Reason>), u64>,
    /// What each door has opened: doors are as many as the configuration has.
    opened: BTreeMap<String, u64>,
}

impl Memory {
    /// Of the run `run`, empty.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            last: 0,
            kept: VecDeque::new(),
            counts: BTreeMap::new(),
            opened: BTreeMap::new(),
        }
    }

    /// Which run it is.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// The number of the latest event; 0 if there was none.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Keeps what `line` says to programs, if it says anything to them.
    pub fn keep(&mut self, line: &Line) -> Option<Arc<Event>> {
        let happened = line.happened()?;
        self.last += 1;
        let event = Arc::new(event(self.last, self.run.clone(), line, happened));
        let count = self.counts.entry((event.kind, event.reason)).or_default();
        *count = count.saturating_add(1);
        if let (Kind::Open, Some(door)) = (event.kind, &event.door) {
            let count = self.opened.entry(door.clone()).or_default();
            *count = count.saturating_add(1);
        }
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(&event));
        Some(event)
    }

    /// How many events of this kind there were.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        let of = self.counts.iter().filter(|((of, _), _)| *of == kind);
        of.map(|(_, count)| count).sum()
    }

    /// How many grants the door of this name has given.
    #[must_use]
    pub fn opened(&self, door: &str) -> u64 {
        self.opened.get(door).copied().unwrap_or(0)
    }

    /// How many events there were, of each kind and reason.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, Option<Reason>, u64)> {
        let counts = self.counts.iter();
        counts.map(|((kind, reason), count)| (*kind, *reason, *count))
    }

    /// The number of the oldest event that is kept; that of the next one if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.kept.front().map_or(self.last + 1, |event| event.seq)
    }

    /// The event with this number, if it is kept.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&Arc<Event>> {
        let place = seq.checked_sub(self.first())?;
        self.kept.get(usize::try_from(place).ok()?)
    }
}

fn event(seq: u64, run: RunId, line: &Line, happened: &Happened) -> Event {
    let now = Timestamp::now();
    Event {
        seq,
        run,
        // Milliseconds are read more easily, and say enough.
        time: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        kind: happened.kind,
        level: line.level.into(),
        door: line.door.clone(),
        source: line.source,
        grant: happened.grant,
        to: happened.to.clone(),
        services: happened.services.clone(),
        who: happened.who.clone(),
        reason: happened.reason,
        until: happened.until.map(clock::on_the_wall),
        stage: happened.stage,
        count: happened.count,
        text: line.message(None),
    }
}
