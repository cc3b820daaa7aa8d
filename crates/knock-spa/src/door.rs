//! The name of a door.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use core::fmt;

/// A door's name as a request carries it: 1 to 32 printable ASCII characters, none of them a
/// blank, a comma, a quote or a backslash, so that it can stand in a list of `authorized_keys`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DoorName(Box<str>);

impl DoorName {
    /// The longest name, in bytes.
    pub const MAX: usize = 32;

    /// Takes a name.
    ///
    /// # Errors
    /// If it is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self, BadDoorName> {
        if name.is_empty() || name.len() > Self::MAX {
            return Err(BadDoorName::Length(name.len()));
        }
        match name.chars().find(|c| !Self::may_have(*c)) {
            Some(other) => Err(BadDoorName::Character(other)),
            None => Ok(Self(name.to_owned().into_boxed_str())),
        }
    }

    const fn may_have(c: char) -> bool {
        c.is_ascii_graphic() && !matches!(c, ',' | '"' | '\'' | '\\')
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DoorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DoorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no door's name.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadDoorName {
    /// It has so many bytes, which is none or more than [`DoorName::MAX`].
    Length(usize),
    /// It has this character.
    Character(char),
}

impl fmt::Display for BadDoorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(0) => f.write_str("a door has a name"),
            Self::Length(length) => write!(f, "{length} bytes, at most {}", DoorName::MAX),
            Self::Character(c) => write!(f, "{c:?} cannot be part of a door's name"),
        }
    }
}

impl core::error::Error for BadDoorName {}
