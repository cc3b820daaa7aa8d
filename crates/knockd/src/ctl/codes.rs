//! `knockctl codes`: single-use codes on paper, for when no client and no key is at hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use knock_core::config::Config;
use knock_spa::DoorName;
use knock_spa::code::CodeHash;

use super::gate::{File, finish};
use crate::clock;
use crate::spa::codes::{Book, CodesError, Entry, Lock, SPENT_FILE, Spent, read_spent};

/// The command line of `knockctl codes`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make codes for a door, and print them: they are never shown again
    New(New),
    /// List the doors that there are codes for, and which codes are spent
    List(File),
    /// Take back the codes of a door, or all
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct New {
    /// How many
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    count: u8,
    /// The door that they open, each once
    #[arg(long, value_name = "NAME")]
    door: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The name of the door, or `all`
    #[arg(value_name = "DOOR|all")]
    door: String,
    #[command(flatten)]
    file: File,
}

/// Runs `knockctl codes`; exits with 1 if it could not be done.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(match &options.what {
        What::New(options) => new(options),
        What::List(file) => list(file),
        What::Revoke(options) => revoke(options),
    })
}

fn new(options: &New) -> Result<String, String> {
    let config = options.file.load()?.loaded.config;
    let door = door(&config, &options.door, &options.file)?;
    let folder = PathBuf::from(&config.options.state_dir);
    let _lock = Lock::take(&folder).map_err(|error| error.to_string())?;
    let mut book = Book::load(&folder)
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    // They make room; who sends one again is told apart no longer from who guesses.
    let spent = read_spent(&folder)
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    let is_spent = |entry: &Entry| spent.iter().any(|spent| spent.hash == entry.hash);
    book.entries.retain(|entry| !is_spent(entry));
    let count = usize::from(options.count);
    let codes = book.add(count, &door, clock::realtime() / 1_000_000_000);
    let codes = codes.ok_or_else(|| {
        format!(
            "there are {} codes that are not spent, and at most {} fit: make fewer, or revoke some",
            book.entries.len(),
            CodeHash::MAX
        )
    })?;
    book.save(&folder).map_err(|error| error.to_string())?;
    let mut text = format!("Codes for the door {}, each good once:\n\n", door.as_str());
    for code in codes {
        text.push_str(&format!("  {}\n", *code.reveal()));
    }
    let ports = config.spa_ports();
    let port = ports.first().copied().unwrap_or_default();
    text.push_str(&format!(
        "\nTo use one, from any machine, and strike it out:\n\n  \
         printf CODE | nc -u -w1 HOST {port}\n\n\
         There is no answer. Whoever reads a code can use it: keep them on paper."
    ));
    Ok(text)
}

/// A door that codes can open: one that sealed packets do.
fn door(config: &Config, name: &str, file: &File) -> Result<DoorName, String> {
    let mut doors = config.doors.iter().filter(|door| door.spa.is_some());
    if doors.any(|door| door.name == name) {
        return DoorName::new(name).map_err(|error| {
            format!("a code cannot name the door '{name}': {error}; give it another name")
        });
    }
    let path = file.path().display();
    if config.doors.iter().any(|door| door.name == name) {
        return Err(format!(
            "{path}: the door '{name}' has no `authorized_keys`: neither sealed packets nor codes open it"
        ));
    }
    let names = config.doors.iter().filter(|door| door.spa.is_some());
    let names: Vec<_> = names.map(|door| door.name.as_str()).collect();
    let there = match names.as_slice() {
        [] => "none has `authorized_keys`".to_owned(),
        names => format!("those that codes can open: {}", names.join(", ")),
    };
    Err(format!("{path}: there is no door '{name}'; {there}"))
}

fn list(file: &File) -> Result<String, String> {
    let config = file.load()?.loaded.config;
    let folder = Path::new(&config.options.state_dir);
    let Some(book) = Book::load(folder)
        .map_err(|error| error.to_string())?
        .filter(|book| !book.entries.is_empty())
    else {
        return Ok("there are no codes (knockctl codes new)".to_owned());
    };
    let spent = read_spent(folder)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| {
            let path = folder.join(SPENT_FILE);
            format!(
                "{}: which codes are spent is lost: all are (make new ones)",
                path.display()
            )
        })?;
    let mut doors: Vec<&str> = book
        .entries
        .iter()
        .map(|entry| entry.door.as_str())
        .collect();
    doors.sort_unstable();
    doors.dedup();
    let mut text = String::new();
    for name in doors {
        let entries = book
            .entries
            .iter()
            .filter(|entry| entry.door.as_str() == name);
        let entries: Vec<_> = entries.collect();
        let of = |entry: &&Entry| spent.iter().find(|spent| spent.hash == entry.hash);
        let used: Vec<_> = entries.iter().filter_map(of).collect();
        let left = entries.len().saturating_sub(used.len());
        let here = config
            .doors
            .iter()
            .any(|door| door.spa.is_some() && door.name == name);
        let note = if here {
            ""
        } else {
            "; no door that sealed packets open has this name"
        };
        // A write into a text does not fail.
        writeln!(text, "{name}: {left} of {} left{note}", entries.len()).ok();
        for spent in used {
            writeln!(text, "  {}", used_by(spent)).ok();
        }
    }
    Ok(text)
}

fn used_by(spent: &Spent) -> String {
    if spent.by.is_unspecified() {
        return "taken for spent, since what was spent was lost".to_owned();
    }
    let at = i64::try_from(spent.at).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
    let at = at.map_or_else(|| "at an unknown time".to_owned(), |at| at.to_string());
    format!("spent {at} by {}", spent.by)
}

fn revoke(options: &Revoke) -> Result<String, String> {
    let config = options.file.load()?.loaded.config;
    let folder = Path::new(&config.options.state_dir);
    let _lock = Lock::take(folder).map_err(|error| error.to_string())?;
    if options.door == "all" {
        let count = match Book::load(folder) {
            Ok(None) => 0,
            Ok(Some(book)) => book.entries.len(),
            // Nobody can use what cannot be read, and this is the way out.
            Err(CodesError::Malformed(_)) => 0,
            Err(error) => return Err(error.to_string()),
        };
        Book::default()
            .save(folder)
            .map_err(|error| error.to_string())?;
        return Ok(revoked(count, "of all doors"));
    }
    let mut book = Book::load(folder)
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    let before = book.entries.len();
    book.entries
        .retain(|entry| entry.door.as_str() != options.door);
    let count = before.saturating_sub(book.entries.len());
    if count == 0 {
        return Err(format!("there are no codes for a door '{}'", options.door));
    }
    book.save(folder).map_err(|error| error.to_string())?;
    Ok(revoked(count, &format!("of the door {}", options.door)))
}

fn revoked(count: usize, of: &str) -> String {
    match count {
        0 => "there were no codes; there are none now".to_owned(),
        1 => format!("one code {of} is revoked"),
        more => format!("{more} codes {of} are revoked"),
    }
}
