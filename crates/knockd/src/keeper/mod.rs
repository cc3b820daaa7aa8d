//! The keeper: what openings lead to. It looks doors up in its own copy of the configuration,
//! keeps the timers, and says which commands are to run and which lines to log.
//!
//! Nothing here runs a program, reads a clock or writes a file: openings, time and the ends of
//! commands are arguments, and [`Keeper::poll_action`] gives what is to be done. Commands run one
//! after the other for a grant (start, then stop), and side by side for different ones, at most
//! [`Limits::commands`] at once. A stop command is owed from the moment that its start command is
//! to run; nothing but the end of the daemon's patience at its own stop takes it back.

mod doors;
mod jobs;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use knock_core::template::TooLong;
use knock_core::time::Timestamp;

use crate::bucket::{Bucket, LeftOut};
use crate::log::{Level, Line};

pub use doors::{DoorRef, Generations};
pub use jobs::{Job, JobId, Occasion};

use jobs::Queue;

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
    /// Run this, and call [`Keeper::handle_end`] when it has ended.
    Run(Job),
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

/// What an opening gave: one source, one door, until its stop command has run.
#[derive(Debug)]
struct Grant {
    door: DoorRef,
    source: IpAddr,
    stop: Option<String>,
    state: State,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// The start command waits or runs.
    Starting,
    /// Until when.
    Open(Timestamp),
    /// The stop command waits or runs.
    Stopping,
}

/// The keeper; see the [module](self).
#[derive(Debug)]
pub struct Keeper {
    limits: Limits,
    grants: BTreeMap<JobId, Grant>,
    deadlines: BTreeSet<(Timestamp, JobId)>,
    next: JobId,
    queue: Queue,
    /// Which commands run: of which grant, and on which occasion.
    running: BTreeMap<JobId, Occasion>,
    actions: VecDeque<Action>,
    stopping: bool,
    lines: Bucket,
    left_out: LeftOut,
    refused: u64,
}

impl Keeper {
    /// A keeper without any grant.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            grants: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: JobId::FIRST,
            queue: Queue::default(),
            running: BTreeMap::new(),
            actions: VecDeque::new(),
            stopping: false,
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

    /// The next thing to be done, in order. Ask until there is none after every other call.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Keeper::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        [deadline, self.left_out.poll_timeout()]
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
        self.grants.values().any(|grant| grant.stop.is_some())
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

    /// `source` has opened `door`.
    pub fn handle_opening(&mut self, door: DoorRef, source: IpAddr, now: Timestamp) {
        let name = &door.name;
        self.log(Line::of_source(source, name, "opening", "OPEN SESAME"), now);
        let Some(commands) = door.action.for_source(source) else {
            return;
        };
        let stop = commands.stop.as_ref().map(|stop| stop.expand(source, name));
        let (start, stop) = match (commands.start.expand(source, name), stop.transpose()) {
            (Ok(start), Ok(stop)) => (start, stop),
            (Err(TooLong), _) => return self.log(truncated("start", "it"), now),
            (_, Err(TooLong)) => return self.log(truncated("stop", "start command"), now),
        };
        if self.stopping || self.queue.is_full() || self.grants.len() >= MAX_GRANTS {
            self.refused = self.refused.saturating_add(1);
            let text = if self.stopping {
                "the daemon stops; nothing was run for this opening"
            } else {
                "too many commands are waiting; nothing was run for this opening"
            };
            let line = Line::of_source(source, name, "refused", text).at(Level::Error);
            return self.log(line, now);
        }
        let id = self.next;
        self.next = id.next();
        if self.running.len() >= self.limits.commands {
            let text = format!(
                "{} commands are running; this one waits",
                self.running.len()
            );
            let line = Line::of_source(source, name, "queued", &text).at(Level::Warning);
            self.log(line, now);
        }
        let job = Job::new(id, Occasion::Start, &door, source, start);
        let state = State::Starting;
        self.grants.insert(
            id,
            Grant {
                door,
                source,
                stop,
                state,
            },
        );
        self.queue.push_start(job);
        self.run_waiting(now);
    }

    /// The command of the grant `id` that ran on this `occasion` has ended.
    pub fn handle_end(&mut self, id: JobId, occasion: Occasion, end: End, now: Timestamp) {
        if self.running.get(&id) != Some(&occasion) {
            // A start command over whose head the stop command runs: see `Keeper::stop_all`.
            return;
        }
        self.running.remove(&id);
        let Some(grant) = self.grants.get_mut(&id) else {
            return self.run_waiting(now);
        };
        let name = grant.door.name.clone();
        let source = grant.source;
        let forget = match occasion {
            Occasion::Stop => true,
            Occasion::Start if grant.stop.is_none() => true,
            Occasion::Start => {
                let until = now.saturating_add(grant.door.action.cmd_timeout);
                grant.state = State::Open(until);
                self.deadlines.insert((until, id));
                false
            }
        };
        if forget {
            self.grants.remove(&id);
        }
        if let Some(text) = end.complaint() {
            self.log(
                Line::of_door(&name, "command-failed", &text).about(source),
                now,
            );
        }
        if self.stopping && occasion == Occasion::Start {
            self.close_at_once(now);
        }
        self.run_waiting(now);
    }

    /// Closes what is due at `now`, and says how many lines were left out.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(lines) = self.left_out.poll(now) {
            let text = format!("{lines} log lines about openings were left out");
            let line = Line::new(Level::Info, "left-out", text);
            self.actions.push_back(Action::Log(line));
        }
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.close(id, "command timeout", now);
        }
        self.run_waiting(now);
    }

    /// Begins the end: nothing new is opened, what is open is closed at once, and what is being
    /// opened as soon as its start command has ended. Done when [`Keeper::is_idle`].
    pub fn stop(&mut self, now: Timestamp) {
        self.stopping = true;
        for job in self.queue.take_starts() {
            self.grants.remove(&job.id);
        }
        self.close_at_once(now);
        self.run_waiting(now);
    }

    /// Patience is over: runs the stop commands also of grants whose start commands still run.
    pub fn stop_all(&mut self, now: Timestamp) {
        let starting = |(id, grant): (&JobId, &Grant)| {
            let owes = grant.state == State::Starting && grant.stop.is_some();
            owes.then_some(*id)
        };
        let ids: Vec<_> = self.grants.iter().filter_map(starting).collect();
        for id in ids {
            self.running.remove(&id);
            self.close(
                id,
                "closed while its start command still runs: the daemon stops",
                now,
            );
        }
        self.run_waiting(now);
    }

    fn close_at_once(&mut self, now: Timestamp) {
        let open: Vec<_> = self.deadlines.iter().map(|(_, id)| *id).collect();
        for id in open {
            self.close(id, "closed early: the daemon stops", now);
        }
    }

    /// Queues the stop command of a grant that has one.
    fn close(&mut self, id: JobId, why: &str, now: Timestamp) {
        let Some(grant) = self.grants.get_mut(&id) else {
            return;
        };
        if let State::Open(deadline) = grant.state {
            self.deadlines.remove(&(deadline, id));
        }
        grant.state = State::Stopping;
        let Some(stop) = grant.stop.clone() else {
            return;
        };
        let job = Job::new(id, Occasion::Stop, &grant.door, grant.source, stop);
        let line = Line::of_source(grant.source, &grant.door.name, "close", why);
        self.queue.push_stop(job);
        self.log(line, now);
    }

    fn run_waiting(&mut self, now: Timestamp) {
        while self.running.len() < self.limits.commands {
            let Some(job) = self.queue.pop() else {
                return;
            };
            self.running.insert(job.id, job.occasion);
            let text = format!("running command: {}", job.command);
            let line = Line::of_door(&job.door.name, "command", &text);
            self.log(line.about(job.source), now);
            self.actions.push_back(Action::Run(job));
        }
    }

    /// Logs a line about an opening. Whoever can open a door can fill the log with it, and a
    /// door of one step can be opened by a forged packet; so there is a bound here too.
    fn log(&mut self, line: Line, now: Timestamp) {
        if self.lines.take(now) {
            self.actions.push_back(Action::Log(line));
        } else {
            self.left_out.count();
        }
    }
}

impl End {
    /// What the log has to say of it. The original's words; but a killing signal is named, where
    /// the original gives a status of 0.
    fn complaint(self) -> Option<String> {
        match self {
            Self::Exited(0) | Self::NotStarted => None,
            Self::Exited(status) => {
                Some(format!("command returned non-zero status code ({status})"))
            }
            Self::Killed(signal) => Some(format!("command was killed by signal {signal}")),
        }
    }
}

fn truncated(which: &str, what: &str) -> Line {
    let text =
        format!("error: parsed {which} command has been truncated! --> won't execute {what}");
    Line::new(Level::Error, "command-too-long", text)
}
