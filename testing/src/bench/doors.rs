//! Many doors: how long it takes until one more of them opens.

use std::path::Path;
use std::time::{Duration, Instant};

use super::daemon::{COMMAND, Daemon};
use super::report::{Figure, Samples};
use super::{Line, Programs, TURNS};
use crate::Result;

/// What theirs takes more than a second for, and what it does not do in over a minute.
const FEW: u16 = 200;
const MANY: u16 = 1_000;
const MOST: u16 = 10_000;

/// Where the three steps of the doors begin.
const STEPS: [u16; 3] = [20_000, 32_000, 44_000];

/// Ports of doors that a reload brings.
const NEW: u16 = 60_000;

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let (mut few, mut many, mut most) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..TURNS {
        few.push(start(&programs.knockd, FEW)?.1);
        many.push(start(&programs.knockd, MANY)?.1);
        most.push(start(&programs.knockd, MOST)?.1);
    }
    let theirs = Figure::single(start(&programs.theirs, FEW)?.1);
    let reload = |count| reload(&programs.knockd, count);
    let until = "until the last of them opens";
    Ok(vec![
        Line::new(
            format!("start with {FEW} doors {until}"),
            " ms",
            few.median(),
        )
        .theirs(theirs),
        Line::new(
            format!("start with {MANY} doors {until}"),
            " ms",
            many.median(),
        )
        .at_most(100.0),
        Line::new(
            format!("start with {MOST} doors {until}"),
            " ms",
            most.median(),
        ),
        Line::new(
            format!("reload with {MANY} doors until a new one opens"),
            " ms",
            reload(MANY)?.median(),
        )
        .at_most(100.0),
        Line::new(
            format!("reload with {MOST} doors until a new one opens"),
            " ms",
            reload(MOST)?.median(),
        ),
    ])
}

/// A daemon with `count` doors, and the milliseconds from its start until the last one has
/// opened for a knock that is sent as soon as it says that it runs.
fn start(program: &Path, count: u16) -> Result<(Daemon, f64)> {
    let daemon = Daemon::start(program, &doors(count))?;
    for first in STEPS {
        daemon.knock(first + count - 1)?;
    }
    daemon.wait_for_command()?;
    let took = daemon.started.elapsed().as_secs_f64() * 1e3;
    Ok((daemon, took))
}

/// Milliseconds from the signal until a door that the file did not have before opens.
fn reload(program: &Path, count: u16) -> Result<Samples> {
    let (daemon, _) = start(program, count)?;
    let mut times = Samples::default();
    for port in (NEW..).take(TURNS) {
        let new = format!("[new]\nsequence = {port}\ntcpflags = syn\ncommand = {COMMAND}\n");
        let config = doors(count - 1) + &new;
        let start = Instant::now();
        daemon.reload(&config)?;
        // A knock that comes before the reload is done finds no door.
        while !daemon.command_runs(Duration::from_millis(1))? {
            if start.elapsed() > Duration::from_secs(10) {
                daemon.wait_for_command()?;
            }
            daemon.knock(port)?;
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
        // Commands of further knocks may still come.
        while daemon.command_runs(Duration::from_millis(50))? {}
    }
    Ok(times)
}

/// `count` doors of three steps.
fn doors(count: u16) -> String {
    let door = |n: u16| {
        let [a, b, c] = STEPS.map(|first| first + n);
        format!(
            "[door{n}]\nsequence = {a},{b},{c}\nseq_timeout = 10\ntcpflags = syn\n\
             command = {COMMAND}\n\n"
        )
    };
    (0..count).map(door).collect()
}
