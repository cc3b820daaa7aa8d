//! The file of codes. Text: `salt BASE64`, then a line for each, `code BASE64 DOOR SECONDS`: its hash,
//! the door, and when it was made, in seconds since 1970.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use knock_spa::DoorName;
use knock_spa::code::{Code, CodeHash, CodeSalt};
use knock_spa::rand_core::Rng as _;
use nix::unistd::geteuid;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::super::SystemRng;
use super::super::base64::{decode, encode};
use super::super::replace::{make_folder, replace};
use super::{CodesError, FILE};

/// More than the most codes take.
const MOST: u64 = 16_384;

/// Whoever changes the file has this one locked (flock(2)).
const LOCK: &str = "spa-codes.lock";

/// The codes that there are, spent or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Book {
    /// The key of the hashes.
    pub salt: CodeSalt,
    /// At most [`CodeHash::MAX`].
    pub entries: Vec<Entry>,
}

/// A code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// What is kept of it.
    pub hash: CodeHash,
    /// The door that it opens.
    pub door: DoorName,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

/// Nobody else changes the file as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is locked as long as it is open")] File);

/// No code, and a salt of its own for those that come.
impl Default for Book {
    fn default() -> Self {
        let mut salt = [0; 32];
        SystemRng.fill_bytes(&mut salt);
        Self {
            salt: CodeSalt(salt),
            entries: Vec::new(),
        }
    }
}

impl Book {
    /// The codes in `folder`; `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, is malformed, or is open to others.
    pub fn load(folder: &Path) -> Result<Option<Self>, CodesError> {
        let path = folder.join(FILE);
        let io = |error| CodesError::Io(path.clone(), error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let metadata = file.metadata().map_err(io)?;
        let (mode, uid) = (metadata.mode() & 0o7777, metadata.uid());
        if mode & 0o077 != 0 {
            return Err(CodesError::Open(path, mode));
        }
        if uid != 0 && uid != geteuid().as_raw() {
            return Err(CodesError::Foreign(path, uid));
        }
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).map_err(io)?;
        let book = Self::read(&text).ok_or(CodesError::Malformed(path))?;
        Ok(Some(book))
    }

    /// Writes the file, durably and at once.
    ///
    /// # Errors
    /// If it cannot be written; then the one before is there.
    pub fn save(&self, folder: &Path) -> Result<(), CodesError> {
        replace(folder, FILE, self.text().as_bytes())
            .map(drop)
            .map_err(|error| CodesError::Io(folder.join(FILE), error))
    }

    /// Keeps the hashes of `count` new codes for `door`, made at `now` in seconds since 1970; `None` if
    /// there would be more than [`CodeHash::MAX`].
    #[must_use]
    pub fn add(&mut self, count: usize, door: &DoorName, now: u64) -> Option<Vec<Code>> {
        if self.entries.len().saturating_add(count) > CodeHash::MAX {
            return None;
        }
        let codes: Vec<_> = (0..count).map(|_| Code::generate(&mut SystemRng)).collect();
        self.entries.extend(codes.iter().map(|code| Entry {
            hash: code.hash(&self.salt),
            door: door.clone(),
            made: now,
        }));
        Some(codes)
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("salt {}\n", encode(&self.salt.0));
        for Entry { hash, door, made } in &self.entries {
            text.push_str(&format!(
                "code {} {} {made}\n",
                encode(&hash.0),
                door.as_str()
            ));
        }
        text
    }

    /// What the file with this text says; `None` if [`Book::text`] would not have written it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let salt = decode(lines.next()?.strip_prefix("salt ")?)?;
        let book = Self {
            salt: CodeSalt(salt.try_into().ok()?),
            entries: lines.map(read_entry).collect::<Option<_>>()?,
        };
        (book.text() == text && book.entries.len() <= CodeHash::MAX).then_some(book)
    }
}

fn read_entry(line: &str) -> Option<Entry> {
    let words: Vec<_> = line.split(' ').collect();
    let ["code", hash, door, made] = words[..] else {
        return None;
    };
    Some(Entry {
        hash: CodeHash(decode(hash)?.try_into().ok()?),
        door: DoorName::new(door).ok()?,
        made: made.parse().ok()?,
    })
}

impl Lock {
    /// Waits for nobody.
    ///
    /// # Errors
    /// If another process has it, or there can be none.
    pub fn take(folder: &Path) -> Result<Self, CodesError> {
        let path = folder.join(LOCK);
        let io = |error| CodesError::Io(path.clone(), error);
        make_folder(folder).map_err(io)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(CodesError::Busy(path)),
            Err(errno) => Err(io(errno.into())),
        }
    }
}
