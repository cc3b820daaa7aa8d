//! What `try` says: narration, commands, the daemon's lines, and checks that are counted.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::process::ExitCode;

use anstream::println;
use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const QUIET: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The narrator; it also remembers which checks failed.
#[derive(Debug, Default)]
pub(super) struct Story {
    passed: Cell<usize>,
    failed: RefCell<Vec<String>>,
}

impl Story {
    /// A sentence.
    pub(super) fn say(&self, text: impl Display) {
        println!("{text}");
    }

    /// A command line that is run now on `host`.
    pub(super) fn command(&self, host: &str, line: impl Display) {
        println!("\n{QUIET}{host}{QUIET:#} {BOLD}$ {line}{BOLD:#}");
    }

    /// A line that another program has written.
    pub(super) fn quote(&self, who: &str, line: &str) {
        println!("{QUIET}{who:>6} |{QUIET:#} {}", line.escape_debug());
    }

    /// The result of a check: what should be (`claim`), whether it is, and what was seen.
    pub(super) fn check(&self, holds: bool, claim: impl Display, seen: impl Display) {
        if holds {
            self.passed.set(self.passed.get().saturating_add(1));
            println!("    {GOOD}ok{GOOD:#}  {claim}: {seen}");
        } else {
            println!("{BAD}FAILED{BAD:#}  {claim}: {seen}");
            self.failed.borrow_mut().push(claim.to_string());
        }
    }

    /// The summary, and the exit status that it deserves.
    pub(super) fn end(&self) -> ExitCode {
        let (passed, failed) = (self.passed.get(), self.failed.borrow());
        if failed.is_empty() {
            println!("\n{GOOD}All {passed} checks passed.{GOOD:#}");
            return ExitCode::SUCCESS;
        }
        println!(
            "\n{BAD}{} of {} checks failed:{BAD:#}",
            failed.len(),
            passed + failed.len()
        );
        for claim in failed.iter() {
            println!("  {claim}");
        }
        ExitCode::FAILURE
    }
}
