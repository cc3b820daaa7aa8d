//! `knockctl replay`: what would have opened, when, and why not.
//!
//! A capture file goes through the very engine that the daemon runs, with the file's own time.

mod clues;
mod effect;
mod one_time;
mod player;
mod print;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use knock_core::target::Target;

use crate::config_file::{self, LoadError};
use crate::pcap::{PcapError, Reader};
use crate::services::Services;
use player::Player;
use print::Printer;

/// The command line of `knockctl replay`.
#[derive(Debug, Args)]
pub struct Options {
    /// The capture to read, pcap or pcapng; `-` for standard input
    #[arg(value_name = "FILE")]
    capture: PathBuf,
    /// The configuration whose doors are knocked at
    #[arg(short, long, value_name = "FILE", default_value = "/etc/knockd.conf")]
    config: PathBuf,
    /// An address or network of the server (default: every destination counts as the server's)
    #[arg(long, value_name = "ADDR", value_parser = target)]
    local: Vec<Target>,
    /// Print nothing but openings and the summary
    #[arg(short, long)]
    quiet: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Files smaller than this are read before a progress bar would be seen.
const LARGE: u64 = 32 << 20;

/// The progress bar moves once in so many packets.
const STRIDE: u64 = 1 << 14;

/// Why a replay did not come to its end.
enum ReplayError {
    /// The configuration.
    Config(LoadError),
    /// The capture cannot be opened.
    Open(PathBuf, io::Error),
    /// The capture is damaged; what comes before has been replayed.
    Capture(PathBuf, PcapError),
    /// Standard output. A reader that has had enough is none.
    Output(io::Error),
}

/// Runs `knockctl replay`; exits with 1 if the configuration or the capture is at fault.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match replay(options) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(ReplayError::Config(error)) => {
            anstream::eprint!("{}", error.render(io::stderr().is_terminal()));
        }
        Err(ReplayError::Open(path, error)) => {
            let reason = config_file::reason(&error);
            anstream::eprintln!("knockctl: {}: {reason}", path.display());
        }
        Err(ReplayError::Capture(path, error)) => {
            anstream::eprintln!("knockctl: {}: {error}", path.display());
        }
        Err(ReplayError::Output(error)) => anstream::eprintln!("knockctl: cannot write: {error}"),
    }
    ExitCode::FAILURE
}

fn replay(options: &Options) -> Result<(), ReplayError> {
    let loaded = config_file::load(&options.config, &Services::system());
    let config = loaded.map_err(ReplayError::Config)?.config;
    let (input, size) = open(&options.capture)?;
    let mut player = Player::new(&config, options.local.clone());
    let bar = progress_bar(size);
    let mut printer = Printer::new(&config.doors, options.quiet, options.json, bar);
    printer.notes(player.notes()).map_err(ReplayError::Output)?;
    let played = play(&options.capture, input, &mut player, &mut printer);
    if !matches!(played, Err(ReplayError::Output(_))) {
        player.finish();
        printer.findings(&mut player).map_err(ReplayError::Output)?;
        let everywhere = options.local.is_empty();
        printer
            .summary(player.tally(), everywhere)
            .map_err(ReplayError::Output)?;
    }
    played
}

fn play(
    path: &Path,
    input: Box<dyn Read>,
    player: &mut Player,
    printer: &mut Printer<'_>,
) -> Result<(), ReplayError> {
    let capture = |error| ReplayError::Capture(path.to_owned(), error);
    let mut reader = Reader::new(input).map_err(capture)?;
    let mut count = 0_u64;
    while let Some(record) = reader.next_record().map_err(capture)? {
        player.play(&record);
        printer.findings(player).map_err(ReplayError::Output)?;
        count = count.wrapping_add(1);
        if count.is_multiple_of(STRIDE) {
            printer.progress(reader.offset());
        }
    }
    Ok(())
}

/// The capture, and how large it is if that is known.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), ReplayError> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let open = || -> io::Result<_> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata.is_file().then_some(metadata.len())))
    };
    let (file, size) = open().map_err(|error| ReplayError::Open(path.to_owned(), error))?;
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), size))
}

/// Only for a large file, and only on a terminal (which `indicatif` finds out by itself).
fn progress_bar(size: Option<u64>) -> ProgressBar {
    match size.filter(|size| *size >= LARGE) {
        Some(size) => ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr()),
        None => ProgressBar::hidden(),
    }
}

fn target(text: &str) -> Result<Target, String> {
    text.parse()
        .map_err(|_| "not an address or network such as 192.0.2.1 or 2001:db8::/64".to_owned())
}
