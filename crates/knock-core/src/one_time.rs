//! Files of one-time sequences: one a line, struck off in place by one byte.

use alloc::vec::Vec;

use crate::sequence::Sequence;

/// A line that can be knocked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The line's number, from 1.
    pub number: usize,
    /// Where the line's first byte is in the file; writing `#` there strikes it off.
    pub offset: usize,
    /// What must be knocked.
    pub sequence: Sequence,
}

/// A line that is neither a sequence, nor a comment, nor blank: skipped, and never struck off in
/// place of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLine {
    /// The line's number, from 1.
    pub number: usize,
    /// Which bytes of the file are at fault.
    pub span: core::ops::Range<usize>,
    /// What is wrong and what was expected.
    pub problem: &'static str,
}

/// What a file of one-time sequences holds now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OneTime {
    /// The first line that is not spent, if there is one.
    pub current: Option<Line>,
    /// How many lines are left, the current one included.
    pub left: usize,
    /// Lines that were skipped.
    pub bad: Vec<BadLine>,
}

/// Reads the bytes of a one-time sequence file.
#[must_use]
pub fn parse(_bytes: &[u8]) -> OneTime {
    OneTime::default()
}
