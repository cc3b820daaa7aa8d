//! Codes on paper: which there are, in the file `spa-codes`, and which of them are spent, in
//! `spa-codes-spent`.
//!
//! Each file has one writer, so that none waits for the other: `knockctl codes` replaces the first whole,
//! and the daemon adds to the second. Neither has a code in it, only keyed hashes. A code that is spent
//! is on the disk as such before anything is done for it: a power cut between costs the code, and never
//! lets it count twice.

mod book;
mod spent;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use knock_spa::DoorName;
use knock_spa::code::{Code, Sieve};

use super::people::{Look, look};
use crate::config_file::reason;
use crate::log::{Level, Line};

pub use book::{Book, Entry, Lock};
pub use spent::{Spent, parse as parse_spent, read as read_spent, render as render_spent};

/// The name of the file of codes, in `state_dir`.
pub const FILE: &str = "spa-codes";

/// The name of the file of those that are spent.
pub const SPENT_FILE: &str = "spa-codes-spent";

/// Why there are no codes.
#[derive(Debug)]
pub enum CodesError {
    /// A file cannot be read or written.
    Io(PathBuf, io::Error),
    /// It is not what was written.
    Malformed(PathBuf),
    /// Others than its owner can read it.
    Open(PathBuf, u32),
    /// It is of an account that is neither root's nor ours.
    Foreign(PathBuf, u32),
    /// Some other process has the lock.
    Busy(PathBuf),
}

/// The codes as the daemon has them.
#[derive(Debug)]
pub(crate) struct Codes {
    folder: PathBuf,
    /// How the file looked when it was read.
    seen: Option<Look>,
    book: Book,
    spent: spent::Register,
}

/// What somebody has sent.
#[derive(Debug)]
pub(crate) enum Found {
    /// None of ours, or one that is not kept any more.
    Unknown,
    /// One of ours, which was used before.
    Spent(Spent, DoorName),
    /// One of ours, for this door.
    Good(Entry),
}

/// That a code was spent, durably: only who has this opens a door for it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Receipt {
    /// The door that it opens.
    pub(crate) door: DoorName,
    /// How many codes are left for it.
    pub(crate) left: usize,
}

impl Codes {
    /// The codes in `folder` at `now`, in seconds since 1970. What is worth saying.
    ///
    /// # Errors
    /// If it cannot be told which are spent, or not be written down: then none may be taken.
    pub(crate) fn open(folder: &Path, now: u64) -> Result<(Self, Vec<Line>), CodesError> {
        let mut lines = Vec::new();
        let seen = look(&folder.join(FILE));
        let book = read(folder, &mut lines);
        let (spent, lost) = spent::Register::open(folder, &book, now)?;
        if lost && !book.entries.is_empty() {
            let text = "which codes on paper are spent could not be read: all that there are count as \
                        spent (make new ones: knockctl codes new)";
            lines.push(Line::new(Level::Error, "codes", text));
        }
        let codes = Self {
            folder: folder.to_owned(),
            seen,
            book,
            spent,
        };
        lines.extend(codes.hello());
        Ok((codes, lines))
    }

    /// Reads the file of codes anew, if it has changed. What is worth saying if so.
    pub(crate) fn follow(&mut self) -> Option<Vec<Line>> {
        let now = look(&self.folder.join(FILE));
        if now == self.seen {
            return None;
        }
        self.seen = now;
        let mut lines = Vec::new();
        self.book = read(&self.folder, &mut lines);
        if lines.is_empty() {
            let none = || Line::new(Level::Info, "codes", "there are no codes on paper any more");
            lines.push(self.hello().unwrap_or_else(none));
        }
        Some(lines)
    }

    /// What the listener may know; `None` if there is no code, spent or not.
    pub(crate) fn sieve(&self) -> Option<Sieve> {
        let some = !self.book.entries.is_empty();
        some.then(|| Sieve::new(&self.book.salt, self.unspent().map(|entry| &entry.hash)))
    }

    /// What this is.
    pub(crate) fn find(&self, code: &Code) -> Found {
        let hash = code.hash(&self.book.salt);
        let hashes: Vec<_> = self.book.entries.iter().map(|entry| entry.hash).collect();
        let entry = hash
            .find(&hashes)
            .and_then(|at| self.book.entries.get(at).cloned());
        let Some(entry) = entry else {
            return Found::Unknown;
        };
        match self.spent.find(&entry.hash) {
            Some(spent) => Found::Spent(*spent, entry.door),
            None => Found::Good(entry),
        }
    }

    /// Spends a code for `by`. When this returns, that is on the disk.
    ///
    /// # Errors
    /// If it is not: then nothing may be done for it, and it can be tried again.
    pub(crate) fn spend(&mut self, entry: Entry, by: IpAddr, at: u64) -> io::Result<Receipt> {
        let spent = Spent {
            hash: entry.hash,
            at,
            by,
        };
        self.spent.put(spent, &self.book)?;
        let of_door = |other: &&Entry| other.door == entry.door;
        Ok(Receipt {
            left: self.unspent().filter(of_door).count(),
            door: entry.door,
        })
    }

    /// How many there are that are not spent.
    pub(crate) fn left(&self) -> usize {
        self.unspent().count()
    }

    fn unspent(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.book.entries.iter();
        entries.filter(|entry| self.spent.find(&entry.hash).is_none())
    }

    fn hello(&self) -> Option<Line> {
        let left = self.left();
        (left > 0).then(|| {
            let text = match left {
                1 => "1 code on paper is taken".to_owned(),
                more => format!("{more} codes on paper are taken"),
            };
            Line::new(Level::Info, "codes", text)
        })
    }
}

/// The codes, or none if they are not to be had: they let nobody in then.
fn read(folder: &Path, lines: &mut Vec<Line>) -> Book {
    match Book::load(folder) {
        Ok(book) => book.unwrap_or_default(),
        Err(error) => {
            let text = format!("{error}: no code on paper is taken");
            lines.push(Line::new(Level::Error, "codes", text));
            Book::default()
        }
    }
}

impl fmt::Display for CodesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {}", path.display(), reason(error)),
            Self::Malformed(path) => write!(
                f,
                "{}: not what `knockctl codes` writes (knockctl codes revoke all begins anew)",
                path.display()
            ),
            Self::Open(path, mode) => write!(
                f,
                "{}: others can read or change it (mode {mode:04o}): chmod 600",
                path.display()
            ),
            Self::Foreign(path, uid) => {
                write!(f, "{}: it belongs to user {uid}", path.display())
            }
            Self::Busy(path) => {
                write!(f, "{}: another `knockctl codes` is at work", path.display())
            }
        }
    }
}

impl std::error::Error for CodesError {}
