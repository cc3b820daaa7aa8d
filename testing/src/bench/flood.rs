//! CPU time a packet, in a flood of first knocks, while 10,000 sources have begun.

use std::path::Path;
use std::time::Duration;

use super::daemon::Daemon;
use super::report::Samples;
use super::{Line, Programs, TURNS};
use crate::Result;
use crate::flood::Flood;

/// Sources alive, in the middle of what is measured.
const ALIVE: u32 = 10_000;

/// Packets of a turn, and packets a second at the most: to each what it can take.
const OURS: [u32; 2] = [200_000, 400_000];
const THEIRS: [u32; 2] = [400, 2_000];

const DOOR: &str = "[A]\nsequence = 7000,8000,9000\nseq_timeout = 600\ntcpflags = syn\n";

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let turns = u32::try_from(TURNS)?;
    // Theirs remembers all who come; ours as many as it is told to, so that it displaces one for
    // each that comes.
    let bounded = format!("max_attempts = {ALIVE}\n{DOOR}");
    let [their_packets, their_rate] = THEIRS;
    let before = ALIVE - turns * their_packets / 2;
    let mut theirs = Side::new(&programs.theirs, DOOR, stages)?;
    theirs.fill(before, their_rate)?;
    let [our_packets, our_rate] = OURS;
    let mut ours = Side::new(&programs.knockd, &bounded, seen)?;
    ours.fill(ALIVE, our_rate / 10)?;
    for _ in 0..TURNS {
        theirs.turn(their_packets, their_rate)?;
        ours.turn(our_packets, our_rate)?;
    }
    let note = format!(
        "its user and system time; ours {}, theirs {}",
        ours.account(),
        theirs.account()
    );
    Ok(vec![
        Line::new(
            format!("CPU a packet, {ALIVE} sources alive"),
            " us",
            ours.cpu.median(),
        )
        .theirs(theirs.cpu.median())
        .ratio_at_least(500.0)
        .note(note),
    ])
}

/// A daemon in its flood.
struct Side {
    daemon: Daemon,
    flood: Flood,
    /// Packets that it has handled so far.
    handled: fn(&Daemon) -> Result<u32>,
    /// Of the turns.
    time: Duration,
    sent: u32,
    seen: u32,
    /// Microseconds a packet.
    cpu: Samples,
}

impl Side {
    fn new(program: &Path, config: &str, handled: fn(&Daemon) -> Result<u32>) -> Result<Self> {
        Ok(Self {
            daemon: Daemon::start(program, config)?,
            flood: Flood::new(7000)?,
            handled,
            time: Duration::ZERO,
            sent: 0,
            seen: 0,
            cpu: Samples::default(),
        })
    }

    /// Lets `alive` sources begin.
    fn fill(&mut self, alive: u32, rate: u32) -> Result<()> {
        self.flood.send(&self.daemon.network, alive, rate)?;
        self.daemon.settle()
    }

    fn turn(&mut self, packets: u32, rate: u32) -> Result<()> {
        let handled = (self.handled)(&self.daemon)?;
        let before = self.daemon.cpu()?;
        self.time += self.flood.send(&self.daemon.network, packets, rate)?;
        self.daemon.settle()?;
        let spent = self.daemon.cpu()?.saturating_sub(before);
        let handled = (self.handled)(&self.daemon)? - handled;
        self.sent += packets;
        self.seen += handled;
        self.cpu
            .push(spent.as_secs_f64() * 1e6 / f64::from(handled));
        Ok(())
    }

    /// How the packets were sent, and what became of them.
    fn account(&self) -> String {
        let rate = f64::from(self.sent) / self.time.as_secs_f64();
        let lost = self.sent.saturating_sub(self.seen);
        format!("{} at {rate:.0}/s, {lost} lost", self.sent)
    }
}

/// Packets that theirs has handled: it logs each first knock.
fn stages(daemon: &Daemon) -> Result<u32> {
    let log = daemon.log()?;
    let stages = log.lines().filter(|line| line.ends_with(": A: Stage 1"));
    Ok(u32::try_from(stages.count())?)
}

/// Packets that ours has handled.
fn seen(daemon: &Daemon) -> Result<u32> {
    let seen = daemon.status()?.seen;
    daemon.settle()?;
    Ok(u32::try_from(seen)?)
}
