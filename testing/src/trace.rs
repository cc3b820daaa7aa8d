//! The notation of what a daemon reported, and how it is read out of a log.
//!
//! | word | log line |
//! |---|---|
//! | `A.2` | `10.77.0.1: A: Stage 2` |
//! | `A!` | `10.77.0.1: A: OPEN SESAME` |
//! | `A?2` | `10.77.0.1: A: sequence timeout (stage 2)` |
//!
//! `@4` after it: from 10.77.0.4 instead (in a case over IPv6: fd77::4); or any literal address.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use crate::Result;
use crate::script::address;

/// One thing that a daemon reported of a door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The door's name.
    pub door: String,
    /// Who knocked.
    pub source: IpAddr,
    /// What happened.
    pub what: What,
}

/// What happened at a door.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// The step with this number was knocked.
    Stage(u8),
    /// The sequence was complete.
    Opening,
    /// Time was over after this many steps.
    Timeout(u8),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(n) => write!(f, ".{n}"),
            Self::Opening => f.write_str("!"),
            Self::Timeout(n) => write!(f, "?{n}"),
        }
    }
}

/// Reads marks; `v6` says which family bare numbers and missing sources are of.
///
/// # Errors
/// If a word is not of the notation.
pub fn parse(text: &str, v6: bool) -> Result<Vec<Mark>> {
    text.split_whitespace()
        .map(|word| parse_mark(word, v6).ok_or_else(|| format!("`{word}` is no mark").into()))
        .collect()
}

fn parse_mark(word: &str, v6: bool) -> Option<Mark> {
    let (what, source) = word.split_once('@').unwrap_or((word, "1"));
    let source = match source.parse::<u8>() {
        Ok(n) => address::number(n, v6),
        Err(_) => source.parse().ok()?,
    };
    let at = what.rfind(['.', '!', '?'])?;
    let (door, what) = what.split_at(at);
    let what = match what.split_at(1) {
        (".", n) => What::Stage(n.parse().ok()?),
        ("?", n) => What::Timeout(n.parse().ok()?),
        ("!", "") => What::Opening,
        _ => return None,
    };
    Some(Mark {
        door: door.into(),
        source,
        what,
    })
}

/// Marks in their notation, on one line.
#[must_use]
pub fn write(marks: &[Mark], v6: bool) -> String {
    let mut text = String::new();
    for mark in marks {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        write!(text, "{separator}{}{}", mark.door, mark.what).unwrap_or_default();
        if mark.source != address::number(1, v6) {
            let short = (4..=255).find(|n| address::number(*n, v6) == mark.source);
            match short {
                Some(n) => write!(text, "@{n}"),
                None => write!(text, "@{}", mark.source),
            }
            .unwrap_or_default();
        }
    }
    text
}

/// A line of a log without its time stamp, or `None` for a blank one.
#[must_use]
pub fn log_text(line: &str) -> Option<&str> {
    let text = match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").map_or(line, |(_, text)| text),
        None => line,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The marks of a log, in its order; lines that are none are left out.
pub fn from_log<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Mark> {
    lines.into_iter().filter_map(from_line).collect()
}

fn from_line(line: &str) -> Option<Mark> {
    let (source, rest) = log_text(line)?.split_once(": ")?;
    // With a name that was looked up: `127.0.0.1 (localhost)`.
    let source = source.split(' ').next()?.parse().ok()?;
    let (door, what) = rest.rsplit_once(": ")?;
    let what = if what == "OPEN SESAME" {
        What::Opening
    } else if let Some(n) = what.strip_prefix("Stage ") {
        What::Stage(n.parse().ok()?)
    } else {
        let n = what.strip_prefix("sequence timeout (stage ")?;
        What::Timeout(n.strip_suffix(')')?.parse().ok()?)
    };
    Some(Mark {
        door: door.into(),
        source,
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_log_are_its_marks() {
        let log = "[2026-11-22 03:00] starting up, listening on server0\n\
                   [2026-11-22 03:00] 10.77.0.1: A: Stage 1\n\
                   [2026-11-22 03:00] 10.77.0.4 (some.host): A: OPEN SESAME\n\
                   [2026-11-22 03:00] A: running command: echo\n\n\
                   [2026-11-22 03:00] fd77::1: A: sequence timeout (stage 2)\n";
        let marks = from_log(log.lines());
        assert_eq!(write(&marks, false), "A.1 A!@4 A?2@fd77::1");
        assert_eq!(parse("A.1 A!@4 A?2@fd77::1", false).unwrap(), marks);
    }

    #[test]
    fn what_is_no_mark_is_refused() {
        for word in ["A", "A!2", ".x", "A.1@nowhere"] {
            assert!(parse(word, false).is_err(), "{word}");
        }
    }
}
