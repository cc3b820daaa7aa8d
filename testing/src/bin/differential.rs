//! `differential`: random doors and packet streams through the real daemons. What the original
//! reports must be what the model of it says, and what ours reports must be what the model says
//! with every difference of `docs/compat.md`. A disagreement is made small, printed as a case,
//! and fails the run.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use knockd::lab::{Identity, isolate, own_state};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::case::Medium;
use testbed::classic::{Differences, Model};
use testbed::network::Network;
use testbed::stream::{END_DOOR, Stream};
use testbed::trace::{self, Mark};
use testbed::{Result, in_process, programs};

/// Random doors and packets through both daemons
#[derive(Debug, Parser)]
struct Options {
    /// Seed of the random numbers; a new one if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Streams through each daemon
    #[arg(long, default_value_t = 100)]
    runs: u64,
    /// Go on for this long instead
    #[arg(long)]
    seconds: Option<u64>,
    /// Streams through the engine in process
    #[arg(long, default_value_t = 5000)]
    in_process: u64,
    /// Packets in a stream
    #[arg(long, default_value_t = 150)]
    packets: usize,
    /// Streams at the same time
    #[arg(long, default_value_t = 6)]
    lanes: u64,
    /// Only this daemon
    #[arg(long, value_parser = ["ours", "theirs", "engine"])]
    only: Option<String>,
    /// Our daemon; built first if not given
    #[arg(long)]
    knockd: Option<PathBuf>,
    /// The distribution's daemon
    #[arg(long)]
    theirs: Option<PathBuf>,
}

/// Who is held to the model.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    program: Option<PathBuf>,
    differences: Differences,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let options = Options::parse();
    isolate(Identity::RootIfNeeded)?;
    own_state()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let wants = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let (mut passed, mut failed) = (0, 0);
    for name in ["engine", "theirs", "ours"]
        .into_iter()
        .filter(|n| wants(n))
    {
        let program = match name {
            "ours" => Some(programs::ours("knockd", options.knockd.clone())?),
            "theirs" => Some(programs::theirs("knockd", options.theirs.clone())?),
            _ => None,
        };
        let differences = match name {
            "theirs" => Differences::NONE,
            _ => Differences::ALL,
        };
        let subject = Subject {
            name,
            program,
            differences,
        };
        let (good, bad) = hold(&subject, &options, seed);
        println!("{name:<8} {good} streams as the model says, {bad} not");
        passed += good;
        failed += bad;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Runs the streams through `subject`; how many agreed and how many did not.
fn hold(subject: &Subject, options: &Options, seed: u64) -> (usize, usize) {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let (good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let output = Mutex::new(());
    let runs = match subject.program {
        Some(_) => options.runs,
        None => options.in_process,
    };
    let more = |n: u64| match (options.seconds, &subject.program) {
        (Some(seconds), Some(_)) => started.elapsed() < Duration::from_secs(seconds),
        _ => n < runs,
    };
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // One stream that disagrees is enough to look at.
            if !more(number) || bad.load(Ordering::Relaxed) > 0 {
                return;
            }
            let mut rng = Rng::with_seed(seed.wrapping_add(number));
            let stream = Stream::random(&mut rng, options.packets);
            match disagreement(subject, &stream) {
                Ok(None) => drop(good.fetch_add(1, Ordering::Relaxed)),
                Ok(Some(_)) => {
                    bad.fetch_add(1, Ordering::Relaxed);
                    let small = shrink(subject, stream);
                    let _turn = output.lock();
                    print(subject, &small, seed.wrapping_add(number));
                }
                Err(error) => {
                    bad.fetch_add(1, Ordering::Relaxed);
                    eprintln!("{}: {error}", subject.name);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.lanes {
            scope.spawn(work);
        }
    });
    (good.into_inner(), bad.into_inner())
}

/// What the model says and what the subject did, if these are not the same.
fn disagreement(subject: &Subject, stream: &Stream) -> Result<Option<(Vec<Mark>, Vec<Mark>)>> {
    let whole = stream.with_end();
    let expected = Model::judge(&whole.doors, subject.differences, &whole.knocks);
    let got = match &subject.program {
        Some(program) => through_daemon(program, &whole)?,
        None => in_process::marks(&whole.config(), &whole.knocks)?,
    };
    Ok((got != expected).then_some((expected, got)))
}

/// Makes a stream small as long as it shows a disagreement, at most a minute.
fn shrink(subject: &Subject, mut stream: Stream) -> Stream {
    let deadline = Instant::now() + Duration::from_secs(60);
    'smaller: while Instant::now() < deadline {
        for candidate in stream.smaller() {
            if matches!(disagreement(subject, &candidate), Ok(Some(_))) {
                stream = candidate;
                continue 'smaller;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        break;
    }
    stream
}

/// Prints a stream as a case.
fn print(subject: &Subject, stream: &Stream, seed: u64) {
    let (expected, got) = match disagreement(subject, stream) {
        Ok(Some(both)) => both,
        Ok(None) => {
            println!("{}: seed {seed} disagrees only sometimes", subject.name);
            Default::default()
        }
        Err(error) => {
            println!("{}: {error}", subject.name);
            Default::default()
        }
    };
    println!("# {} disagrees with the model; seed {seed}", subject.name);
    println!("[[case]]\nid = \"d{seed}\"\ntitle = \"found by a differential run\"");
    println!("config = \"\"\"\n{}\"\"\"", stream.config());
    println!("steps = [\"{}\"]", stream.script());
    println!("# the model says (with what marks the end):");
    println!("trace = \"{}\"", trace::write(&expected, false));
    println!(
        "# {} gave:\n#       \"{}\"\n",
        subject.name,
        trace::write(&got, false)
    );
}

/// How long a daemon may take to start, to report, to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a daemon, sends it the packets, and reads its log.
fn through_daemon(program: &Path, stream: &Stream) -> Result<Vec<Mark>> {
    let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
    let (log, config) = (dir.path().join("log"), dir.path().join("conf"));
    let options = format!("[options]\nlogfile = {}\n", log.display());
    fs::write(&config, options + &stream.config())?;
    let network = Network::new(Medium::Ethernet)?;
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(&config)
        .args(["-i", "server0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(dir.path().join("stderr"))?);
    let mut daemon = network.server.spawn(&mut command)?;
    let read = || fs::read_to_string(&log).unwrap_or_default();
    let stderr = || fs::read_to_string(dir.path().join("stderr")).unwrap_or_default();
    wait_until("it starts", || read().contains("starting up"))
        .map_err(|e| format!("{e}\n{}\n{}", stderr(), stream.config()))?;
    for knock in &stream.knocks {
        network.send(knock)?;
        sleep(Duration::from_micros(300));
    }
    let end = format!(": {END_DOOR}: OPEN SESAME");
    // The original stays deaf to a packet at times when it forks: then the log says how far it got.
    wait_until("the last packet", || read().contains(&end)).unwrap_or_default();
    kill(Pid::from_raw(i32::try_from(daemon.id())?), Signal::SIGTERM)?;
    daemon.wait_at_most(PATIENCE)?.ok_or("it does not stop")?;
    Ok(trace::from_log(read().lines()))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= deadline {
            return Err(format!("{what}: not within {PATIENCE:?}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
