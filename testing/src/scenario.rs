//! Scenarios on real packets, each a function that fails with a sentence; and the program that runs
//! a list of them in lanes and says how each went.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser};
use knockd::lab::{Identity, isolate, own_state};
use nix::unistd::Uid;

use crate::live::installed;
use crate::{Result, programs};

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub knockd: PathBuf,
    /// Our client.
    pub knock: PathBuf,
}

impl Programs {
    /// The administrator's tool, which is built beside the daemon.
    #[must_use]
    pub fn knockctl(&self) -> PathBuf {
        self.knockd.with_file_name("knockctl")
    }
}

/// What a scenario does.
type Run = dyn Fn(&Programs) -> Result<()> + Send + Sync;

/// What the kernel lacks, if anything.
type Probe = fn() -> Option<&'static str>;

/// One scenario.
#[derive(Clone)]
pub struct Scenario {
    /// What it proves.
    pub name: String,
    /// The programs that must be installed.
    pub needs: Vec<&'static str>,
    /// Only the machine's root can run it.
    pub root: bool,
    /// Nothing else must run meanwhile: it is about how much the machine can do.
    pub alone: bool,
    probe: Option<Probe>,
    run: Arc<Run>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scenario {
    /// One that needs these programs installed.
    pub(crate) fn new(
        name: impl Into<String>,
        needs: &[&'static str],
        run: impl Fn(&Programs) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            needs: needs.to_vec(),
            root: false,
            alone: false,
            probe: None,
            run: Arc::new(run),
        }
    }

    /// Only the machine's root can run it.
    pub(crate) fn for_root(self) -> Self {
        Self { root: true, ..self }
    }

    /// Nothing else must run meanwhile.
    pub(crate) fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    /// Needs something of the kernel.
    pub(crate) fn with(self, probe: Probe) -> Self {
        Self {
            probe: Some(probe),
            ..self
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn run(&self, programs: &Programs) -> Result<()> {
        (self.run)(programs)
    }

    /// What this machine lacks for it.
    #[must_use]
    pub fn lacks(&self, is_root: bool) -> Option<String> {
        if self.root && !is_root {
            return Some("the machine's root".into());
        }
        let missing = self.needs.iter().find(|name| installed(name).is_none());
        let lacks = |probe: Probe| probe().map(str::to_owned);
        missing
            .map(|name| (*name).to_owned())
            .or_else(|| self.probe.and_then(lacks))
    }
}

#[derive(Debug, Parser)]
struct Options {
    /// Only scenarios whose name has this text
    #[arg(long, short)]
    filter: Option<String>,
    /// List the scenarios instead of running them
    #[arg(long)]
    list: bool,
    /// Scenarios that run at the same time
    #[arg(long, short)]
    lanes: Option<usize>,
    /// The daemon; ours, built first, if not given
    #[arg(long)]
    knockd: Option<PathBuf>,
    /// Our client; built first if not given
    #[arg(long)]
    knock: Option<PathBuf>,
}

/// The program that runs `scenarios`, as its command line says; in so many `lanes` if that says
/// nothing.
pub fn main(about: &'static str, lanes: usize, scenarios: Vec<Scenario>) -> ExitCode {
    match run(about, lanes, scenarios) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(about: &'static str, lanes: usize, mut scenarios: Vec<Scenario>) -> Result<bool> {
    let matches = Options::command().about(about).get_matches();
    let options = Options::from_arg_matches(&matches)?;
    if let Some(text) = &options.filter {
        scenarios.retain(|s| s.name.contains(text.as_str()));
    }
    if options.list {
        scenarios.iter().for_each(|s| println!("{}", s.name));
        return Ok(true);
    }
    isolate(Identity::RootIfNeeded)?;
    own_state()?;
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
        for _ in 0..options.lanes.unwrap_or(lanes) {
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
