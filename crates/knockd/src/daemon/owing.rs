//! The journal of what is owed, as the daemon has it: one, or none and a reason.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use knock_core::config::JournalPlace;
use knock_core::door::Door;
use knock_core::time::Timestamp;

use crate::journal::{BootId, Change, Deadline, Due, Journal, JournalError, Moment, Owed};
use crate::keeper::{JobId, Record};
use crate::log::{Level, Line};

/// How long after a failure the journal is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The journal, if there is one.
#[derive(Debug, Default)]
pub(super) struct Owing {
    open: Option<(Journal, BootId)>,
    /// Where it is, or would be.
    path: Option<PathBuf>,
    /// When to try again to write what could not be written.
    retry: Option<Timestamp>,
}

/// Why the daemon cannot start with its journal.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: PathBuf,
    pub(super) error: JournalError,
}

impl Owing {
    /// Opens the journal of `place`, if there is one already or a stop command of `doors` may be
    /// owed. What is owed from before, and what is worth saying.
    pub(super) fn open(
        place: &JournalPlace,
        doors: &[Door],
    ) -> Result<(Self, Vec<Due>, Vec<Line>), Failure> {
        let Some(path) = place.path().map(Path::new) else {
            return Ok((Self::default(), Vec::new(), Vec::new()));
        };
        let mut owing = Self {
            open: None,
            path: Some(path.to_owned()),
            retry: None,
        };
        if !path.exists() && !doors.iter().any(owes) {
            return Ok((owing, Vec::new(), Vec::new()));
        }
        match open(path) {
            Ok((boot, journal, owed, lines)) => {
                owing.open = Some((journal, boot));
                Ok((owing, owed, lines))
            }
            // Somebody has asked for this one.
            Err(error) if matches!(place, JournalPlace::At(_)) => Err(Failure {
                path: path.to_owned(),
                error,
            }),
            Err(error) => {
                let text = format!(
                    "no journal ({}: {error}): stop commands are not owed beyond this daemon's end \
                     (name another place with `journal`, or `journal = off`)",
                    path.display()
                );
                let line = Line::new(Level::Warning, "journal", text);
                Ok((owing, Vec::new(), vec![line]))
            }
        }
    }

    /// After a reload: opens the journal if it is needed only now.
    pub(super) fn reopen(&mut self, place: &JournalPlace, doors: &[Door]) -> Vec<Line> {
        let path = place.path().map(PathBuf::from);
        if path != self.path {
            let text = "the journal stays where it is until the daemon is started anew";
            return vec![Line::new(Level::Warning, "journal", text)];
        }
        let (Some(path), None) = (&path, &self.open) else {
            return Vec::new();
        };
        if !doors.iter().any(owes) {
            return Vec::new();
        }
        match open(path) {
            // Nothing is owed in one that was not there at the start.
            Ok((boot, journal, _, lines)) => {
                self.open = Some((journal, boot));
                lines
            }
            Err(error) => {
                let text = format!("no journal ({}: {error})", path.display());
                vec![Line::new(Level::Warning, "journal", text)]
            }
        }
    }

    /// Whether what is owed outlives the daemon.
    pub(super) fn is_durable(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|(journal, _)| !journal.is_broken())
    }

    /// The first number for a grant.
    pub(super) fn next(&self) -> JobId {
        let next = self.open.as_ref().map(|(journal, _)| journal.next_id());
        JobId(next.unwrap_or_default())
    }

    /// Puts on the disk that this is owed. Without a journal, nothing has to be.
    pub(super) fn owe(&mut self, owed: Owed, now: Timestamp) -> Result<(), Line> {
        self.write(&[Change::Owe(Arc::new(owed))], now)
    }

    /// Puts changes on the disk. What fails is remembered, and tried again.
    pub(super) fn record(&mut self, records: &[Record], now: Timestamp) -> Result<(), Line> {
        let Some((journal, boot)) = &self.open else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        let moment = Moment::now(*boot);
        // What began before there was a journal is not in it.
        let known = |id: &JobId| journal.owes(id.0);
        let change = |record: &Record| match record {
            Record::Until(id, until) => {
                let left = until.saturating_since(now);
                known(id).then(|| Change::Until(id.0, Deadline::after(&moment, left)))
            }
            Record::Stopping(id) => known(id).then_some(Change::Stopping(id.0)),
            Record::Strike(id) => known(id).then_some(Change::Strike(id.0)),
        };
        let changes: Vec<_> = records.iter().filter_map(change).collect();
        self.write(&changes, now)
    }

    /// When [`Owing::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.retry
    }

    /// Tries again to write what could not be written.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> Option<Line> {
        self.retry.filter(|retry| *retry <= now)?;
        let (journal, _) = self.open.as_mut()?;
        if journal.mend().is_err() {
            self.retry = Some(now.saturating_add(RETRY));
            return None;
        }
        self.retry = None;
        let text = "the journal can be written again, and says what is owed";
        Some(Line::new(Level::Info, "journal", text))
    }

    fn write(&mut self, changes: &[Change], now: Timestamp) -> Result<(), Line> {
        let Some((journal, _)) = &mut self.open else {
            return Ok(());
        };
        if let Err(error) = journal.record(changes) {
            let again = self.retry.is_some();
            self.retry = journal
                .is_broken()
                .then(|| now.saturating_add(RETRY))
                .or(self.retry);
            let text = format!("error: the journal cannot be written: {error}");
            let line = Line::new(Level::Error, "journal", text);
            return Err(if again { line.at(Level::Debug) } else { line });
        }
        // Who was told that it could not be written is told that it can.
        self.retry = self.retry.map(|_| now);
        Ok(())
    }
}

type Found = (BootId, Journal, Vec<Due>, Vec<Line>);

fn open(path: &Path) -> Result<Found, JournalError> {
    let boot = BootId::read().map_err(JournalError::Io)?;
    let (journal, opened) = Journal::open(path, &Moment::now(boot))?;
    let notes = opened.notes.iter();
    let note = |note| {
        let text = format!("journal {}: {note}", path.display());
        Line::new(Level::Warning, "journal", text)
    };
    let mut lines: Vec<_> = notes.map(note).collect();
    if !opened.owed.is_empty() {
        let count = opened.owed.len();
        let text = format!("{count} stop commands are owed from before");
        lines.push(Line::new(Level::Info, "journal", text));
    }
    Ok((boot, journal, opened.owed, lines))
}

/// Whether an opening of `door` may owe a stop command.
fn owes(door: &Door) -> bool {
    let action = &door.action;
    [&action.v4, &action.v6]
        .into_iter()
        .flatten()
        .any(|commands| commands.stop.is_some())
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, error } = self;
        write!(f, "journal {}: {error}", path.display())
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure.to_string())
    }
}
