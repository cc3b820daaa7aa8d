//! Whether a trail is as it was written. Pure: lines in, breaks out.

use std::fmt;

use serde::Deserialize;

use super::entry::{Digest, Link, NewFile};
use super::head::Head;

/// Where a line stands.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The number of its file, from 0.
    pub file: usize,
    /// Its number in the file, from 1.
    pub line: u64,
}

/// Something that shows that a trail is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Break {
    /// It is no line of a trail.
    NotALine,
    /// It has no end of line: it was not written to its end, or cut.
    Torn,
    /// The line before this one is not as it was written, or this one is not: this one names a hash
    /// that the other does not have.
    Altered,
    /// Lines with these numbers should stand before this one.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The same line as the one before.
    Doubled,
    /// It has the number `seq`, which does not follow `after`.
    OutOfOrder {
        /// Its own.
        seq: u64,
        /// That of the line before.
        after: u64,
    },
    /// The first line of a file says that it begins, the first of all also that it follows nothing.
    FalseStart,
    /// The trail should go on to this number, and ends before.
    CutOff {
        /// The number of the last line that is there.
        last: u64,
        /// That of the one that should be.
        wanted: u64,
    },
    /// No line has the hash that was noted.
    NotNoted(Digest),
}

/// Looks at the lines of a trail, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    last: Option<(Link, Digest)>,
    first: Option<Link>,
    lines: u64,
    /// What the daemon has kept apart, and whether the line was there.
    head: Option<(Head, bool)>,
    /// Hashes that were noted elsewhere, and whether their lines were there.
    noted: Vec<(Digest, bool)>,
    /// Lines that are no lines stand between.
    unsure: bool,
}

impl Verifier {
    /// Nothing was looked at. There is to be a line with the hash of `head`, which the daemon has
    /// kept apart, and one with each hash of `noted`.
    pub fn new(head: Option<Head>, noted: impl IntoIterator<Item = Digest>) -> Self {
        let head = head.filter(|head| head.seq > 0);
        Self {
            head: head.map(|head| (head, false)),
            noted: noted.into_iter().map(|digest| (digest, false)).collect(),
            ..Self::default()
        }
    }

    /// The next line, without its end, and whether it is the first of a file. What shows.
    pub fn line(&mut self, bytes: &[u8], is_first: bool) -> Option<Break> {
        self.lines = self.lines.saturating_add(1);
        let digest = Digest::of(bytes);
        for (noted, found) in &mut self.noted {
            *found |= *noted == digest;
        }
        if let Some((head, found)) = &mut self.head {
            *found |= head.digest == digest;
        }
        let Ok(link) = serde_json::from_slice::<Link>(bytes) else {
            self.unsure = true;
            return Some(Break::NotALine);
        };
        let before = self.last.replace((link, digest));
        let unsure = std::mem::take(&mut self.unsure);
        let begins = !is_first || serde_json::from_slice::<Beginning>(bytes).is_ok();
        let Some((last, its)) = before else {
            self.first = Some(link);
            let is_true = (link.seq == 1) == (link.prev == Digest::NONE) && link.seq > 0;
            return (!is_true || !begins).then_some(Break::FalseStart);
        };
        match link.seq.checked_sub(last.seq) {
            Some(1) if link.prev == its => (!begins).then_some(Break::FalseStart),
            Some(1) => Some(Break::Altered),
            Some(0) if digest == its => Some(Break::Doubled),
            // One of those is there, and was told.
            Some(2) if unsure => None,
            Some(more) if more > 1 => Some(Break::Missing {
                first: last.seq.saturating_add(1),
                last: link.seq.saturating_sub(1),
            }),
            _ => Some(Break::OutOfOrder {
                seq: link.seq,
                after: last.seq,
            }),
        }
    }

    /// There are no more lines. What shows then.
    #[must_use]
    pub fn finish(&self) -> Vec<Break> {
        let last = self.last.map_or(0, |(link, _)| link.seq);
        let head = self.head.as_ref().filter(|(_, found)| !found);
        let head = head.map(|(head, _)| match head.seq {
            wanted if wanted > last => Break::CutOff { last, wanted },
            _ => Break::NotNoted(head.digest),
        });
        let noted = self.noted.iter().filter(|(_, found)| !found);
        let noted = noted.map(|(digest, _)| Break::NotNoted(*digest));
        head.into_iter().chain(noted).collect()
    }

    /// How many lines there were, and the numbers of the first and the last.
    #[must_use]
    pub fn extent(&self) -> (u64, Option<(u64, u64)>) {
        let ends = self.first.zip(self.last);
        (
            self.lines,
            ends.map(|(first, (last, _))| (first.seq, last.seq)),
        )
    }

    /// The hash of the last line.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.last.map(|(_, digest)| digest)
    }
}

/// A line that says that a file begins.
#[derive(Deserialize)]
struct Beginning {
    #[serde(rename = "file")]
    _file: NewFile,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALine => f.write_str("this is no line of an audit trail"),
            Self::Torn => f.write_str("this line was not written to its end, or was cut"),
            Self::Altered => f.write_str(
                "the line before, or this one, was altered: this one names another hash than that has",
            ),
            Self::Missing { first, last } if first == last => {
                write!(f, "line number {first} is missing before this one")
            }
            Self::Missing { first, last } => {
                write!(f, "lines number {first} to {last} are missing before this one")
            }
            Self::Doubled => f.write_str("the same line stands here twice"),
            Self::OutOfOrder { seq, after } => {
                write!(f, "line number {seq} stands after number {after}: out of order, or doubled")
            }
            Self::FalseStart => f.write_str("no file of a trail begins so: lines before this one are missing"),
            Self::CutOff { last, wanted } => write!(
                f,
                "the end was cut off: the last line here is number {last}, and number {wanted} was written"
            ),
            Self::NotNoted(digest) => write!(
                f,
                "no line has the hash {digest}: what was noted is not here, or was altered"
            ),
        }
    }
}
