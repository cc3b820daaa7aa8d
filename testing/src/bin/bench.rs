//! `bench`: the budgets that need a running daemon, ours beside the distribution's in one run.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use knockd::lab::{Identity, isolate, own_state};
use testbed::bench::{ALL, Programs, count_packets};
use testbed::{Result, programs};

/// The budgets that need a running daemon: ours beside the distribution's, in one run
#[derive(Debug, Parser)]
struct Options {
    /// A JSON object for each line
    #[arg(long)]
    json: bool,
    /// Exit with 1 if a budget is not held
    #[arg(long)]
    strict: bool,
    /// Watch the idle daemons for 60 s instead of 20 s
    #[arg(long)]
    full: bool,
    /// Only these: sizes, latency, gate, spa, flood, ring, doors, scans, hostile, memory, idle
    #[arg(long, short)]
    only: Vec<String>,
    /// Be the program that only counts packets: what the daemon is compared with
    #[arg(long, hide = true, num_args = 2, value_names = ["INTERFACE", "CONFIGURATION"])]
    bare: Vec<String>,
    /// The daemon; ours, built for release, if not given
    #[arg(long)]
    knockd: Option<PathBuf>,
    /// The client; ours, built for release, if not given
    #[arg(long)]
    knock: Option<PathBuf>,
    /// The daemon to compare with; the distribution's if not given
    #[arg(long)]
    theirs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let options = Options::parse();
    if let [interface, config] = options.bare.as_slice() {
        count_packets(interface, config)?;
        return Ok(true);
    }
    if let Some(name) = options.only.iter().find(|name| !is_known(name)) {
        return Err(format!("there is no bench `{name}`").into());
    }
    isolate(Identity::RootIfNeeded)?;
    own_state()?;
    let programs = Programs {
        knockd: programs::released("knockd", options.knockd)?,
        knock: programs::released("knock", options.knock)?,
        theirs: programs::theirs("knockd", options.theirs)?,
    };
    let rest = Duration::from_secs(if options.full { 60 } else { 20 });
    let mut held = true;
    for bench in ALL {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == bench.name) {
            continue;
        }
        let lines = bench.run(&programs, rest);
        for line in lines.map_err(|error| format!("{}: {error}", bench.name))? {
            held &= line.holds();
            if options.json {
                println!("{}", line.json()?);
            } else {
                println!("{}", line.text());
            }
        }
    }
    Ok(held || !options.strict)
}

fn is_known(name: &str) -> bool {
    ALL.iter().any(|bench| bench.name == name)
}
