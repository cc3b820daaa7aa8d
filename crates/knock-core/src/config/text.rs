//! Text that knows its place in the file.

use core::ops::Range;

pub(super) use crate::sequence::is_blank;

/// A part of the file, and where it starts.
#[derive(Copy, Clone, Debug)]
pub(super) struct Text<'a> {
    /// The characters.
    pub(super) str: &'a str,
    /// The offset of the first byte in the file.
    pub(super) at: usize,
}

impl<'a> Text<'a> {
    /// The bytes of the file that it is.
    pub(super) const fn span(self) -> Range<usize> {
        self.at..self.at + self.str.len()
    }

    /// Without blanks around it.
    pub(super) fn trim(self) -> Self {
        let front = self.str.trim_start_matches(is_blank);
        Self {
            str: front.trim_end_matches(is_blank),
            at: self.at + (self.str.len() - front.len()),
        }
    }

    /// What is before and after the first `separator`, an ASCII character.
    pub(super) fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.str.split_once(separator)?;
        Some((
            Self {
                str: before,
                at: self.at,
            },
            Self {
                str: after,
                at: self.at + before.len() + separator.len_utf8(),
            },
        ))
    }

    /// The parts between commas, trimmed; one empty part if it is empty.
    pub(super) fn elements(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        core::iter::from_fn(move || {
            let text = rest?;
            let (element, tail) = match text.split_once(',') {
                Some((element, tail)) => (element, Some(tail)),
                None => (text, None),
            };
            rest = tail;
            Some(element.trim())
        })
    }

    /// What is before the first `#`, trimmed, and the comment from there on.
    pub(super) fn split_comment(self) -> (Self, Option<Self>) {
        let Some(hash) = self.str.find('#') else {
            return (self, None);
        };
        let (before, comment) = self.str.split_at(hash);
        let value = Self {
            str: before,
            at: self.at,
        };
        let comment = Self {
            str: comment,
            at: self.at + hash,
        };
        (value.trim(), Some(comment))
    }
}
