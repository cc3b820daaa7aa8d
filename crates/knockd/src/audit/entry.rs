//! A line of the trail.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::events::Event;

/// The longest line in bytes; none that is written comes near.
pub const MAX_LINE: usize = 1 << 20;

/// So many names of doors are in one [`Change`], of each kind.
const MAX_NAMES: usize = 256;

/// A SHA-256 hash; in text 64 hexadecimal digits.
#[derive(Copy, Clone, Eq, Hash, PartialEq)]
pub struct Digest([u8; 32]);

/// A line of the trail. In JSON, what does not apply is left out.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from 1 on, without gaps, over all files and starts.
    pub seq: u64,
    /// The hash of the line before, without its end of line; of the first one [`Digest::NONE`].
    pub prev: Digest,
    /// When it was written, by the wall clock.
    pub time: Timestamp,
    /// What it tells.
    #[serde(flatten)]
    pub what: What,
}

/// Of a line, what the chain is made of.
#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Link {
    /// [`Entry::seq`].
    pub seq: u64,
    /// [`Entry::prev`].
    pub prev: Digest,
}

/// What a line tells.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A file begins.
    File(NewFile),
    /// Something has happened; as at the control socket.
    Event(Box<Event>),
    /// The daemon goes by a configuration from now on.
    Config(Change),
    /// Something is not as it was meant with the trail itself.
    Fault(Fault),
}

/// The first line of a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NewFile {
    /// The version of the format: 1.
    pub version: u32,
    /// Where the line before this one is, unless this is the first of all; a file may have been
    /// renamed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Which configuration is in force, and what of it is new.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    /// The hash of the file that was in force before; none at a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// The hash of the file that is in force now.
    pub new: Digest,
    /// How many doors there are.
    pub doors: u64,
    /// Names of doors that were not there before; at most 256, as of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Names of doors that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Names of doors that are others than they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Whether `[options]` say something else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub options: bool,
}

/// What is not as it was meant with the trail itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// So many lines could not be written before this one.
    Lost(u64),
    /// So many refusals came faster than they are written down.
    LeftOut(u64),
    /// The last line had not been written to its end; it was cut off, and began so.
    Torn(String),
    /// So many lines at the end were gone, or one was not as it was written.
    Missing(u64),
    /// Somebody else has changed the length of the file from `was` to `is` bytes.
    Resized {
        /// Before.
        was: u64,
        /// Now.
        is: u64,
    },
    /// The file of the last line's hash was not there, or said nothing: whether the end was whole is
    /// not known.
    NoHead,
    /// What stood at the end is no line of a trail.
    Foreign,
}

impl Digest {
    /// What comes before the first line.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Entry {
    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        // Texts, numbers and lists of them always have a form in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Change {
    /// From the doors `old`, by names, to `new`; each with whether it is among the others.
    #[must_use]
    pub fn between<T: PartialEq>(old: &[(&str, &T)], new: &[(&str, &T)]) -> Self {
        let has = |all: &[(&str, &T)], name: &str| all.iter().any(|(other, _)| *other == name);
        let names = |all: &[(&str, &T)], keep: &dyn Fn(&(&str, &T)) -> bool| {
            let mut names: Vec<String> = Vec::new();
            for one in all.iter().filter(|one| keep(one)) {
                if names.len() < MAX_NAMES && names.iter().all(|name| name != one.0) {
                    names.push(one.0.to_owned());
                }
            }
            names
        };
        Self {
            old: None,
            new: Digest::NONE,
            doors: u64::try_from(new.len()).unwrap_or(u64::MAX),
            added: names(new, &|(name, _)| !has(old, name)),
            removed: names(old, &|(name, _)| !has(new, name)),
            changed: names(new, &|one| has(old, one.0) && !old.contains(one)),
            options: false,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is no hash.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NoDigest;

impl fmt::Display for NoDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash is 64 hexadecimal digits")
    }
}

impl std::error::Error for NoDigest {}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let mut bytes = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(NoDigest);
        };
        if pairs.len() != bytes.len() {
            return Err(NoDigest);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let value = digit(*high).zip(digit(*low)).map(|(h, l)| h * 16 + l);
            let value = value.and_then(|value| u8::try_from(value).ok());
            *byte = value.ok_or(NoDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(lines) => write!(f, "{lines} lines could not be written before this one"),
            Self::LeftOut(count) => write!(f, "{count} refusals came too fast and are left out"),
            Self::Torn(text) => write!(
                f,
                "a line was not written to its end ({} bytes) and was cut off",
                text.len()
            ),
            Self::Missing(0) => f.write_str("the line before it was not as it was written"),
            Self::Missing(lines) => write!(f, "{lines} lines at the end were gone"),
            Self::Resized { was, is } => write!(
                f,
                "somebody has changed the length of the file from {was} to {is} bytes"
            ),
            Self::NoHead => f.write_str("there was no hash to compare the end with"),
            Self::Foreign => f.write_str("what stood at the end was no line of a trail"),
        }
    }
}
