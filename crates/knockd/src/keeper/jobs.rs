//! Commands that are to run, and those that wait.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// The most start commands that wait; stop commands always find room.
const MAX_WAITING: usize = 1024;

/// The number of a grant, and of its command that runs: there is one at a time.
#[derive(Copy, Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct JobId(pub u64);

impl JobId {
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Why a command runs.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Occasion {
    /// A door has opened.
    Start,
    /// Its time is over.
    Stop,
}

/// A command to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number, for [`super::Keeper::handle_end`].
    pub id: JobId,
    /// Why it runs.
    pub occasion: Occasion,
    /// For which door, by its name.
    pub door: Arc<str>,
    /// For which source.
    pub source: IpAddr,
    /// As whom; `None` for the daemon's own account.
    pub user: Option<Arc<str>>,
    /// For the shell.
    pub command: String,
}

/// Commands that wait for others to end. Closing goes before opening.
#[derive(Debug, Default)]
pub(super) struct Queue {
    stops: VecDeque<Job>,
    starts: VecDeque<Job>,
}

impl Queue {
    pub(super) fn is_full(&self) -> bool {
        self.starts.len() >= MAX_WAITING
    }

    pub(super) fn len(&self) -> usize {
        self.stops.len() + self.starts.len()
    }

    pub(super) fn push_start(&mut self, job: Job) {
        self.starts.push_back(job);
    }

    pub(super) fn push_stop(&mut self, job: Job) {
        self.stops.push_back(job);
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        self.stops.pop_front().or_else(|| self.starts.pop_front())
    }

    /// Takes back what was not run yet.
    pub(super) fn take_starts(&mut self) -> VecDeque<Job> {
        std::mem::take(&mut self.starts)
    }
}
