//! From the last packet of a knock to the start of the command.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::daemon::{COMMAND, Daemon};
use super::report::Samples;
use super::{Line, Programs, TURNS};
use crate::Result;
use crate::script::{Knock, address, packet};

const STEPS: [u16; 3] = [7000, 8000, 9000];

/// Knocks in a turn: enough in all that one in a hundred can be told; fewer of theirs, which are
/// slow.
const OURS: u32 = 60;
const THEIRS: u32 = 40;

/// The original hands over packets at intervals of 50 ms.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let config = format!("[A]\nsequence = 7000,8000,9000\ntcpflags = syn\ncommand = {COMMAND}\n");
    let ours = Daemon::start(&programs.knockd, &config)?;
    let theirs = Daemon::start(&programs.theirs, &config)?;
    // What a first time costs is no matter of a knock.
    knock(&ours, 5, &mut Samples::default())?;
    knock(&theirs, 5, &mut Samples::default())?;
    let (mut our_times, mut their_times) = (Samples::default(), Samples::default());
    for _ in 0..TURNS {
        knock(&theirs, THEIRS, &mut their_times)?;
        knock(&ours, OURS, &mut our_times)?;
    }
    let what = "last packet to start of command";
    let counts = format!("{} and {} knocks", our_times.len(), their_times.len());
    Ok(vec![
        Line::new(format!("{what}, median"), " ms", our_times.median())
            .theirs(their_times.median())
            .at_most(1.5)
            .ratio_at_least(20.0)
            .note(counts),
        Line::new(
            format!("{what}, 99th percentile"),
            " ms",
            our_times.percentile_99(),
        )
        .theirs(their_times.percentile_99())
        .at_most(5.0),
    ])
}

/// Knocks `count` times; milliseconds from the last packet until the command's shell writes.
///
/// A knock may fall on any point of the original's interval, and its median is where the knocks
/// happen to fall; so they are spread over it evenly, in random order.
fn knock(daemon: &Daemon, count: u32, times: &mut Samples) -> Result<()> {
    let mut begins: Vec<Duration> = (0..count).map(|n| INTERVAL * n / count).collect();
    Rng::with_seed(11).shuffle(&mut begins);
    let knocks: Vec<Knock> = STEPS
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
