//! What is owed, in memory: which records there are, and which change each of them may take.
//! Pure; the file is elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::entry;
use super::moment::{Deadline, Moment};

/// The most bytes of a command. One that is longer never runs, so it is never owed
/// ([`knock_core::template::Template::MAX_EXPANDED`]).
pub const MAX_COMMAND: usize = 4096;

/// The most bytes of a door's name.
pub const MAX_DOOR: usize = 1024;

/// The most bytes of a user's name; Linux has no longer ones (`LOGIN_NAME_MAX`, limits.h).
pub const MAX_USER: usize = 256;

/// A stop command that is owed: from before its start command runs until after it has run itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owed {
    /// The number of the grant. Numbers only grow; see [`super::Journal::next_id`].
    pub id: u64,
    /// The name of the door.
    pub door: String,
    /// Who opened it.
    pub source: IpAddr,
    /// The stop command for the shell, with everything put in.
    pub command: String,
    /// As whom it runs, if not as the daemon's own default.
    pub user: Option<String>,
}

/// How far a grant has come.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Its start command waits or runs, or was to run.
    Starting,
    /// Until when.
    Open(Deadline),
    /// Its stop command waits or runs.
    Stopping,
}

/// A change of what is owed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// This is owed from now on, in the state [`State::Starting`].
    Owe(Arc<Owed>),
    /// The grant is open until then: for the first time, or with its deadline moved.
    Until(u64, Deadline),
    /// The grant's stop command is to run.
    Stopping(u64),
    /// The grant's stop command has run; nothing is owed any more.
    Strike(u64),
}

impl Change {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Owe(owed) => owed.id,
            Self::Until(id, _) | Self::Stopping(id) | Self::Strike(id) => *id,
        }
    }
}

/// Why a change makes no sense; then nothing was changed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// So many are owed that there is no room for one more ([`Bounds`]).
    Full,
    /// The command, the name of the door or that of the user is longer than it may be.
    TooLong,
    /// The number was used before, or is the last that there is.
    IdUsed,
    /// Nothing is owed under this number.
    Unknown,
    /// The stop command is under way; that cannot be taken back.
    Stopping,
}

/// How much may be owed, and how large a file may become.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// The most records at once.
    pub records: usize,
    /// The most bytes that they may take in a file from which all else was removed.
    pub bytes: u64,
    /// A file is rewritten once what is struck off takes more than this and more than what is
    /// owed: so no file grows beyond twice `bytes` and this.
    pub slack: u64,
}

impl Bounds {
    /// 65,536 records, as many as the keeper has grants; 32 MiB for them, which is 512 bytes each
    /// if they are as many; and 64 KiB of slack.
    pub const DEFAULT: Self = Self {
        records: 65_536,
        bytes: 32 << 20,
        slack: 64 << 10,
    };

    /// The most bytes of a file.
    pub(super) const fn file(&self) -> u64 {
        self.bytes
            .saturating_mul(2)
            .saturating_add(self.slack)
            .saturating_add(super::format::HEADER)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) owed: Arc<Owed>,
    pub(super) state: State,
}

/// All that is owed.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    bounds: Bounds,
    records: BTreeMap<u64, Record>,
    /// Higher than every number seen.
    next: u64,
    /// What the records take in a fresh file, at most.
    bytes: u64,
}

/// What takes changes back; the last goes first.
#[derive(Debug)]
pub(super) struct Undo {
    next: u64,
    before: Vec<(u64, Option<Record>)>,
}

impl Ledger {
    pub(super) const fn new(bounds: Bounds, next: u64) -> Self {
        Self {
            bounds,
            records: BTreeMap::new(),
            next,
            bytes: 0,
        }
    }

    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The numbers below `next` were used before.
    pub(super) fn raise_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// What the records take in a fresh file, at most.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn records(&self) -> &BTreeMap<u64, Record> {
        &self.records
    }

    /// All of them in their order, or none.
    pub(super) fn apply_all(&mut self, changes: &[Change]) -> Result<Undo, Refusal> {
        let mut undo = Undo {
            next: self.next,
            before: Vec::with_capacity(changes.len()),
        };
        for change in changes {
            let before = self.records.get(&change.id()).cloned();
            if let Err(refusal) = self.apply(change) {
                self.undo(undo);
                return Err(refusal);
            }
            undo.before.push((change.id(), before));
        }
        Ok(undo)
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        for (id, before) in undo.before.into_iter().rev() {
            self.set(id, before);
        }
        self.next = undo.next;
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        let id = change.id();
        if let Change::Owe(owed) = change {
            self.admit(owed)?;
            let state = State::Starting;
            let owed = Arc::clone(owed);
            self.next = id.saturating_add(1);
            self.set(id, Some(Record { owed, state }));
            return Ok(());
        }
        let record = self.records.get_mut(&id).ok_or(Refusal::Unknown)?;
        match change {
            Change::Until(..) if record.state == State::Stopping => Err(Refusal::Stopping),
            Change::Until(_, deadline) => {
                record.state = State::Open(*deadline);
                Ok(())
            }
            Change::Stopping(_) => {
                record.state = State::Stopping;
                Ok(())
            }
            Change::Strike(_) | Change::Owe(_) => {
                self.set(id, None);
                Ok(())
            }
        }
    }

    fn admit(&self, owed: &Owed) -> Result<(), Refusal> {
        let user = owed.user.as_ref().map_or(0, String::len);
        if owed.command.len() > MAX_COMMAND || owed.door.len() > MAX_DOOR || user > MAX_USER {
            Err(Refusal::TooLong)
        } else if owed.id < self.next || owed.id == u64::MAX {
            Err(Refusal::IdUsed)
        } else if self.records.len() >= self.bounds.records
            || self.bytes.saturating_add(entry::room(owed)) > self.bounds.bytes
        {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// The deadlines by the clocks of `now`; whether that changed any of another boot.
    pub(super) fn rebase(&mut self, now: &Moment) -> bool {
        let mut other_boot = false;
        for record in self.records.values_mut() {
            if let State::Open(deadline) = &mut record.state {
                other_boot |= deadline.at.boot != now.boot;
                *deadline = deadline.rebased(now);
            }
        }
        other_boot
    }

    fn set(&mut self, id: u64, record: Option<Record>) {
        let room = |record: &Record| entry::room(&record.owed);
        let new = record.as_ref().map_or(0, room);
        let old = match record {
            Some(record) => self.records.insert(id, record),
            None => self.records.remove(&id),
        };
        let old = old.as_ref().map_or(0, room);
        self.bytes = self.bytes.saturating_add(new).saturating_sub(old);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many stop commands are owed",
            Self::TooLong => "the command or a name is too long",
            Self::IdUsed => "the number of the grant was used before",
            Self::Unknown => "nothing is owed under this number",
            Self::Stopping => "the stop command is under way",
        })
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::moment::BootId;
    use std::time::Duration;

    fn owed(id: u64) -> Change {
        Change::Owe(Arc::new(Owed {
            id,
            door: "ssh".into(),
            source: [10, 0, 0, 1].into(),
            command: "close".into(),
            user: None,
        }))
    }

    fn until(id: u64) -> Change {
        let boot = BootId::from_bytes([1; 16]);
        let now = Moment {
            boot,
            boottime: 0,
            wall: 0,
        };
        Change::Until(id, Deadline::after(&now, Duration::from_secs(1)))
    }

    #[test]
    fn a_record_goes_from_owed_over_open_and_stopping_to_struck() {
        let mut ledger = Ledger::new(Bounds::DEFAULT, 7);
        let refused = [
            (owed(6), Refusal::IdUsed),
            (owed(u64::MAX), Refusal::IdUsed),
            (until(7), Refusal::Unknown),
            (Change::Strike(7), Refusal::Unknown),
        ];
        for (change, refusal) in refused {
            assert_eq!(ledger.apply(&change), Err(refusal));
        }
        for change in [owed(7), until(7), until(7), Change::Stopping(7)] {
            ledger.apply(&change).unwrap();
        }
        assert_eq!(ledger.apply(&until(7)), Err(Refusal::Stopping));
        assert!(ledger.bytes() > 0);
        ledger.apply(&Change::Strike(7)).unwrap();
        assert_eq!((ledger.records().len(), ledger.bytes()), (0, 0));
        assert_eq!(ledger.apply(&owed(7)), Err(Refusal::IdUsed));
    }

    #[test]
    fn of_changes_with_a_wrong_one_none_is_made() {
        let mut ledger = Ledger::new(Bounds::DEFAULT, 0);
        ledger.apply_all(&[owed(0), owed(1), until(1)]).unwrap();
        let before = ledger.records().clone();
        let changes = [
            Change::Strike(0),
            owed(2),
            Change::Stopping(1),
            Change::Stopping(0),
        ];
        assert_eq!(ledger.apply_all(&changes).unwrap_err(), Refusal::Unknown);
        assert_eq!(ledger.records(), &before);
        assert_eq!(ledger.next(), 2);
    }

    #[test]
    fn there_is_room_for_so_many_and_not_for_one_more() {
        let mut ledger = Ledger::new(
            Bounds {
                records: 3,
                ..Bounds::DEFAULT
            },
            0,
        );
        ledger.apply_all(&[owed(0), owed(1), owed(2)]).unwrap();
        assert_eq!(ledger.apply(&owed(3)), Err(Refusal::Full));
        ledger.apply(&Change::Strike(1)).unwrap();
        ledger.apply(&owed(3)).unwrap();

        let mut ledger = Ledger::new(
            Bounds {
                bytes: ledger.bytes(),
                ..Bounds::DEFAULT
            },
            0,
        );
        ledger.apply_all(&[owed(0), owed(1), owed(2)]).unwrap();
        assert_eq!(ledger.apply(&owed(3)), Err(Refusal::Full));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = |command: usize, door: usize, user: usize| {
            let mut ledger = Ledger::new(Bounds::DEFAULT, 0);
            ledger.apply(&Change::Owe(Arc::new(Owed {
                id: 0,
                door: "d".repeat(door),
                source: [0; 16].into(),
                command: "c".repeat(command),
                user: Some("u".repeat(user)),
            })))
        };
        assert_eq!(long(MAX_COMMAND, MAX_DOOR, MAX_USER), Ok(()));
        assert_eq!(long(MAX_COMMAND + 1, 1, 1), Err(Refusal::TooLong));
        assert_eq!(long(1, MAX_DOOR + 1, 1), Err(Refusal::TooLong));
        assert_eq!(long(1, 1, MAX_USER + 1), Err(Refusal::TooLong));
    }
}
