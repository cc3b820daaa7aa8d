//! Text in the format of `authorized_keys` to keys, and every mistake with its place.
//!
//! A line with a mistake gives no key; the others do. An option that is not known is a mistake:
//! it may be a restriction. Options for the session that comes after the knock are left to sshd.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::option::{Broken, Known, Written, take_apart};
use super::ring::{AuthorizedKey, KeyRing, Options};
use super::{AddressList, BadAddress, LocalTime, expiry};
use crate::door::{BadDoorName, DoorName};
use crate::ssh::{BadKey, KeyType, PublicKey, base64};

/// What was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Read {
    /// The lines without a mistake.
    pub keys: Vec<AuthorizedKey>,
    /// The mistakes, in order, at most [`Mistake::MAX`].
    pub mistakes: Vec<Mistake>,
}

/// A mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What.
    pub problem: Problem,
}

impl Mistake {
    /// The most mistakes that are told of one text.
    pub const MAX: usize = 1000;
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.problem)
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// Longer than [`LINE`].
    LongLine,
    /// Not UTF-8, or with a control character.
    NotText,
    /// More lines than are taken.
    TooMany,
    /// An option that neither sshd nor we know.
    UnknownOption(String),
    /// An option that wants a value in quotes.
    ValueMissing,
    /// An option that takes no value.
    ValueUnexpected,
    /// An option for the second time.
    Repeated,
    /// A `"` without a second one.
    Quote,
    /// Something between the options that belongs nowhere.
    Stray,
    /// In `from=`.
    Address(BadAddress),
    /// In `doors=`.
    Door(BadDoorName),
    /// In `expiry-time=`.
    Date,
    /// In `principals=`: nothing between the commas.
    Principal,
    /// `cert-authority` without `principals=`: there is no account here that it could mean.
    AuthorityForAll,
    /// `principals=` without `cert-authority`.
    PrincipalsAlone,
    /// No key after the options.
    NoKey,
    /// A certificate, where its key or authority should stand.
    IsCertificate,
    /// The key is not in base64.
    Base64,
    /// The key in base64 is of another kind than the word before it.
    KindDiffers,
    /// The key is none that is taken.
    Key(BadKey),
    /// In a revocation list: no serial number or range.
    Serial,
    /// In a revocation list: no `SHA256:` and 43 characters.
    Hash,
    /// In a revocation list: a hash by SHA-1, of which no key can be told.
    Sha1,
    /// In place of a revocation list: one that `ssh-keygen -k` has made.
    BinaryList,
    /// In a revocation list: none of its lines.
    NotARevocation,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::LongLine => return write!(f, "a line of more than {LINE} bytes"),
            Self::UnknownOption(name) => return write!(f, "`{name}` is no option that is known"),
            Self::Address(why) => return why.fmt(f),
            Self::Door(why) => return why.fmt(f),
            Self::Key(why) => return why.fmt(f),
            Self::NotText => "not text",
            Self::TooMany => "too many lines",
            Self::ValueMissing => "this option wants a value in quotes: option=\"value\"",
            Self::ValueUnexpected => "this option takes no value",
            Self::Repeated => "this option stands here twice",
            Self::Quote => "a quote without a second one",
            Self::Stray => "options are names or name=\"value\", with commas and no blanks between",
            Self::Date => "not a time: YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC",
            Self::Principal => "nothing between the commas",
            Self::AuthorityForAll => "cert-authority needs principals=\"name,…\"",
            Self::PrincipalsAlone => "principals= means nothing without cert-authority",
            Self::NoKey => "no public key here",
            Self::IsCertificate => "a certificate is sent with the knock: write its authority here",
            Self::Base64 => "the key is not base64",
            Self::KindDiffers => "the key is of another kind than the word before it",
            Self::Serial => "not a serial number above 0, or a range of them",
            Self::Hash => "not a fingerprint: SHA256: and 43 characters",
            Self::Sha1 => {
                "SHA-1 is not taken: write the public key here, or its SHA256 fingerprint"
            }
            Self::BinaryList => {
                "a list that ssh-keygen -k has made: name the text that it was made from"
            }
            Self::NotARevocation => {
                "a public key, a fingerprint, serial:, id: or hash: is expected here"
            }
        };
        f.write_str(text)
    }
}

/// The longest line, in bytes.
pub const LINE: usize = 16_384;

/// Reads a file. `file` goes into each key; `local` is the time zone of dates without a `Z`.
#[must_use]
pub fn read(text: &[u8], file: u16, local: LocalTime<'_>) -> Read {
    let mut report = Report::default();
    let mut keys = Vec::new();
    for line in report.lines(text) {
        let Some(content) = report.text(&line) else {
            continue;
        };
        if keys.len() == KeyRing::MAX {
            report.wrong(&line, 0..content.len(), Problem::TooMany);
            break;
        }
        let reader = Reader {
            line: &line,
            content,
            local,
            faults: 0,
        };
        if let Some((key, options, comment)) = reader.read(&mut report) {
            let line = line.number;
            keys.push(AuthorizedKey {
                key,
                options,
                comment,
                line,
                file,
            });
        }
    }
    Read {
        keys,
        mistakes: report.mistakes,
    }
}

/// A public key of its two words.
pub(super) fn key(name: &str, digits: &str) -> Result<PublicKey, Problem> {
    if name.ends_with("-cert-v01@openssh.com") {
        return Err(Problem::IsCertificate);
    }
    let blob = base64::decode(digits.as_bytes()).ok_or(Problem::Base64)?;
    let key = PublicKey::from_blob(&blob).map_err(Problem::Key)?;
    if key.kind().name() == name {
        Ok(key)
    } else {
        Err(Problem::KindDiffers)
    }
}

struct Reader<'a> {
    line: &'a Line<'a>,
    content: &'a str,
    local: LocalTime<'a>,
    faults: u32,
}

impl Reader<'_> {
    fn wrong(&mut self, report: &mut Report, span: Range<usize>, problem: Problem) {
        self.faults += 1;
        report.wrong(self.line, span, problem);
    }

    fn read(mut self, report: &mut Report) -> Option<(PublicKey, Options, Box<str>)> {
        let mut options = Options::default();
        let end = if starts_with_key(self.content) {
            0
        } else {
            self.options(&mut options, report)?
        };
        let rest = self.content.get(end..)?.trim_start_matches(BLANK);
        let start = self.content.len() - rest.len();
        let (name, rest) = rest.split_once(BLANK).unwrap_or((rest, ""));
        let rest = rest.trim_start_matches(BLANK);
        let (digits, comment) = rest.split_once(BLANK).unwrap_or((rest, ""));
        if name.is_empty() || digits.is_empty() {
            let at = start..self.content.len().max(start);
            self.wrong(report, at, Problem::NoKey);
            return None;
        }
        match key(name, digits) {
            Ok(key) if self.faults == 0 => Some((key, options, comment.trim().into())),
            Ok(_) => None,
            Err(problem) => {
                let at = self.content.len() - rest.len();
                let span = match problem {
                    Problem::IsCertificate | Problem::Key(BadKey::Kind) => {
                        start..start + name.len()
                    }
                    _ => at..at + digits.len(),
                };
                self.wrong(report, span, problem);
                None
            }
        }
    }

    /// Reads the options; returns where they end, or nothing if they cannot be taken apart.
    fn options(&mut self, options: &mut Options, report: &mut Report) -> Option<usize> {
        let mut written = Vec::new();
        let end = take_apart(self.content, |each| written.push(each));
        let mut seen = Seen::default();
        for each in &written {
            self.option(each, options, &mut seen, report);
        }
        match (seen.authority, seen.principals.take()) {
            (Some(_), Some((_, principals))) => options.authority = Some(principals),
            (Some(at), None) if !seen.bad_principals => {
                self.wrong(report, at, Problem::AuthorityForAll);
            }
            (None, Some((at, _))) => self.wrong(report, at, Problem::PrincipalsAlone),
            _ => {}
        }
        match end {
            Ok(end) => Some(end),
            Err(Broken::Quote(at)) => {
                self.wrong(report, at..at + 1, Problem::Quote);
                None
            }
            Err(Broken::Stray(at)) => {
                let length = self.content.get(at..).and_then(|rest| rest.chars().next());
                let end = at + length.map_or(0, char::len_utf8);
                self.wrong(report, at..end, Problem::Stray);
                None
            }
        }
    }

    fn option(
        &mut self,
        written: &Written,
        options: &mut Options,
        seen: &mut Seen,
        report: &mut Report,
    ) {
        let at = written.name.clone();
        let name = self.content.get(at.clone()).unwrap_or_default();
        let Some(known) = Known::from_name(name) else {
            return self.wrong(report, at, Problem::UnknownOption(name.to_string()));
        };
        if known.once() && seen.once.contains(&known) {
            return self.wrong(report, at, Problem::Repeated);
        }
        if known.once() {
            seen.once.push(known);
        }
        let (value_at, value) = match (&written.value, known.wants_value()) {
            (Some((at, value)), true) => (*at, value.as_str()),
            (None, false) => (at.end, ""),
            (None, true) => {
                seen.bad_principals |= known == Known::Principals;
                return self.wrong(report, at, Problem::ValueMissing);
            }
            (Some(_), false) => return self.wrong(report, at, Problem::ValueUnexpected),
        };
        let span = value_at..value_at + value.len();
        match known {
            Known::From => match AddressList::new(value) {
                Ok(list) => options.from = Some(list),
                Err(why) => {
                    let start = value_at + why.at;
                    self.wrong(report, start..start + why.length, Problem::Address(why));
                }
            },
            Known::ExpiryTime => match expiry::parse(value, self.local) {
                Some(seconds) => options.expires = Some(seconds),
                None => self.wrong(report, span, Problem::Date),
            },
            Known::CertAuthority => seen.authority = Some(at),
            Known::Principals => {
                let names: Names = value.split(',').map(Box::from).collect();
                if names.iter().any(|name| name.is_empty()) {
                    seen.bad_principals = true;
                    return self.wrong(report, span, Problem::Principal);
                }
                seen.principals = Some((at, names));
            }
            Known::VerifyRequired => options.verify_required = true,
            Known::NoTouchRequired => options.no_touch_required = true,
            Known::Doors => self.doors(value_at, value, options, report),
            Known::Session { .. } => {}
        }
    }

    fn doors(&mut self, start: usize, value: &str, options: &mut Options, report: &mut Report) {
        let mut doors = Vec::new();
        let mut at = start;
        for name in value.split(',') {
            match DoorName::new(name) {
                Ok(door) => doors.push(door),
                Err(why) => self.wrong(report, at..at + name.len(), Problem::Door(why)),
            }
            at += name.len() + 1;
        }
        options.doors = Some(doors.into_boxed_slice());
    }
}

type Names = Box<[Box<str>]>;

/// What the options of a line have said so far.
#[derive(Default)]
struct Seen {
    once: Vec<Known>,
    authority: Option<Range<usize>>,
    principals: Option<(Range<usize>, Names)>,
    bad_principals: bool,
}

const BLANK: [char; 2] = [' ', '\t'];

/// Whether a line begins with its key: a word that looks like a key's kind, and then base64.
fn starts_with_key(content: &str) -> bool {
    let mut words = super::option::words(content);
    let (first, second) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    KeyType::from_name(first).is_some()
        || second.starts_with("AAAA")
            && Known::from_name(first).is_none()
            && !first.contains([',', '=', '"'])
}

/// A line of a text, without its end and the blanks around it.
pub(super) struct Line<'a> {
    bytes: &'a [u8],
    /// Where it begins in the text.
    at: usize,
    number: u32,
}

/// Collects mistakes.
#[derive(Default)]
pub(super) struct Report {
    mistakes: Vec<Mistake>,
}

impl Report {
    /// The lines that say something.
    pub(super) fn lines<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut next = 0;
        let mut number = 0;
        text.split(|byte| *byte == b'\n').filter_map(move |bytes| {
            let at = next;
            next += bytes.len() + 1;
            number += 1;
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            let blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
            let lead = bytes.iter().take_while(blank).count();
            let trail = bytes.iter().skip(lead).rev().take_while(blank).count();
            let bytes = bytes.get(lead..bytes.len() - trail)?;
            let says = !bytes.is_empty() && bytes.first() != Some(&b'#');
            says.then_some(Line {
                bytes,
                at: at + lead,
                number,
            })
        })
    }

    /// The line as text, if it is short enough and text.
    pub(super) fn text<'a>(&mut self, line: &Line<'a>) -> Option<&'a str> {
        let problem = if line.bytes.len() > LINE {
            Problem::LongLine
        } else {
            match core::str::from_utf8(line.bytes) {
                Ok(text) if !text.chars().any(|c| c.is_control() && c != '\t') => {
                    return Some(text);
                }
                _ => Problem::NotText,
            }
        };
        self.wrong(line, 0..line.bytes.len(), problem);
        None
    }

    /// Notes a mistake at bytes of the line.
    pub(super) fn wrong(&mut self, line: &Line<'_>, span: Range<usize>, problem: Problem) {
        if self.mistakes.len() >= Mistake::MAX {
            return;
        }
        let before = line.bytes.get(..span.start).unwrap_or_default();
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        self.mistakes.push(Mistake {
            span: line.at + span.start..line.at + span.end,
            line: line.number,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            problem,
        });
    }

    /// Notes that the whole is a binary list.
    pub(super) fn binary(&mut self, span: Range<usize>) {
        self.mistakes.push(Mistake {
            span,
            line: 1,
            column: 1,
            problem: Problem::BinaryList,
        });
    }

    pub(super) fn into_result(self) -> Result<(), Vec<Mistake>> {
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(self.mistakes)
        }
    }
}
