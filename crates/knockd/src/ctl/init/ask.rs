//! Questions to whoever sits there: on a terminal with `dialoguer`, else line by line.
//!
//! Promise: however a dialogue ends, the terminal is as it was before.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dialoguer::console::Term;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Select};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// No answer is longer, in bytes.
const LONGEST: u64 = 4_096;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// Ctrl-C, or the end of the input.
    Cancelled,
    /// The terminal.
    Io(io::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled: nothing was written"),
            Self::Io(error) => write!(f, "cannot ask: {error}: nothing was written"),
        }
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cancelled,
            _ => Self::Io(error),
        }
    }
}

/// How to ask.
pub(super) struct Asker {
    /// With a cursor to move, in these colours; without them by a question, and a line in answer.
    theme: Option<ColorfulTheme>,
    _watch: Option<Watch>,
}

/// Says whether an answer will do, or what was expected.
pub(super) type Judge<'a> = &'a dyn Fn(&str) -> Result<(), String>;

impl Asker {
    /// For this process's standard input and standard error.
    ///
    /// # Errors
    /// If the terminal cannot be watched over.
    pub(super) fn new() -> io::Result<Self> {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if is_dumb || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(Self {
                theme: None,
                _watch: None,
            });
        }
        Ok(Self {
            theme: Some(ColorfulTheme::default()),
            _watch: Some(Watch::begin()?),
        })
    }

    /// A line that `judge` takes; `usual` if it is empty.
    pub(super) fn text(&self, question: &str, usual: &str, judge: Judge<'_>) -> Answer<String> {
        let Some(theme) = &self.theme else {
            return text(question, usual, judge);
        };
        let mut input = Input::<String>::with_theme(theme).with_prompt(question);
        if !usual.is_empty() {
            input = input.default(usual.to_owned());
        }
        let input = input.validate_with(|text: &String| judge(text.trim()));
        Ok(restored(input.interact_text())?.trim().to_owned())
    }

    /// Which of `items`, of which there is one at least.
    pub(super) fn choice(&self, question: &str, items: &[String], usual: usize) -> Answer<usize> {
        let Some(theme) = &self.theme else {
            return choice(question, items, usual);
        };
        let select = Select::with_theme(theme).with_prompt(question);
        restored(select.items(items).default(usual).interact())
    }

    /// Yes or no.
    pub(super) fn yes(&self, question: &str, usual: bool) -> Answer<bool> {
        let Some(theme) = &self.theme else {
            return yes(question, usual);
        };
        let confirm = Confirm::with_theme(theme).with_prompt(question);
        restored(confirm.default(usual).interact())
    }
}

type Answer<T> = Result<T, AskError>;

/// While a key is waited for, the terminal is raw, and in lists without a cursor. Whoever ends the
/// dialogue meanwhile finds it as it was.
struct Watch(Arc<AtomicBool>);

impl Watch {
    fn begin() -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = Self(Arc::clone(&is_over));
        let before = tcgetattr(io::stdin())?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        thread::Builder::new().spawn(move || {
            let Some(signal) = signals.forever().next() else {
                return;
            };
            if is_over.load(Ordering::SeqCst) {
                // It does what it does elsewhere; what may be half written has another name.
                emulate_default_handler(signal).ok();
                return;
            }
            // If the terminal is gone, there is nothing to restore.
            tcsetattr(io::stdin(), OptionalActions::Now, &before).ok();
            Term::stderr().show_cursor().ok();
            say(&format!("\nknockctl: {}\n", AskError::Cancelled)).ok();
            std::process::exit(1);
        })?;
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What reads keys sends a signal for Ctrl-C, and is broken off by any: then [`Watch`] has the word.
fn restored<T>(answer: dialoguer::Result<T>) -> Answer<T> {
    let error = match answer {
        Ok(answer) => return Ok(answer),
        Err(dialoguer::Error::IO(error)) => error,
    };
    while error.kind() == io::ErrorKind::Interrupted {
        thread::park();
    }
    // If the terminal is gone, there is nothing to restore.
    Term::stderr().show_cursor().ok();
    Err(error.into())
}

fn text(question: &str, usual: &str, judge: Judge<'_>) -> Answer<String> {
    let shown = match usual {
        "" => String::new(),
        usual => format!(" [{usual}]"),
    };
    loop {
        let line = line(&format!("{question}{shown}: "))?;
        let answer = if line.is_empty() { usual } else { &line };
        match judge(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(expected) => say(&format!("{expected}\n"))?,
        }
    }
}

fn choice(question: &str, items: &[String], usual: usize) -> Answer<usize> {
    let rows = items.iter().enumerate();
    let rows: String = rows
        .map(|(i, item)| format!("  {} {item}\n", i + 1))
        .collect();
    say(&rows)?;
    let number = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
    let judge = |text: &str| match number(text).filter(|i| *i < items.len()) {
        Some(_) => Ok(()),
        None => Err(format!("a number from 1 to {} is expected", items.len())),
    };
    let answer = text(question, &(usual + 1).to_string(), &judge)?;
    Ok(number(&answer).unwrap_or(usual))
}

fn yes(question: &str, usual: bool) -> Answer<bool> {
    let is_yes = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "y" | "yes");
    let judge = |text: &str| match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "n" | "no" => Ok(()),
        _ => Err("yes or no is expected".to_owned()),
    };
    let usual = if usual { "yes" } else { "no" };
    Ok(is_yes(&text(question, usual, &judge)?))
}

/// Asks, and reads a line without the blanks around it.
fn line(question: &str) -> Answer<String> {
    say(question)?;
    let mut line = String::new();
    let mut input = io::Read::take(io::stdin().lock(), LONGEST);
    if input.read_line(&mut line)? == 0 {
        say("\n")?;
        return Err(AskError::Cancelled);
    }
    Ok(line.trim().to_owned())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
