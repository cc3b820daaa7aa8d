//! `knockers`: scenarios with real clients, firewalls and an sshd; `testing/README.md`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use knockd::lab::{Identity, isolate};
use nix::unistd::Uid;
use testbed::knockers::{Programs, Scenario, all};
use testbed::{Result, programs};

/// Real knockers against our daemon
#[derive(Debug, Parser)]
struct Options {
    /// Only scenarios whose name has this text
    #[arg(long, short)]
    filter: Option<String>,
    /// List the scenarios instead of running them
    #[arg(long)]
    list: bool,
    /// Scenarios that run at the same time
    #[arg(long, short, default_value_t = 8)]
    lanes: usize,
    /// The daemon; ours, built first, if not given
    #[arg(long)]
    knockd: Option<PathBuf>,
    /// Our client; built first if not given
    #[arg(long)]
    knock: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("knockers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let options = Options::parse();
    let mut scenarios = all();
    if let Some(text) = &options.filter {
        scenarios.retain(|s| s.name.contains(text.as_str()));
    }
    if options.list {
        scenarios.iter().for_each(|s| println!("{}", s.name));
        return Ok(true);
    }
    isolate(Identity::RootIfNeeded)?;
    let programs = Programs {
        knockd: programs::ours("knockd", options.knockd.clone())?,
        knock: programs::ours("knock", options.knock.clone())?,
    };
    let started = Instant::now();
    let is_root = Uid::effective().is_root() && owns_the_machine();
    let counts = Mutex::new([0_usize; 3]);
    let judge = |scenario: &Scenario| {
        let result = judge(scenario, &programs, is_root);
        if let Ok(mut counts) = counts.lock() {
            let [passed, failed, skipped] = &mut *counts;
            *match result {
                Verdict::Passed => passed,
                Verdict::Failed => failed,
                Verdict::Skipped => skipped,
            } += 1;
        }
    };
    let (alone, together): (Vec<_>, Vec<_>) = scenarios.into_iter().partition(|s| s.alone);
    alone.iter().for_each(&judge);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(scenario) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
            judge(scenario);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.lanes {
            scope.spawn(work);
        }
    });
    let [passed, failed, skipped] = counts.into_inner().unwrap_or_default();
    println!("took {:.1} s", started.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0 && passed > 0)
}

enum Verdict {
    Passed,
    Failed,
    Skipped,
}

fn judge(scenario: &Scenario, programs: &Programs, is_root: bool) -> Verdict {
    let name = &scenario.name;
    if let Some(what) = scenario.lacks(is_root) {
        println!("skip  {name}: it needs {what}");
        return Verdict::Skipped;
    }
    match scenario.run(programs) {
        Ok(()) => {
            println!("ok    {name}");
            Verdict::Passed
        }
        Err(error) => {
            println!(
                "FAIL  {name}\n      {}",
                error.to_string().replace('\n', "\n      ")
            );
            Verdict::Failed
        }
    }
}

/// Whether every account of the machine exists here: in a user namespace only one does.
fn owns_the_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2).is_some_and(|n| n.len() > 5)
}
