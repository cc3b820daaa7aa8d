//! Closings, in time or before it, and what becomes of what is open at a stop.

use std::net::IpAddr;
use std::sync::Arc;

use knock_core::config::OnStop;
use knock_core::time::Timestamp;

use super::registry::{Grant, State};
use super::{Action, JobId, Keeper, Occasion, Record};
use crate::events::{self, Happened, Kind, Reason, Who};
use crate::journal::{Due, When};
use crate::log::Line;

/// Why something is closed, for the log and for programs.
#[derive(Clone, Debug)]
pub struct Why<'a> {
    /// The words of the log.
    pub text: &'a str,
    /// The same in a stable word.
    pub reason: Reason,
    /// Who closes it, if somebody does.
    pub who: Option<&'a Who>,
}

/// A grant of commands that is being closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closed {
    /// Its number.
    pub id: JobId,
    /// The name of its door.
    pub door: Arc<str>,
    /// Whose it is.
    pub source: IpAddr,
}

impl<'a> Why<'a> {
    /// For a reason that nobody in particular has.
    #[must_use]
    pub const fn new(text: &'a str, reason: Reason) -> Self {
        Self {
            text,
            reason,
            who: None,
        }
    }
}

impl Keeper {
    /// What is owed from before the daemon was started: closes it now, or in time.
    pub fn recover(&mut self, owed: Vec<Due>, now: Timestamp) {
        for Due { owed, when } in owed {
            let id = JobId(owed.id);
            let (until, why) = match when {
                When::In(left) => (now.saturating_add(left), None),
                When::Overdue => {
                    let text = "closed late: its time was over before the daemon began";
                    (now, Some(Why::new(text, Reason::Time)))
                }
                When::Starting => {
                    let text = "closed: the daemon ended while it was being opened";
                    (now, Some(Why::new(text, Reason::Interrupted)))
                }
                When::Stopping => {
                    let text = "closed: the daemon ended while it was being closed";
                    (now, Some(Why::new(text, Reason::Interrupted)))
                }
            };
            self.grants.insert(
                id,
                Grant {
                    door: owed.door.as_str().into(),
                    source: owed.source,
                    user: owed.user.as_deref().map(Arc::from),
                    stop: Some(owed.command.clone()),
                    time: until.saturating_since(now),
                    who: None,
                    state: State::Open(until),
                },
            );
            if let Some(why) = why {
                self.close(id, &why, now);
            }
        }
        self.run_waiting(now);
    }

    /// Closes, before its time, what the commands of the doors named `door` have opened for
    /// `source`. How many grants that were.
    pub fn take_back(
        &mut self,
        door: &str,
        source: IpAddr,
        why: &Why<'_>,
        now: Timestamp,
    ) -> usize {
        let open = self.grants.of(door, source);
        let open = open.filter(|(_, state)| matches!(state, State::Open(_)));
        let open: Vec<_> = open.map(|(id, _)| id).collect();
        for id in &open {
            self.close(*id, why, now);
        }
        self.run_waiting(now);
        open.len()
    }

    /// Closes, before its time, all that is open and that `which` picks by its door and its source.
    /// What that was, and how many more are being opened: those are not touched.
    pub fn close_where(
        &mut self,
        which: impl Fn(&str, IpAddr) -> bool,
        why: &Why<'_>,
        now: Timestamp,
    ) -> (Vec<Closed>, usize) {
        let (mut closed, mut starting) = (Vec::new(), 0);
        for (id, grant) in self.grants.iter() {
            match grant.state {
                State::Open(_) if which(&grant.door, grant.source) => closed.push(Closed {
                    id,
                    door: Arc::clone(&grant.door),
                    source: grant.source,
                }),
                State::Starting if grant.stop.is_some() && which(&grant.door, grant.source) => {
                    starting += 1;
                }
                _ => {}
            }
        }
        for grant in &closed {
            self.close(grant.id, why, now);
        }
        self.run_waiting(now);
        (closed, starting)
    }

    /// Begins the end: nothing new is opened. What is open is closed at once, and what is being
    /// opened as soon as its start command has ended; or it all stays open, and is owed to the
    /// daemon that comes next. Done when [`Keeper::is_idle`].
    pub fn stop(&mut self, on_stop: OnStop, now: Timestamp) {
        self.stopping = Some(on_stop);
        for job in self.queue.take_starts() {
            let Some(grant) = self.grants.get(job.id) else {
                continue;
            };
            if grant.stop.is_some() {
                let why = Why::new("closed before its commands began", Reason::Stop);
                let line = closing(job.id, grant, &why);
                self.log(line.quietly(), now);
                self.actions
                    .push_back(Action::Record(Record::Strike(job.id)));
            }
            self.grants.remove(job.id);
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
            let text = "closed while its start command still runs: the daemon stops";
            self.close(id, &Why::new(text, Reason::Stop), now);
        }
        self.run_waiting(now);
    }

    pub(super) fn close_at_once(&mut self, now: Timestamp) {
        let why = Why::new("closed early: the daemon stops", Reason::Stop);
        while let Some(id) = self.grants.first_open() {
            self.close(id, &why, now);
        }
    }

    /// Lets go of what is open: it stands in the journal.
    pub(super) fn leave_open(&mut self) {
        while let Some(id) = self.grants.first_open() {
            self.grants.remove(id);
        }
    }

    /// Queues the stop command of a grant that has one.
    pub(super) fn close(&mut self, id: JobId, why: &Why<'_>, now: Timestamp) {
        self.grants.set(id, State::Stopping);
        let Some(grant) = self.grants.get(id) else {
            return;
        };
        let Some(stop) = grant.stop.clone() else {
            return;
        };
        let line = closing(id, grant, why);
        let job = grant.job(id, Occasion::Stop, stop);
        self.actions.push_back(Action::Record(Record::Stopping(id)));
        self.queue.push_stop(job);
        self.log(line, now);
    }
}

fn closing(id: JobId, grant: &Grant, why: &Why<'_>) -> Line {
    let happened = Happened::new(Kind::Close)
        .about(events::Grant::Commands(id.0), grant.source)
        .because(why.reason)
        .by(why.who.cloned());
    Line::of_source(grant.source, &grant.door, "close", why.text).means(happened)
}
