//! From the last packet of a knock to the start of the command.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::daemon::{COMMAND, Daemon};
use super::report::Samples;
use super::{Line, Programs, TURNS};
use crate::Result;
use crate::script::{Knock, address, packet};

/// What a door runs.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Runs {
    /// A program with plain words, such as iptables.
    Program,
    /// Something for a shell.
    Shell,
}

impl Runs {
    const fn steps(self) -> [u16; 3] {
        match self {
            Self::Program => [7000, 8000, 9000],
            Self::Shell => [7100, 8100, 9100],
        }
    }
}

/// Knocks in a turn: enough in all that one in a hundred can be told; fewer of theirs, which are
/// slow.
const OURS: u32 = 60;
const THEIRS: u32 = 40;

/// Of a shell's commands, this part.
const SHELLS: u32 = 3;

/// The original hands over packets at intervals of 50 ms.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
    let mark = dir.path().join("mark");
    compile("mark.c", &mark)?;
    let config = format!(
        "[A]\nsequence = 7000,8000,9000\ntcpflags = syn\ncommand = {} {{fifo}}\n\
         [B]\nsequence = 7100,8100,9100\ntcpflags = syn\ncommand = {COMMAND}\n",
        mark.display()
    );
    let mut ours = Side::new(&programs.knockd, &config)?;
    let mut theirs = Side::new(&programs.theirs, &config)?;
    for _ in 0..TURNS {
        theirs.turn(THEIRS)?;
        ours.turn(OURS)?;
    }
    let what = "last packet to start of command";
    let counts = format!("{} and {} knocks", ours.plain.len(), theirs.plain.len());
    Ok(vec![
        Line::new(format!("{what}, median"), " ms", ours.plain.median())
            .theirs(theirs.plain.median())
            .at_most(1.5)
            .ratio_at_least(20.0)
            .note(counts),
        Line::new(
            format!("{what}, 99th percentile"),
            " ms",
            ours.plain.percentile_99(),
        )
        .theirs(theirs.plain.percentile_99())
        .at_most(5.0),
        Line::new(
            format!("{what} that is for a shell, median"),
            " ms",
            ours.shell.median(),
        )
        .theirs(theirs.shell.median())
        .at_most(1.5)
        .note("until the shell itself has started, and writes"),
    ])
}

/// Makes a program of a file among our tools.
fn compile(source: &str, program: &Path) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tools")
        .join(source);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-o"]).arg(program).arg(&source);
    if cc.status()?.success() {
        Ok(())
    } else {
        Err(format!("cc makes no program of {}", source.display()).into())
    }
}

/// A daemon, and the milliseconds that its commands took to start.
struct Side {
    daemon: Daemon,
    plain: Samples,
    shell: Samples,
}

impl Side {
    fn new(program: &Path, config: &str) -> Result<Self> {
        let side = Self {
            daemon: Daemon::start(program, config)?,
            plain: Samples::default(),
            shell: Samples::default(),
        };
        // What a first time costs is no matter of a knock.
        for runs in [Runs::Program, Runs::Shell] {
            knock(&side.daemon, runs, 5, &mut Samples::default())?;
        }
        Ok(side)
    }

    fn turn(&mut self, count: u32) -> Result<()> {
        knock(&self.daemon, Runs::Program, count, &mut self.plain)?;
        knock(&self.daemon, Runs::Shell, count / SHELLS, &mut self.shell)
    }
}

/// Knocks `count` times; milliseconds from the last packet until the command writes.
///
/// A knock may fall on any point of the original's interval, and its median is where the knocks
/// happen to fall; so they are spread over it evenly, in random order.
fn knock(daemon: &Daemon, runs: Runs, count: u32, times: &mut Samples) -> Result<()> {
    let mut begins: Vec<Duration> = (0..count).map(|n| INTERVAL * n / count).collect();
    Rng::with_seed(11).shuffle(&mut begins);
    let knocks: Vec<Knock> = runs
        .steps()
        .iter()
        .map(|port| packet(&port.to_string()))
        .collect::<Result<_>>()?;
    for begin in begins {
        sleep(begin);
        let mut sent = Instant::now();
        for knock in &knocks {
            // After a pause, so that this packet is not seen along with the one before.
            sleep(Duration::from_millis(5));
            sent = Instant::now();
            daemon.send(&Knock {
                source: address::number(20, false),
                ..knock.clone()
            })?;
        }
        daemon.wait_for_command()?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
