//! Why there is no journal, why something is not in it, and what its reader has to tell.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::format::{Foreign, VERSION};
use super::ledger::Refusal;
use crate::config_file::reason;

/// Why a journal cannot be opened. The file is as it was.
#[derive(Debug)]
pub enum JournalError {
    /// It cannot be opened or read.
    Io(io::Error),
    /// It is on a file system that cannot be written to.
    ReadOnly,
    /// Another process has it open.
    InUse,
    /// The path is a symbolic link.
    Link,
    /// The path is something else than a regular file.
    NotAFile,
    /// The file belongs to somebody else.
    Owner {
        /// To whom.
        uid: u32,
    },
    /// Others can write to the file.
    Writable {
        /// Its permissions.
        mode: u32,
    },
    /// The file does not begin as a journal does.
    NotAJournal,
    /// A later version has written it.
    Future {
        /// The version of the format.
        version: u32,
    },
    /// It is larger than any journal.
    TooLarge,
}

/// Why a change is not on the disk.
#[derive(Debug)]
pub enum AppendError {
    /// It makes no sense, or there is no room for it among what is owed; nothing was written.
    Refused(Refusal),
    /// The disk is full, or a limit on the size of files is reached.
    NoSpace,
    /// The file system cannot be written to (any more).
    ReadOnly,
    /// It cannot be written.
    Io(io::Error),
}

/// Something that a log should have.
#[derive(Debug)]
pub enum Note {
    /// The last entry had not been written to its end and was cut off. It was never confirmed.
    Torn {
        /// Its bytes.
        bytes: u64,
    },
    /// Something in the file cannot be read; what can was kept.
    Damaged {
        /// Bytes that are no entry.
        bytes: u64,
        /// Entries that say what cannot be.
        entries: u64,
        /// Where the file is kept as it was, if it is.
        kept: Option<PathBuf>,
    },
    /// The file should have been rewritten, and could not be.
    NotRewritten(AppendError),
}

impl From<Foreign> for JournalError {
    fn from(foreign: Foreign) -> Self {
        match foreign {
            Foreign::NotAJournal => Self::NotAJournal,
            Foreign::Future(version) => Self::Future { version },
        }
    }
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::NoSpace,
            Some(Errno::ROFS) => Self::ReadOnly,
            _ => Self::Io(error),
        }
    }
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&reason(error)),
            Self::ReadOnly => f.write_str(&reason(&Errno::ROFS.into())),
            Self::InUse => f.write_str("another process uses it"),
            Self::Link => f.write_str("it is a symbolic link"),
            Self::NotAFile => f.write_str("it is no regular file"),
            Self::Owner { uid } => write!(f, "it belongs to the user {uid}"),
            Self::Writable { mode } => {
                write!(f, "its mode {mode:04o} lets others write to it")
            }
            Self::NotAJournal => f.write_str("it is no journal of what is owed"),
            Self::Future { version } => write!(
                f,
                "it is of version {version}, and this program knows version {VERSION}"
            ),
            Self::TooLarge => f.write_str("it is larger than any journal of what is owed"),
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoSpace => f.write_str("there is no space for it"),
            Self::ReadOnly => f.write_str(&reason(&Errno::ROFS.into())),
            Self::Io(error) => f.write_str(&reason(error)),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { bytes } => write!(
                f,
                "the last entry was not written to its end; its {bytes} bytes were cut off"
            ),
            Self::Damaged {
                bytes,
                entries,
                kept,
            } => {
                write!(
                    f,
                    "damaged: {bytes} bytes cannot be read and {entries} entries make no sense; \
                     what else is owed was kept, and the file "
                )?;
                match kept {
                    Some(path) => write!(f, "as it was is {}", path.display()),
                    None => f.write_str("as it was could not be kept"),
                }
            }
            Self::NotRewritten(error) => write!(f, "it cannot be rewritten: {error}"),
        }
    }
}

impl std::error::Error for JournalError {}
impl std::error::Error for AppendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_one_that_became_read_only_are_told_apart() {
        let of = |errno: Errno| AppendError::from(io::Error::from(errno));
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(of(errno), AppendError::NoSpace));
        }
        assert!(matches!(of(Errno::ROFS), AppendError::ReadOnly));
        assert_eq!(of(Errno::ROFS).to_string(), "Read-only file system");
        assert!(matches!(of(Errno::IO), AppendError::Io(_)));
    }

    #[test]
    fn a_note_says_what_happened_and_where_the_file_is() {
        let note = Note::Damaged {
            bytes: 7,
            entries: 0,
            kept: Some("/var/lib/knockd/owed.damaged-1".into()),
        };
        assert_eq!(
            note.to_string(),
            "damaged: 7 bytes cannot be read and 0 entries make no sense; what else is owed was \
             kept, and the file as it was is /var/lib/knockd/owed.damaged-1"
        );
    }
}
