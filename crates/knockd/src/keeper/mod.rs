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

mod doors;
mod jobs;
mod registry;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knock_core::config::OnStop;
use knock_core::door::{Commands, Reopen};
use knock_core::template::TooLong;
use knock_core::time::Timestamp;

use crate::bucket::{Bucket, LeftOut};
use crate::journal::{Due, Owed, When};
use crate::log::{Level, Line};

pub use doors::{DoorRef, Generations};
pub use jobs::{Job, JobId, Occasion};

use jobs::Queue;
use registry::{Grant, Registry, State};

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

    /// What is owed from before the daemon was started: closes it now, or in time.
    pub fn recover(&mut self, owed: Vec<Due>, now: Timestamp) {
        for Due { owed, when } in owed {
            let id = JobId(owed.id);
            let (until, why) = match when {
                When::In(left) => (now.saturating_add(left), ""),
                When::Overdue => (
                    now,
                    "closed late: its time was over before the daemon began",
                ),
                When::Starting => (now, "closed: the daemon ended while it was being opened"),
                When::Stopping => (now, "closed: the daemon ended while it was being closed"),
            };
            self.grants.insert(
                id,
                Grant {
                    door: owed.door.as_str().into(),
                    source: owed.source,
                    user: owed.user.as_deref().map(Arc::from),
                    stop: Some(owed.command.clone()),
                    time: until.saturating_since(now),
                    state: State::Open(until),
                },
            );
            if !why.is_empty() {
                self.close(id, why, now);
            }
        }
        self.run_waiting(now);
    }

    /// `source` has opened `door`: says so, and runs its commands.
    pub fn handle_opening(&mut self, door: &DoorRef, source: IpAddr, now: Timestamp) {
        self.handle_sealed(door, source, "OPEN SESAME", now);
    }

    /// The same, where it is known who it was: says `how`.
    pub fn handle_sealed(&mut self, door: &DoorRef, source: IpAddr, how: &str, now: Timestamp) {
        let name = &door.name;
        self.log(Line::of_source(source, name, "opening", how), now);
        if let Some(commands) = door.action.for_source(source) {
            self.open(door, commands, source, now);
        }
    }

    /// Logs `line` about an opening, within the bounds of such lines.
    pub fn tell(&mut self, line: Line, now: Timestamp) {
        self.log(line, now);
    }

    /// Closes, before its time, what the commands of the doors named `door` have opened for
    /// `source`. How many grants that were.
    pub fn take_back(&mut self, door: &str, source: IpAddr, why: &str, now: Timestamp) -> usize {
        let open = self.grants.of(door, source);
        let open = open.filter(|(_, state)| matches!(state, State::Open(_)));
        let open: Vec<_> = open.map(|(id, _)| id).collect();
        for id in &open {
            self.close(*id, why, now);
        }
        self.run_waiting(now);
        open.len()
    }

    /// It is on the disk that `id` is owed, or that could not be brought about.
    pub fn handle_owed(&mut self, id: JobId, is_on_disk: bool, now: Timestamp) {
        let Some(job) = self.owing.remove(&id) else {
            return;
        };
        if is_on_disk && self.stopping.is_none() {
            self.queue.push_start(job);
        } else {
            self.grants.remove(id);
            self.refused = self.refused.saturating_add(1);
            if is_on_disk {
                self.actions.push_back(Action::Record(Record::Strike(id)));
            } else {
                let text = "what would be owed cannot be written down; nothing was run";
                let line = Line::of_source(job.source, &job.door, "refused", text);
                self.log(line.at(Level::Error), now);
            }
        }
        self.run_waiting(now);
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
            self.log(
                Line::of_door(&name, "command-failed", &text).about(source),
                now,
            );
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
            self.actions.push_back(Action::Log(line));
        }
        while let Some(id) = self.grants.due(now) {
            self.close(id, "command timeout", now);
        }
        self.run_waiting(now);
    }

    /// Begins the end: nothing new is opened. What is open is closed at once, and what is being
    /// opened as soon as its start command has ended; or it all stays open, and is owed to the
    /// daemon that comes next. Done when [`Keeper::is_idle`].
    pub fn stop(&mut self, on_stop: OnStop, now: Timestamp) {
        self.stopping = Some(on_stop);
        for job in self.queue.take_starts() {
            let owed = self.grants.get(job.id).is_some_and(|g| g.stop.is_some());
            self.grants.remove(job.id);
            if owed {
                self.actions
                    .push_back(Action::Record(Record::Strike(job.id)));
            }
        }
        match on_stop {
            OnStop::Close => self.close_at_once(now),
            OnStop::Keep => self.leave_open(),
        }
        self.run_waiting(now);
    }

    /// Patience is over: runs the stop commands also of grants whose start commands still run. What
    /// is to stay open is left to the journal as it is.
    pub fn stop_all(&mut self, now: Timestamp) {
        let starting = self.grants.iter();
        let starting = starting.filter(|(_, g)| g.state == State::Starting && g.stop.is_some());
        let ids: Vec<_> = starting.map(|(id, _)| id).collect();
        for id in ids {
            self.running.remove(&id);
            if self.stopping == Some(OnStop::Keep) {
                self.grants.remove(id);
                continue;
            }
            self.close(
                id,
                "closed while its start command still runs: the daemon stops",
                now,
            );
        }
        self.run_waiting(now);
    }

    /// Runs the commands of a door, or only lets it stay open for longer.
    fn open(&mut self, door: &DoorRef, commands: &Commands, source: IpAddr, now: Timestamp) {
        let name = &door.name;
        let time = door.action.cmd_timeout;
        if door.action.reopen == Reopen::Extend && self.extend(name, source, time, now) {
            return;
        }
        let stop = commands.stop.as_ref().map(|stop| stop.expand(source, name));
        let (start, stop) = match (commands.start.expand(source, name), stop.transpose()) {
            (Ok(start), Ok(stop)) => (start, stop),
            (Err(TooLong), _) => return self.log(truncated("start", "it"), now),
            (_, Err(TooLong)) => return self.log(truncated("stop", "start command"), now),
        };
        let is_full = self.queue.is_full() || self.grants.len() >= MAX_GRANTS;
        if self.stopping.is_some() || is_full {
            self.refused = self.refused.saturating_add(1);
            let text = if is_full {
                "too many commands are waiting; nothing was run for this opening"
            } else {
                "the daemon stops; nothing was run for this opening"
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
        let grant = Grant {
            door: name.as_str().into(),
            source,
            user: door.action.user.as_deref().map(Arc::from),
            stop,
            time,
            state: State::Starting,
        };
        let job = grant.job(id, Occasion::Start, start);
        if let Some(owed) = grant.owed(id) {
            self.owing.insert(id, job);
            self.actions.push_back(Action::Owe(owed));
        } else {
            self.queue.push_start(job);
        }
        self.grants.insert(id, grant);
        self.run_waiting(now);
    }

    /// `reopen = extend`: moves the deadlines of what is open. One that is being opened has all its
    /// time before it anyway. Whether there was any.
    fn extend(&mut self, door: &str, source: IpAddr, time: Duration, now: Timestamp) -> bool {
        let until = now.saturating_add(time);
        let of: Vec<_> = self.grants.of(door, source).collect();
        let mut extended = false;
        for (id, state) in of {
            match state {
                State::Open(before) => {
                    self.grants.set(id, State::Open(before.max(until)));
                    let record = Record::Until(id, before.max(until));
                    self.actions.push_back(Action::Record(record));
                    extended = true;
                }
                State::Starting => extended = true,
                State::Stopping => {}
            }
        }
        if extended {
            let line = Line::of_source(source, door, "extended", "open for longer");
            self.log(line, now);
        }
        extended
    }

    fn close_at_once(&mut self, now: Timestamp) {
        while let Some(id) = self.grants.first_open() {
            self.close(id, "closed early: the daemon stops", now);
        }
    }

    /// Lets go of what is open: it stands in the journal.
    fn leave_open(&mut self) {
        while let Some(id) = self.grants.first_open() {
            self.grants.remove(id);
        }
    }

    /// Queues the stop command of a grant that has one.
    fn close(&mut self, id: JobId, why: &str, now: Timestamp) {
        self.grants.set(id, State::Stopping);
        let Some(grant) = self.grants.get(id) else {
            return;
        };
        let Some(stop) = grant.stop.clone() else {
            return;
        };
        let line = Line::of_source(grant.source, &grant.door, "close", why);
        let job = grant.job(id, Occasion::Stop, stop);
        self.actions.push_back(Action::Record(Record::Stopping(id)));
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
            let line = Line::of_door(&job.door, "command", &text);
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
