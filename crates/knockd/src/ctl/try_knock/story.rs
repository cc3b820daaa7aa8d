//! What `try` says: narration, commands, the daemon's lines, and checks that are counted.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const QUIET: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Prints a line. That nobody reads it any more (`| head`) changes nothing: the story goes on to
/// its end, and takes everything down.
macro_rules! tell {
    ($($line:tt)*) => {{
        let _unread = writeln!(anstream::stdout(), $($line)*);
    }};
}

/// The narrator; it also remembers which checks failed.
#[derive(Debug, Default)]
pub(super) struct Story {
    passed: Cell<usize>,
    failed: RefCell<Vec<String>>,
}

impl Story {
    /// A sentence.
    pub(super) fn say(&self, text: impl Display) {
        tell!("{text}");
    }

    /// A command line that is run now on `host`.
    pub(super) fn command(&self, host: &str, line: impl Display) {
        tell!("\n{QUIET}{host}{QUIET:#} {BOLD}$ {line}{BOLD:#}");
    }

    /// A line that another program has written.
    pub(super) fn quote(&self, who: &str, line: &str) {
        tell!("{QUIET}{who:>6} |{QUIET:#} {}", harmless(line));
    }

    /// The result of a check: what should be (`claim`), whether it is, and what was seen.
    pub(super) fn check(&self, holds: bool, claim: impl Display, seen: impl Display) {
        if holds {
            self.passed.set(self.passed.get().saturating_add(1));
            tell!("    {GOOD}ok{GOOD:#}  {claim}: {seen}");
        } else {
            tell!("{BAD}FAILED{BAD:#}  {claim}: {seen}");
            self.failed.borrow_mut().push(claim.to_string());
        }
    }

    /// The summary, and the exit status that it deserves.
    pub(super) fn end(&self) -> ExitCode {
        let (passed, failed) = (self.passed.get(), self.failed.borrow());
        if failed.is_empty() {
            tell!("\n{GOOD}All {passed} checks passed.{GOOD:#}");
            return ExitCode::SUCCESS;
        }
        tell!(
            "\n{BAD}{} of {} checks failed:{BAD:#}",
            failed.len(),
            passed + failed.len()
        );
        for claim in failed.iter() {
            tell!("  {claim}");
        }
        ExitCode::FAILURE
    }
}

/// `line` without the power to do anything to a terminal.
fn harmless(line: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    line.chars().map(shown).collect()
}
