//! Openings: what they give, and what is to be on the disk before.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Commands, Reopen};
use knock_core::template::TooLong;
use knock_core::time::Timestamp;

use super::registry::{Grant, State};
use super::{Action, DoorRef, JobId, Keeper, MAX_GRANTS, Occasion, Record};
use crate::events::{self, Happened, Kind, Reason, Who};
use crate::log::{Level, Line};

/// Who opens a door, and what the log says of it.
#[derive(Clone, Debug)]
pub struct Opener<'a> {
    /// The words of the log.
    pub how: &'a str,
    /// Who it is; nobody knows who has knocked.
    pub who: Option<&'a Who>,
}

/// What came of the commands of an opening.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Begun {
    /// There are none for this version of IP.
    Nothing,
    /// Nothing is run, and why was logged.
    Refused,
    /// Nothing is run: what is open is for longer (`reopen = extend`).
    Extended,
    /// They begin, as this grant; see [`Keeper::is_running`] and [`Keeper::is_waiting`].
    Grant(JobId),
}

impl Keeper {
    /// `source` has opened `door`: says so, and runs its commands.
    pub fn handle_opening(&mut self, door: &DoorRef, source: IpAddr, now: Timestamp) -> Begun {
        let opener = Opener {
            how: "OPEN SESAME",
            who: None,
        };
        self.handle_sealed(door, source, &opener, now)
    }

    /// The same, where it is known who it was: says how.
    pub fn handle_sealed(
        &mut self,
        door: &DoorRef,
        source: IpAddr,
        opener: &Opener<'_>,
        now: Timestamp,
    ) -> Begun {
        let name = &door.name;
        let happened = Happened::new(Kind::Knocked).by(opener.who.cloned());
        let line = Line::of_source(source, name, "opening", opener.how);
        self.log(line.means(happened), now);
        match door.action.for_source(source) {
            Some(commands) => self.open(door, commands, source, opener.who, now),
            None => Begun::Nothing,
        }
    }

    /// Whether the start command of the grant `id` runs.
    #[must_use]
    pub fn is_running(&self, id: JobId) -> bool {
        self.running.get(&id) == Some(&Occasion::Start)
    }

    /// Whether the start command of the grant `id` waits.
    #[must_use]
    pub fn is_waiting(&self, id: JobId) -> bool {
        let starts = |grant: &Grant| grant.state == State::Starting;
        self.grants.get(id).is_some_and(starts) && !self.is_running(id)
    }

    /// It is on the disk that `id` is owed, or that could not be brought about.
    pub fn handle_owed(&mut self, id: JobId, is_on_disk: bool, now: Timestamp) {
        let Some(job) = self.owing.remove(&id) else {
            return;
        };
        if is_on_disk && self.stopping.is_none() {
            self.say_opened(id, now);
            self.queue.push_start(job);
        } else {
            self.grants.remove(id);
            self.refused = self.refused.saturating_add(1);
            let line = |text| Line::of_source(job.source, &job.door, "refused", text);
            let refuse = Happened::new(Kind::Refuse);
            if is_on_disk {
                self.actions.push_back(Action::Record(Record::Strike(id)));
                let line = line("the daemon stops").means(refuse.because(Reason::Stopping));
                self.log(line.quietly(), now);
            } else {
                let line = line("what would be owed cannot be written down; nothing was run");
                let line = line.means(refuse.because(Reason::NotWritten));
                self.log(line.at(Level::Error), now);
            }
        }
        self.run_waiting(now);
    }

    /// Runs the commands of a door, or only lets it stay open for longer.
    fn open(
        &mut self,
        door: &DoorRef,
        commands: &Commands,
        source: IpAddr,
        who: Option<&Who>,
        now: Timestamp,
    ) -> Begun {
        let name = &door.name;
        let time = door.action.cmd_timeout;
        if door.action.reopen == Reopen::Extend && self.extend(name, source, time, who, now) {
            return Begun::Extended;
        }
        let stop = commands.stop.as_ref().map(|stop| stop.expand(source, name));
        let (start, stop) = match (commands.start.expand(source, name), stop.transpose()) {
            (Ok(start), Ok(stop)) => (start, stop),
            (Err(TooLong), _) => return self.refuse(&truncated("start", "it"), source, name, now),
            (_, Err(TooLong)) => {
                let line = truncated("stop", "start command");
                return self.refuse(&line, source, name, now);
            }
        };
        let is_full = self.queue.is_full() || self.grants.len() >= MAX_GRANTS;
        if self.stopping.is_some() || is_full {
            self.refused = self.refused.saturating_add(1);
            let (reason, text) = if is_full {
                let text = "too many commands are waiting; nothing was run for this opening";
                (Reason::TooMany, text)
            } else {
                let text = "the daemon stops; nothing was run for this opening";
                (Reason::Stopping, text)
            };
            let line = Line::of_source(source, name, "refused", text).at(Level::Error);
            self.log(line.means(Happened::new(Kind::Refuse).because(reason)), now);
            return Begun::Refused;
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
            user: door.action.user.as_deref().map(Into::into),
            stop,
            time,
            who: who.cloned(),
            state: State::Starting,
        };
        let job = grant.job(id, Occasion::Start, start);
        let owed = grant.owed(id);
        self.grants.insert(id, grant);
        if let Some(owed) = owed {
            self.owing.insert(id, job);
            self.actions.push_back(Action::Owe(owed));
        } else {
            self.say_opened(id, now);
            self.queue.push_start(job);
        }
        self.run_waiting(now);
        Begun::Grant(id)
    }

    fn refuse(&mut self, line: &Line, source: IpAddr, door: &str, now: Timestamp) -> Begun {
        self.log(line.clone(), now);
        let refused = Line::of_source(source, door, "refused", &line.message(None));
        let happened = Happened::new(Kind::Refuse).because(Reason::TooLong);
        self.log(refused.at(Level::Error).means(happened).quietly(), now);
        Begun::Refused
    }

    /// The commands of a grant begin.
    fn say_opened(&mut self, id: JobId, now: Timestamp) {
        let Some(grant) = self.grants.get(id) else {
            return;
        };
        let until = grant.stop.is_some().then(|| now.saturating_add(grant.time));
        let happened = Happened::new(Kind::Open)
            .about(events::Grant::Commands(id.0), grant.source)
            .by(grant.who.clone())
            .until(until);
        let line = Line::of_source(grant.source, &grant.door, "opened", "its commands begin");
        self.log(line.means(happened).quietly(), now);
    }

    /// `reopen = extend`: moves the deadlines of what is open. One that is being opened has all its
    /// time before it anyway. Whether there was any.
    fn extend(
        &mut self,
        door: &str,
        source: IpAddr,
        time: Duration,
        who: Option<&Who>,
        now: Timestamp,
    ) -> bool {
        let until = now.saturating_add(time);
        let of: Vec<_> = self.grants.of(door, source).collect();
        let mut extended = None;
        for (id, state) in of {
            match state {
                State::Open(before) => {
                    let until = before.max(until);
                    self.grants.set(id, State::Open(until));
                    let record = Record::Until(id, until);
                    self.actions.push_back(Action::Record(record));
                    extended = Some((id, until));
                }
                State::Starting => extended = extended.or(Some((id, until))),
                State::Stopping => {}
            }
        }
        if let Some((id, until)) = extended {
            let happened = Happened::new(Kind::Extend)
                .about(events::Grant::Commands(id.0), source)
                .by(who.cloned())
                .until(Some(until));
            let line = Line::of_source(source, door, "extended", "open for longer");
            self.log(line.means(happened), now);
        }
        extended.is_some()
    }
}

fn truncated(which: &str, what: &str) -> Line {
    let text =
        format!("error: parsed {which} command has been truncated! --> won't execute {what}");
    Line::new(Level::Error, "command-too-long", text)
}
