//! What is known of the daemon: its latest status, and what has happened since. Pure: time is told.
//!
//! Status and events come over two connections, so either can be ahead. Both have numbers: a status
//! names the latest event that it knows of, and what came after that is applied upon it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::rates::Rates;
use crate::control::{GrantState, Granted, Shown, Status};
use crate::events::{Event, Grant, Kind, RunId, Who};

/// A time since the program began.
pub(super) type Moment = Duration;

/// So many events are kept of what matters, and so many of what strangers do.
const KEPT: usize = 500;

/// At most so many attempts are kept: the daemon tells [`Shown::MOST`], and more come
/// by events until it tells them again.
const MOST_ATTEMPTS: usize = 1024;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    status: Option<(Status, Moment)>,
    attempts: BTreeMap<AttemptId, Attempt>,
    grants: BTreeMap<GrantId, Open>,
    /// What matters, and what strangers do: oldest first.
    matters: VecDeque<Told>,
    steps: VecDeque<Told>,
    run: Option<RunId>,
    /// The number of the latest event of this run.
    seen: u64,
    left_out: u64,
    missed: u64,
    pub(super) rates: Rates,
}

/// Whose attempt, at which door.
pub(super) type AttemptId = (String, IpAddr);

/// An attempt that is under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Attempt {
    /// Steps taken.
    pub(super) stage: u16,
    /// When its time is over, where that is known.
    pub(super) ends: Option<Moment>,
}

/// Which grant: of a door, its number, for whom.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct GrantId {
    pub(super) door: String,
    pub(super) to: String,
    pub(super) grant: Grant,
}

/// What is open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Open {
    pub(super) state: GrantState,
    pub(super) who: Option<Who>,
    pub(super) services: Vec<String>,
    /// When its time is over, where that is known.
    pub(super) ends: Option<Moment>,
}

/// An event, and when it was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) event: Event,
    at: Moment,
}

impl World {
    /// Takes a status for the truth, and upon it what has happened after it.
    pub(super) fn handle_status(&mut self, status: Status, at: Moment) {
        self.begin_run(&status.run);
        self.rates.add(&status.counters, at);
        let attempts = status.attempts.shown.iter().map(|one| {
            let ends = Some(at + Duration::from_millis(one.left_ms));
            let stage = one.stage;
            ((one.door.clone(), one.source), Attempt { stage, ends })
        });
        self.attempts = attempts.collect();
        self.grants = status
            .grants
            .shown
            .iter()
            .map(|one| open(one, at))
            .collect();
        let told = self.matters.iter().chain(&self.steps);
        let is_later =
            |told: &&Told| told.event.run == status.run && told.event.seq > status.last_event;
        let mut later: Vec<_> = told.filter(is_later).cloned().collect();
        later.sort_by_key(|told| told.event.seq);
        self.status = Some((status, at));
        for told in later {
            self.apply(&told);
        }
    }

    /// Notes an event, and what it means for what is shown. One that is known already is nothing new.
    pub(super) fn handle_event(&mut self, event: Event, at: Moment) {
        self.begin_run(&event.run);
        if event.seq <= self.seen {
            return;
        }
        self.seen = event.seq;
        if event.kind == Kind::LeftOut {
            self.left_out = self.left_out.saturating_add(event.count.unwrap_or(1));
        }
        let told = Told { event, at };
        let known = self.status.as_ref().map(|(status, _)| status.last_event);
        if known.is_some_and(|known| told.event.seq > known) {
            self.apply(&told);
        }
        let log = if is_step(told.event.kind) {
            &mut self.steps
        } else {
            &mut self.matters
        };
        if log.len() >= KEPT {
            log.pop_front();
        }
        log.push_back(told);
    }

    /// Notes that so many events were not told.
    pub(super) const fn handle_missed(&mut self, count: u64) {
        self.missed = self.missed.saturating_add(count);
    }

    /// From which event on to ask for more; `None` for all.
    pub(super) fn next_event(&self) -> Option<u64> {
        (self.seen > 0).then_some(self.seen + 1)
    }

    /// The latest status, and when it was told.
    pub(super) const fn status(&self) -> Option<&(Status, Moment)> {
        self.status.as_ref()
    }

    /// The wall clock of the daemon.
    pub(super) fn wall(&self, now: Moment) -> Option<Timestamp> {
        let (status, at) = self.status.as_ref()?;
        status.now.checked_add(now.saturating_sub(*at)).ok()
    }

    /// How many attempts there are, also those that are not told one by one.
    pub(super) fn attempts_in_all(&self) -> u64 {
        let status = self.status.as_ref();
        let untold = status.map_or(0, |(status, _)| untold(&status.attempts));
        untold.saturating_add(count(self.attempts.len()))
    }

    /// The attempts, those that have come furthest first.
    pub(super) fn attempts(&self) -> Vec<(&AttemptId, &Attempt)> {
        let mut all: Vec<_> = self.attempts.iter().collect();
        all.sort_by(|(id, one), (other_id, other)| {
            other.stage.cmp(&one.stage).then(id.cmp(other_id))
        });
        all
    }

    /// The grants, those that end first first.
    pub(super) fn grants(&self) -> Vec<(&GrantId, &Open)> {
        let mut all: Vec<_> = self.grants.iter().collect();
        let ends = |open: &Open| open.ends.unwrap_or(Moment::MAX);
        all.sort_by(|(id, one), (other_id, other)| {
            ends(one).cmp(&ends(other)).then(id.cmp(other_id))
        });
        all
    }

    /// How many grants there are, also those that are not told one by one.
    pub(super) fn grants_in_all(&self) -> u64 {
        let status = self.status.as_ref();
        let untold = status.map_or(0, |(status, _)| untold(&status.grants));
        untold.saturating_add(count(self.grants.len()))
    }

    /// What has happened, latest first, with the steps of strangers or without.
    pub(super) fn log(&self, with_steps: bool) -> Vec<&Told> {
        let steps = self.steps.iter().filter(|_| with_steps);
        let mut all: Vec<_> = self.matters.iter().chain(steps).collect();
        // Numbers begin anew with each run of the daemon, times do not.
        all.sort_by_key(|told| std::cmp::Reverse((told.event.time, told.event.seq)));
        all
    }

    /// Events that the daemon has left out, and that it could not tell us in time.
    pub(super) const fn not_told(&self) -> u64 {
        self.left_out.saturating_add(self.missed)
    }

    /// How many steps the door `name` has; 0 if that is not known.
    pub(super) fn steps_of(&self, name: &str) -> u16 {
        let doors = self.status.iter().flat_map(|(status, _)| &status.doors);
        let mut doors = doors.filter(|door| door.name == name);
        doors.next().map_or(0, |door| door.steps)
    }

    /// What a daemon before this one had is over.
    fn begin_run(&mut self, run: &RunId) {
        if self.run.as_ref() == Some(run) {
            return;
        }
        self.run = Some(run.clone());
        self.seen = 0;
        self.status = None;
        self.attempts.clear();
        self.grants.clear();
        self.rates.begin_anew();
    }

    fn apply(&mut self, told: &Told) {
        let event = &told.event;
        let Some(door) = event.door.clone() else {
            return;
        };
        match (event.kind, event.source) {
            (Kind::Step, Some(source)) => self.step((door, source), event.stage.unwrap_or(1)),
            (Kind::Broken | Kind::Timeout | Kind::Knocked, Some(source)) => {
                self.attempts.remove(&(door, source));
            }
            (Kind::Open | Kind::Extend | Kind::Close, _) => self.change_grant(door, told),
            _ => {}
        }
    }

    fn step(&mut self, id: AttemptId, stage: u16) {
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.stage = stage;
        } else if self.attempts.len() < MOST_ATTEMPTS {
            self.attempts.insert(id, Attempt { stage, ends: None });
        }
    }

    fn change_grant(&mut self, door: String, told: &Told) {
        let Event { grant, to, .. } = &told.event;
        let (Some(grant), Some(to)) = (*grant, to.clone()) else {
            return;
        };
        let id = GrantId { door, to, grant };
        if told.event.kind == Kind::Close {
            self.grants.remove(&id);
            return;
        }
        // What does not end by itself is over with its command, and nothing tells that.
        if told.event.until.is_none() && !self.grants.contains_key(&id) {
            return;
        }
        let open = self.grants.entry(id).or_insert_with(|| Open {
            state: GrantState::Open,
            who: None,
            services: Vec::new(),
            ends: None,
        });
        open.state = GrantState::Open;
        open.who = told.event.who.clone().or_else(|| open.who.take());
        if !told.event.services.is_empty() {
            open.services.clone_from(&told.event.services);
        }
        let left = told
            .event
            .until
            .map(|until| until.duration_since(told.event.time));
        open.ends = left.map(|left| told.at + Duration::try_from(left).unwrap_or_default());
    }
}

fn open(granted: &Granted, at: Moment) -> (GrantId, Open) {
    let id = GrantId {
        door: granted.door.clone(),
        to: granted.to.clone(),
        grant: granted.grant,
    };
    let open = Open {
        state: granted.state,
        who: granted.who.clone(),
        services: granted.services.clone(),
        ends: granted.left_ms.map(|left| at + Duration::from_millis(left)),
    };
    (id, open)
}

/// How many there are beyond those that are shown.
fn untold<T>(shown: &Shown<T>) -> u64 {
    shown.total.saturating_sub(count(shown.shown.len()))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Whether anybody can cause it as often as he likes.
const fn is_step(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Step | Kind::Broken | Kind::Timeout | Kind::LeftOut
    )
}
