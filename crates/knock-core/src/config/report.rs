//! The mistakes found so far.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Diagnostic, Severity};

/// Collects the mistakes of a file.
#[derive(Debug, Default)]
pub(super) struct Report {
    diagnostics: Vec<Diagnostic>,
    has_errors: bool,
}

impl Report {
    /// Notes something that keeps the configuration from running.
    pub(super) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<Help>,
    ) {
        self.has_errors = true;
        self.push(
            Severity::Error,
            span,
            message.into(),
            expected.into(),
            help.into(),
        );
    }

    /// Notes something that is hardly meant.
    pub(super) fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        help: impl Into<Help>,
    ) {
        self.push(
            Severity::Warning,
            span,
            message.into(),
            expected.into(),
            help.into(),
        );
    }

    /// Whether an error was noted.
    pub(super) const fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| d.span.start);
        self.diagnostics
    }

    fn push(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        expected: String,
        help: Help,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            span,
            message,
            expected,
            help: help.0,
        });
    }
}

/// A hint or none, so that callers write `"text"` or `()`.
#[derive(Debug)]
pub(super) struct Help(Option<String>);

impl From<()> for Help {
    fn from((): ()) -> Self {
        Self(None)
    }
}

impl From<&str> for Help {
    fn from(text: &str) -> Self {
        Self(Some(text.into()))
    }
}

impl From<String> for Help {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Help {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}
