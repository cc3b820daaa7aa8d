//! A sentence about a process, and how good or bad it is.

use serde::Serialize;

use super::process::{Role, Seen};

const AS_ROOT: &str = "run this as root";

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// Nothing is wrong, but it could be better, or should be known.
    Note,
    /// It could not be read, so nobody knows.
    Unknown,
    Amiss,
}

/// One sentence about one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) role: Role,
    pub(super) text: String,
    /// What to do about it.
    pub(super) help: Option<&'static str>,
}

impl Verdict {
    pub(super) fn is_well(&self) -> bool {
        matches!(self.level, Level::Ok | Level::Note)
    }
}

/// Makes verdicts about a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge(pub(super) Role);

impl Judge {
    pub(super) fn ok(self, text: impl Into<String>) -> Verdict {
        self.verdict(Level::Ok, text, None)
    }

    pub(super) fn note(self, text: impl Into<String>, help: &'static str) -> Verdict {
        self.verdict(Level::Note, text, Some(help))
    }

    pub(super) fn unknown(self, text: impl Into<String>, help: &'static str) -> Verdict {
        self.verdict(Level::Unknown, text, Some(help))
    }

    pub(super) fn amiss(self, text: impl Into<String>, help: &'static str) -> Verdict {
        self.verdict(Level::Amiss, text, Some(help))
    }

    pub(super) fn unread<T>(self, what: &str, seen: &Seen<T>) -> Verdict {
        let reason = match seen {
            Seen::Unread { reason } => reason,
            Seen::Read(_) => "no reason",
        };
        self.unknown(format!("its {what} cannot be read: {reason}"), AS_ROOT)
    }

    fn verdict(self, level: Level, text: impl Into<String>, help: Option<&'static str>) -> Verdict {
        Verdict {
            level,
            role: self.0,
            text: text.into(),
            help,
        }
    }
}
