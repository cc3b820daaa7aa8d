//! What is owed, on the disk: the stop command of every grant that has one, from before its start
//! command runs until after it has run itself. (systemd's journal is [`crate::log`]'s.)
//!
//! What is promised, at whichever point the daemon is killed or the power fails:
//!
//! * What [`Journal::owe`] has confirmed is found again, until [`Journal::strike`] has. What was
//!   not confirmed is found or not; then a stop command may run whose start command never did.
//! * What `strike` has confirmed is never found again. A stop command runs twice only if the end
//!   came while it ran, or before its end was confirmed.
//! * A door stays open as long as it was opened for, over crashes, sleep and steps of the clock; see
//!   [`Deadline`] for what a reboot changes.
//! * A file that is damaged, or was torn while it was written, costs what was in the damaged place
//!   and no more.
//!
//! All this is tried at every operation on the file (`tests/crash.rs`), with files that were changed
//! in every bit (`tests/damage.rs`), and on real file systems (`tests/disk.rs`).
//!
//! The file is appended to, one write and one fdatasync(2) for each call, however many changes. It
//! is rewritten when what was struck off outweighs what is owed ([`Bounds`]).

mod entry;
mod error;
mod format;
mod ledger;
mod moment;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::{AppendError, JournalError, Note};
pub use ledger::{Bounds, Change, MAX_COMMAND, MAX_DOOR, MAX_USER, Owed, Refusal, State};
pub use moment::{BootId, Deadline, Moment};
pub(crate) use store::open_own;
pub use store::{Disk, MAX_DAMAGED, Store};

use ledger::{Ledger, Record};

/// The journal of what is owed; see the [module](self).
#[derive(Debug)]
pub struct Journal<S = Disk> {
    store: S,
    ledger: Ledger,
    /// Bytes of the file that are good.
    length: u64,
    /// Records of which the file does not have the latest state.
    pending: BTreeSet<u64>,
    /// The file cannot be appended to, because nobody knows how it ends.
    broken: bool,
    /// A rewrite has failed; it is not tried again before the file is so long.
    patience: u64,
    note: Option<Note>,
}

/// What an opened journal has in it.
#[derive(Debug)]
pub struct Opened {
    /// What is owed, in the order of the grants' numbers.
    pub owed: Vec<Due>,
    /// What the log should have.
    pub notes: Vec<Note>,
}

/// A stop command that is owed from before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Due {
    /// Which one.
    pub owed: Arc<Owed>,
    /// When it is to run.
    pub when: When,
}

/// When a stop command is to run that is owed from before.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum When {
    /// So much later.
    In(Duration),
    /// Now: its time is over.
    Overdue,
    /// Now: the start command was to run or ran when the daemon ended, and nobody knows how far it
    /// came. It may still run.
    Starting,
    /// Now: the stop command was to run or ran when the daemon ended. It may still run, or have
    /// run.
    Stopping,
}

impl Journal {
    /// Opens the journal in the file `path`. The file is made if it is missing, with mode 0600, and
    /// so is the folder that it is in, with mode 0700. As long as the journal lives, nobody else can
    /// open it.
    ///
    /// What is owed comes with the time that is left at `now`. A file that can be read but not be
    /// written to as it should is a [`Note`], and a journal that [`Journal::is_broken`].
    ///
    /// # Errors
    /// If the file is not to be used; it is as it was then.
    pub fn open(path: &Path, now: &Moment) -> Result<(Self, Opened), JournalError> {
        Self::with(Disk::open(path)?, Bounds::DEFAULT, now)
    }
}

impl<S: Store> Journal<S> {
    /// As [`Journal::open`], kept somewhere else.
    ///
    /// # Errors
    /// If what is there is not to be used.
    pub fn with(
        mut store: S,
        bounds: Bounds,
        now: &Moment,
    ) -> Result<(Self, Opened), JournalError> {
        let bytes = store.read(bounds.file()).map_err(|error| {
            if error.kind() == io::ErrorKind::FileTooLarge {
                JournalError::TooLarge
            } else {
                JournalError::Io(error)
            }
        })?;
        let is_new = bytes.is_empty();
        let scan = if is_new {
            format::Scan::nothing(bounds)
        } else {
            format::scan(&bytes, bounds)?
        };
        drop(bytes);
        let mut journal = Self {
            store,
            ledger: scan.ledger,
            length: scan.end,
            pending: BTreeSet::new(),
            broken: false,
            patience: 0,
            note: None,
        };
        let mut notes = Vec::new();
        if scan.torn > 0 {
            notes.push(Note::Torn { bytes: scan.torn });
            journal.cut();
        }
        if let Some(format::Damage { bytes, entries }) = scan.damage {
            let kept = journal.store.set_aside().ok().flatten();
            notes.push(Note::Damaged {
                bytes,
                entries,
                kept,
            });
        }
        journal.broken |= is_new || scan.damage.is_some();
        let other_boot = journal.ledger.rebase(now);
        let must = other_boot || journal.broken || journal.is_worth_rewriting();
        if must && let Err(error) = journal.rewrite() {
            notes.push(Note::NotRewritten(error.into()));
        }
        let owed = journal.ledger.records().values();
        let owed = owed.map(|record| Due::of(record, now)).collect();
        Ok((journal, Opened { owed, notes }))
    }

    /// Before the start command runs: this is owed. It is on the disk when this returns.
    ///
    /// # Errors
    /// Then it is not owed, and the start command must not run.
    pub fn owe(&mut self, owed: &Owed) -> Result<(), AppendError> {
        self.record(&[Change::Owe(Arc::new(owed.clone()))])
    }

    /// The start command has ended, and the door is open until then; or it is open longer.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub fn until(&mut self, id: u64, deadline: Deadline) -> Result<(), AppendError> {
        self.record(&[Change::Until(id, deadline)])
    }

    /// The stop command is to run.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub fn stopping(&mut self, id: u64) -> Result<(), AppendError> {
        self.record(&[Change::Stopping(id)])
    }

    /// The stop command has run; nothing is owed any more.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub fn strike(&mut self, id: u64) -> Result<(), AppendError> {
        self.record(&[Change::Strike(id)])
    }

    /// Makes these changes in their order, all on the disk when this returns, for the price of one.
    ///
    /// # Errors
    /// If one of them is refused, none was made. If they cannot be written, nothing is owed that was
    /// to be owed from now on; all else has happened, so it is remembered, and is written with the
    /// next changes that can be: see [`Journal::mend`].
    pub fn record(&mut self, changes: &[Change]) -> Result<(), AppendError> {
        let undo = self.ledger.apply_all(changes)?;
        if let Err(error) = self.write(changes) {
            self.ledger.undo(undo);
            self.remember(changes);
            return Err(error.into());
        }
        self.pending.clear();
        if self.is_worth_rewriting()
            && let Err(error) = self.rewrite()
        {
            self.patience = self.length.saturating_add(self.ledger.bounds().slack);
            self.note = Some(Note::NotRewritten(error.into()));
        }
        Ok(())
    }

    /// Whether the file does not say what is owed, because something could not be written.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken || !self.pending.is_empty()
    }

    /// Tries to make the file say what is owed. Every other call tries that too; if there is none,
    /// call it now and then while the journal [`Journal::is_broken`]. Calling it too often only
    /// costs time.
    ///
    /// # Errors
    /// If it still cannot be written.
    pub fn mend(&mut self) -> Result<(), AppendError> {
        self.record(&[])
    }

    /// The wall clock was set: keeps all deadlines by what it says now. Without it, a deadline is
    /// wrong by as much after a reboot.
    ///
    /// # Errors
    /// If it cannot be written; then the deadlines in the file are as they were.
    pub fn rebase(&mut self, now: &Moment) -> Result<(), AppendError> {
        self.ledger.rebase(now);
        Ok(self.rewrite()?)
    }

    /// The next thing that the log should have. Ask after other calls.
    #[must_use]
    pub fn poll_note(&mut self) -> Option<Note> {
        self.note.take()
    }

    /// The first number that no grant in this file has, or ever had.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.ledger.next()
    }

    /// Whether the grant `id` is owed.
    #[must_use]
    pub fn owes(&self, id: u64) -> bool {
        self.ledger.records().contains_key(&id)
    }

    /// What is owed, in the order of the grants' numbers.
    pub fn owed(&self) -> impl Iterator<Item = (&Arc<Owed>, State)> {
        let records = self.ledger.records().values();
        records.map(|record| (&record.owed, record.state))
    }

    fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        let bytes = self.entries(changes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let length = self.length.saturating_add(length);
        if self.broken || length > self.ledger.bounds().file() {
            return self.rewrite();
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let appended = self.store.append(self.length, &bytes);
        match appended.and_then(|()| self.store.sync()) {
            Ok(()) => self.length = length,
            Err(error) => {
                self.cut();
                return Err(error);
            }
        }
        Ok(())
    }

    /// What could not be written before, and `changes`.
    fn entries(&self, changes: &[Change]) -> Vec<u8> {
        let changed: BTreeSet<u64> = changes.iter().map(Change::id).collect();
        let late = self.pending.difference(&changed).filter_map(|id| {
            let record = self.ledger.records().get(id);
            record.map_or(Some(Change::Strike(*id)), entry::of_state)
        });
        let mut bytes = Vec::new();
        for change in late {
            format::push(&mut bytes, &entry::encode(&change));
        }
        for change in changes {
            format::push(&mut bytes, &entry::encode(change));
        }
        bytes
    }

    /// Makes of `changes`, which could not be written, those that have happened all the same.
    fn remember(&mut self, changes: &[Change]) {
        for change in changes {
            let has_happened = !matches!(change, Change::Owe(_));
            if has_happened && self.ledger.apply(change).is_ok() {
                self.pending.insert(change.id());
            }
        }
    }

    /// Cuts off what was not written to its end.
    fn cut(&mut self) {
        let cut = self.store.truncate(self.length);
        self.broken = cut.and_then(|()| self.store.sync()).is_err();
    }

    fn is_worth_rewriting(&self) -> bool {
        let owed = self.ledger.bytes();
        let struck = self.length.saturating_sub(owed);
        struck > owed.max(self.ledger.bounds().slack) && self.length >= self.patience
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let bytes = format::snapshot(&self.ledger);
        self.store.prepare(&bytes)?;
        // If this fails, either file may be there.
        self.broken = true;
        self.store.commit()?;
        self.broken = false;
        self.pending.clear();
        self.patience = 0;
        self.length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

impl Due {
    fn of(record: &Record, now: &Moment) -> Self {
        let when = match record.state {
            State::Starting => When::Starting,
            State::Stopping => When::Stopping,
            State::Open(deadline) => match deadline.remaining(now) {
                Duration::ZERO => When::Overdue,
                left => When::In(left),
            },
        };
        let owed = Arc::clone(&record.owed);
        Self { owed, when }
    }
}
