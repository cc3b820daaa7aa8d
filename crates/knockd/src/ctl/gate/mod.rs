//! `knockctl gate`: puts the gate up, takes it away, and shows it.

pub(super) mod settle;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config_file::{self, Loaded};
use crate::gate::{Gate, Guarded, Plan, Standing};
use crate::services::Services;

use settle::{Settled, settle};

/// The command line of `knockctl gate`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Guard what the native doors open, from now on
    Up(File),
    /// Guard nothing, until `up`, a start of the daemon, or the next boot
    Down(File),
    /// Show what is guarded, who has grants, and what was let through
    Show(Show),
}

/// Which configuration.
#[derive(Debug, Args)]
pub(super) struct File {
    /// The configuration file
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "/etc/knockd.conf"
    )]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    file: File,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `knockctl gate`; exits with 1 if it could not be done.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let done = match &options.what {
        What::Up(file) => up(file),
        What::Down(file) => down(file),
        What::Show(options) => show(options),
    };
    finish(done)
}

/// Prints what was done, or why it was not.
pub(super) fn finish(done: Result<String, String>) -> ExitCode {
    match done {
        Ok(text) => {
            anstream::println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(text) => {
            anstream::eprintln!("knockctl: {}", text.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// A configuration, as far as the gate goes by it.
pub(super) struct Wanted {
    pub(super) loaded: Loaded,
    pub(super) plan: Plan,
    pub(super) standing: Standing,
}

impl File {
    pub(super) fn load(&self) -> Result<Wanted, String> {
        let loaded = config_file::load(&self.file, &Services::system());
        let loaded = loaded.map_err(|error| error.to_string())?;
        Ok(Wanted {
            plan: Plan::of(&loaded.config.doors).silent_at(loaded.config.silent_ports()),
            standing: Standing::of(&loaded.config.options),
            loaded,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file
    }
}

fn up(file: &File) -> Result<String, String> {
    let wanted = file.load()?;
    if wanted.plan.is_empty() {
        return Ok(format!(
            "{}: no door has `open`: there is nothing to guard",
            file.path().display()
        ));
    }
    let was_down = wanted
        .standing
        .say_up()
        .map_err(|error| error.to_string())?;
    let settled = settle(&wanted)?;
    let mut text = match settled.by {
        Some(pid) => format!("knockd (process {pid}) keeps the gate: guarded are "),
        None => "the gate is up: guarded are ".to_owned(),
    };
    text.push_str(&listed(settled.guarded.iter()));
    if was_down {
        text.push_str("; it is not down any more");
    }
    text.push_str(&unguarded(&settled));
    if settled.by.is_none() {
        text.push_str("\nno daemon runs that opens them (start knockd)");
    }
    Ok(text)
}

/// What is on trial, in words.
fn unguarded(settled: &Settled) -> String {
    let mut text = String::new();
    if !settled.on_trial.is_empty() {
        let trial = listed(settled.on_trial.iter());
        text.push_str(&format!(
            "\non trial, and not guarded for good: {trial} (knockctl arm --confirm)"
        ));
    }
    if !settled.over.is_empty() {
        let over = listed(settled.over.iter());
        text.push_str(&format!(
            "\nNOT guarded, since a trial ended without a confirmation: {over} (knockctl arm)"
        ));
    }
    text
}

fn down(file: &File) -> Result<String, String> {
    let wanted = file.load()?;
    let mut gate = Gate::new().map_err(|error| error.to_string())?;
    // First the word, then the deed: a daemon that notices asks why.
    wanted
        .standing
        .say_down()
        .map_err(|error| error.to_string())?;
    gate.down().map_err(|error| error.to_string())?;
    Ok(
        "the gate is down: nothing is guarded until `knockctl gate up`, a start of knockd, or the \
        next boot"
            .to_owned(),
    )
}

fn show(options: &Show) -> Result<String, String> {
    let wanted = options.file.load()?;
    let mut gate = Gate::new().map_err(|error| error.to_string())?;
    let reading = gate.read(&wanted.plan).map_err(|error| error.to_string())?;
    let now = crate::listen::now();
    let said = wanted.standing.read(&wanted.plan, now);
    let said = said.map_err(|error| error.to_string())?;
    let picture = show::Picture::new(&wanted, reading, &said);
    if options.json {
        return serde_json::to_string_pretty(&picture).map_err(|error| error.to_string());
    }
    Ok(picture.to_string())
}

/// `tcp/22, udp/53`; of very many only the first.
pub(super) fn listed<'a>(all: impl ExactSizeIterator<Item = &'a Guarded>) -> String {
    const MOST: usize = 16;
    let more = all.len().saturating_sub(MOST);
    let names: Vec<_> = all.take(MOST).map(ToString::to_string).collect();
    let mut text = names.join(", ");
    if text.is_empty() {
        text.push_str("none");
    }
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
