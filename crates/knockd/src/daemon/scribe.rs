//! Writes the log, with the names of those who knock (`-l`).
//!
//! A line waits for its source's name a fifth of a second at the most, and what is done never
//! waits. The lines of one source stay in their order.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use knock_core::time::Timestamp;

use crate::log::{Level, Line, Log, LogSetup, Record};
use crate::names::{Answer, Names};

/// How long a line waits for a name.
const PATIENCE: Duration = Duration::from_millis(200);

/// The most lines that wait; the oldest then goes without a name.
const MAX_WAITING: usize = 1024;

#[derive(Debug)]
pub(super) struct Scribe {
    log: Log,
    names: Option<Names>,
    waiting: VecDeque<(Timestamp, Record)>,
}

impl Scribe {
    /// Opens the log; with `lookup`, names are looked up.
    pub(super) fn open(setup: LogSetup, lookup: bool) -> io::Result<Self> {
        Ok(Self {
            log: Log::open(setup),
            names: lookup.then(Names::new).transpose()?,
            waiting: VecDeque::new(),
        })
    }

    /// Opens the log anew.
    pub(super) fn reopen(&mut self, setup: LogSetup) {
        self.log.reopen(setup);
    }

    /// Whether lines at [`Level::Debug`] are logged, from now on until it is opened anew.
    pub(super) fn set_debug(&mut self, debug: bool) {
        self.log.set_debug(debug);
    }

    /// Logs a line about nobody in particular.
    pub(super) fn note(&mut self, level: Level, event: &'static str, text: impl Into<String>) {
        self.log.line(Line::new(level, event, text));
    }

    /// Logs `line`, or lets it wait for its source's name.
    pub(super) fn line(&mut self, line: Line, now: Timestamp) {
        let record = Record::now(line);
        let led = record.line.source.filter(|_| record.line.is_led());
        let (Some(names), Some(source)) = (&mut self.names, led) else {
            return self.log.write(&record);
        };
        let behind = self
            .waiting
            .iter()
            .any(|(_, other)| other.line.source == Some(source));
        let answer = if behind {
            Answer::Pending
        } else {
            names.ask(source, now)
        };
        match answer {
            Answer::Pending => {
                if self.waiting.len() >= MAX_WAITING
                    && let Some((_, oldest)) = self.waiting.pop_front()
                {
                    self.log.write(&oldest);
                }
                self.waiting
                    .push_back((now.saturating_add(PATIENCE), record));
            }
            answer => self.write(record, answer),
        }
    }

    /// What to poll for input, where names are looked up.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.names.as_ref().map(Names::fd)
    }

    /// When [`Scribe::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.waiting.front().map(|(until, _)| *until)
    }

    /// Writes the lines that have waited long enough, or whose names are known now.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        let Some(names) = &mut self.names else { return };
        names.handle_readable(now);
        let mut held = BTreeSet::<IpAddr>::new();
        for (until, record) in std::mem::take(&mut self.waiting) {
            let source = record.line.source.unwrap_or(IpAddr::from([0; 4]));
            let answer = self
                .names
                .as_mut()
                .map_or(Answer::NoName, |names| names.ask(source, now));
            let pending = matches!(answer, Answer::Pending) && until > now;
            if pending || held.contains(&source) {
                held.insert(source);
                self.waiting.push_back((until, record));
            } else {
                self.write(record, answer);
            }
        }
    }

    /// Writes what waits, as it is.
    pub(super) fn finish(&mut self) {
        for (_, record) in std::mem::take(&mut self.waiting) {
            self.log.write(&record);
        }
    }

    fn write(&mut self, mut record: Record, answer: Answer) {
        if let Answer::Name(name) = answer {
            record.host = Some(name);
        }
        self.log.write(&record);
    }
}
