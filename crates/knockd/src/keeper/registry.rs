//! The grants whose commands run or are owed: by number, by deadline, and by who has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knock_core::time::Timestamp;

use super::jobs::{Job, JobId, Occasion};
use crate::events::Who;
use crate::journal::Owed;

/// What an opening gave: one source, one door, until its stop command has run.
#[derive(Debug)]
pub(super) struct Grant {
    /// The name of the door, which may be gone since.
    pub(super) door: Arc<str>,
    pub(super) source: IpAddr,
    pub(super) user: Option<Arc<str>>,
    /// With everything put in.
    pub(super) stop: Option<String>,
    /// From the end of the start command to the stop command.
    pub(super) time: Duration,
    /// Who has it, as far as that is known.
    pub(super) who: Option<Who>,
    pub(super) state: State,
}

/// How far a grant has come.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// The start command waits or runs.
    Starting,
    /// Until when.
    Open(Timestamp),
    /// The stop command waits or runs.
    Stopping,
}

impl Grant {
    pub(super) fn job(&self, id: JobId, occasion: Occasion, command: String) -> Job {
        Job {
            id,
            occasion,
            door: Arc::clone(&self.door),
            source: self.source,
            user: self.user.clone(),
            command,
        }
    }

    /// For the journal, if anything is owed.
    pub(super) fn owed(&self, id: JobId) -> Option<Owed> {
        Some(Owed {
            id: id.0,
            door: self.door.to_string(),
            source: self.source,
            command: self.stop.clone()?,
            user: self.user.as_deref().map(str::to_owned),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    grants: BTreeMap<JobId, Grant>,
    deadlines: BTreeSet<(Timestamp, JobId)>,
    holders: BTreeSet<(Arc<str>, IpAddr, JobId)>,
}

impl Registry {
    pub(super) fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.grants.len()
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Grant> {
        self.grants.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobId, &Grant)> {
        self.grants.iter().map(|(id, grant)| (*id, grant))
    }

    pub(super) fn insert(&mut self, id: JobId, grant: Grant) {
        let holder = (Arc::clone(&grant.door), grant.source, id);
        self.holders.insert(holder);
        if let State::Open(until) = grant.state {
            self.deadlines.insert((until, id));
        }
        self.grants.insert(id, grant);
    }

    pub(super) fn remove(&mut self, id: JobId) {
        let Some(grant) = self.grants.remove(&id) else {
            return;
        };
        if let State::Open(until) = grant.state {
            self.deadlines.remove(&(until, id));
        }
        self.holders.remove(&(grant.door, grant.source, id));
    }

    pub(super) fn set(&mut self, id: JobId, state: State) {
        let Some(grant) = self.grants.get_mut(&id) else {
            return;
        };
        if let State::Open(before) = grant.state {
            self.deadlines.remove(&(before, id));
        }
        grant.state = state;
        if let State::Open(until) = state {
            self.deadlines.insert((until, id));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One whose time is over at `now`.
    pub(super) fn due(&self, now: Timestamp) -> Option<JobId> {
        let (deadline, id) = self.deadlines.first()?;
        (*deadline <= now).then_some(*id)
    }

    /// Of what is open, that which is due first.
    pub(super) fn first_open(&self) -> Option<JobId> {
        self.deadlines.first().map(|(_, id)| *id)
    }

    /// The grants that `source` has of the doors named `door`, the oldest first.
    pub(super) fn of(&self, door: &str, source: IpAddr) -> impl Iterator<Item = (JobId, State)> {
        let name: Arc<str> = door.into();
        let first = (Arc::clone(&name), source, JobId(0));
        let last = (name, source, JobId(u64::MAX));
        let ids = self.holders.range(first..=last).map(|(_, _, id)| *id);
        ids.filter_map(|id| Some((id, self.grants.get(&id)?.state)))
    }
}
