//! The keeper: what openings lead to. It looks doors up in its own copy of the configuration,
//! keeps the timers, and says which commands are to run, what is to be on the disk before they do,
//! and which lines to log.
//!
//! Nothing here runs a program, reads a clock or writes a file: openings, time and the ends of
//! commands are arguments, and [`Keeper::poll_action`] gives what is to be done. Commands run one
//! after the other for a grant (start, then stop), and side by side for different ones, at most
//! [`Limits::commands`] at once. A stop command is owed from before its start command runs until it
//! has run itself; what is owed survives the daemon, in the journal that [`Action::Owe`] and
//! [`Action::Record`] are about.

mod closing;
mod doors;
mod jobs;
mod opening;
mod registry;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knock_core::config::OnStop;
use knock_core::time::Timestamp;

use crate::bucket::{Bucket, LeftOut};
use crate::events::{self, Happened, Kind, Reason, Who};
use crate::journal::Owed;
use crate::log::{Level, Line};

pub use closing::{Closed, Why};
pub use doors::{DoorRef, Generations};
pub use jobs::{Job, JobId, Occasion};
pub use opening::{Begun, Opener};

use jobs::Queue;
use registry::{Registry, State};

/// How much a keeper may hold and do at once.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Commands that run at once (`max_commands`).
    pub commands: usize,
}

/// The most grants that owe a stop command at once; openings beyond it run nothing, and say so.
pub const MAX_GRANTS: usize = 65_536;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Log this.
    Log(Line),
    /// Have this on the disk, and call [`Keeper::handle_owed`], whether it came to that or not.
    Owe(Owed),
    /// Have this on the disk before the next [`Action::Run`].
    Record(Record),
    /// Run this, and call [`Keeper::handle_end`] when it has ended.
    Run(Job),
}

/// A change of what is owed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// The grant is open until then.
    Until(JobId, Timestamp),
    /// Its stop command is to run.
    Stopping(JobId),
    /// Nothing is owed any more.
    Strike(JobId),
}

/// How a command ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It could not be started; why was logged.
    NotStarted,
}

/// A grant of commands, as it is.
#[derive(Clone, Debug)]
pub struct Granted<'a> {
    /// Its number.
    pub id: JobId,
    /// The name of its door.
    pub door: &'a str,
    /// Whose it is.
    pub source: IpAddr,
    /// Who has it, as far as that is known.
    pub who: Option<&'a Who>,
    /// How far it has come.
    pub progress: Progress,
}

/// How far a grant has come.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Its start command waits or runs.
    Opening,
    /// It is open until then.
    Open(Timestamp),
    /// Its stop command waits or runs.
    Closing,
}

/// The keeper; see the [module](self).
#[derive(Debug)]
pub struct Keeper {
    limits: Limits,
    grants: Registry,
    next: JobId,
    queue: Queue,
    /// Start commands that wait until it is on the disk that their stop commands are owed.
    owing: BTreeMap<JobId, Job>,
    /// Which commands run: of which grant, and on which occasion.
    running: BTreeMap<JobId, Occasion>,
    actions: VecDeque<Action>,
    stopping: Option<OnStop>,
    lines: Bucket,
    left_out: LeftOut,
    refused: u64,
}

impl Keeper {
    /// A keeper without any grant, whose next one has the number `next`.
    #[must_use]
    pub fn new(limits: Limits, next: JobId) -> Self {
        Self {
            limits,
            grants: Registry::default(),
            next,
            queue: Queue::default(),
            owing: BTreeMap::new(),
            running: BTreeMap::new(),
            actions: VecDeque::new(),
            stopping: None,
            lines: Bucket::new(2_000, Duration::from_millis(10)),
            left_out: LeftOut::new(),
            refused: 0,
        }
    }

    /// Replaces the limits. What runs goes on.
    pub fn set_limits(&mut self, limits: Limits, now: Timestamp) {
        self.limits = limits;
        self.run_waiting(now);
    }

    /// Grants have no lower numbers than `next` from now on.
    pub fn raise_next(&mut self, next: JobId) {
        self.next = self.next.max(next);
    }

    /// The next thing to be done, in order. Ask until there is none after every other call.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Keeper::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.grants.next_deadline(), self.left_out.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether no command runs, waits or is owed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether a stop command is owed: for what is open, or is being opened.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.grants.iter().any(|(_, grant)| grant.stop.is_some())
    }

    /// The grants that exist, in the order of their numbers.
    pub fn grants(&self) -> impl Iterator<Item = Granted<'_>> {
        self.grants.iter().map(|(id, grant)| Granted {
            id,
            door: &grant.door,
            source: grant.source,
            who: grant.who.as_ref(),
            progress: match grant.state {
                State::Starting => Progress::Opening,
                State::Open(until) => Progress::Open(until),
                State::Stopping => Progress::Closing,
            },
        })
    }

    /// Grants that exist, commands that run, and commands that wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.grants.len(), self.running.len(), self.queue.len())
    }

    /// Lines about openings that were left out, and openings for which nothing was run because
    /// too much was running already.
    #[must_use]
    pub const fn losses(&self) -> (u64, u64) {
        (self.left_out.all(), self.refused)
    }

    /// Logs `line` about an opening, within the bounds of such lines.
    pub fn tell(&mut self, line: Line, now: Timestamp) {
        self.log(line, now);
    }

    /// The command of the grant `id` that ran on this `occasion` has ended.
    pub fn handle_end(&mut self, id: JobId, occasion: Occasion, end: End, now: Timestamp) {
        if self.running.get(&id) != Some(&occasion) {
            // A start command over whose head the stop command runs: see `Keeper::stop_all`.
            return;
        }
        self.running.remove(&id);
        let Some(grant) = self.grants.get(id) else {
            return self.run_waiting(now);
        };
        let (name, source) = (Arc::clone(&grant.door), grant.source);
        let owes = grant.stop.is_some();
        let until = now.saturating_add(grant.time);
        match occasion {
            Occasion::Stop => {
                self.grants.remove(id);
                self.actions.push_back(Action::Record(Record::Strike(id)));
            }
            Occasion::Start if owes => {
                self.grants.set(id, State::Open(until));
                self.actions
                    .push_back(Action::Record(Record::Until(id, until)));
            }
            Occasion::Start => self.grants.remove(id),
        }
        if let Some(text) = end.complaint() {
            let line = Line::of_door(&name, "command-failed", &text).about(source);
            self.log(line.means(failed(id, source)), now);
        }
        match self.stopping {
            Some(OnStop::Close) if occasion == Occasion::Start => self.close_at_once(now),
            Some(OnStop::Keep) => self.leave_open(),
            _ => {}
        }
        self.run_waiting(now);
    }

    /// Closes what is due at `now`, and says how many lines were left out.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(lines) = self.left_out.poll(now) {
            let text = format!("{lines} log lines about openings were left out");
            let line = Line::new(Level::Info, "left-out", text);
            let line = line.means(Happened::new(Kind::LeftOut).of(lines));
            self.actions.push_back(Action::Log(line));
        }
        while let Some(id) = self.grants.due(now) {
            self.close(id, &Why::new("command timeout", Reason::Time), now);
        }
        self.run_waiting(now);
    }

    fn run_waiting(&mut self, now: Timestamp) {
        while self.running.len() < self.limits.commands {
            let Some(job) = self.queue.pop() else {
                return;
            };
            self.running.insert(job.id, job.occasion);
            let text = format!("running command: {}", job.command);
            let line = Line::of_door(&job.door, "command", &text);
            self.log(line.about(job.source), now);
            self.actions.push_back(Action::Run(job));
        }
    }

    /// Logs a line about an opening. Whoever can open a door can fill the log with it, and a
    /// door of one step can be opened by a forged packet; so there is a bound here too.
    /// What happened is told to programs even so.
    fn log(&mut self, line: Line, now: Timestamp) {
        if line.is_quiet() || self.lines.take(now) {
            self.actions.push_back(Action::Log(line));
            return;
        }
        self.left_out.count();
        if line.happened().is_some() {
            self.actions.push_back(Action::Log(line.quietly()));
        }
    }
}

/// A command of a grant has failed, or could not be run.
pub(crate) fn failed(id: JobId, source: IpAddr) -> Happened {
    Happened::new(Kind::CommandFailed).about(events::Grant::Commands(id.0), source)
}

impl End {
    /// What the log has to say of it. The original's words; but a killing signal is named, where
    /// the original gives a status of 0.
    pub(crate) fn complaint(self) -> Option<String> {
        match self {
            Self::Exited(0) | Self::NotStarted => None,
            Self::Exited(status) => {
                Some(format!("command returned non-zero status code ({status})"))
            }
            Self::Killed(signal) => Some(format!("command was killed by signal {signal}")),
        }
    }
}
