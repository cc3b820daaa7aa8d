//! CPU time a packet, in a flood of first knocks, while 10,000 sources have begun.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::daemon::Daemon;
use super::report::Samples;
use super::{Line, Programs, TURNS};
use crate::Result;
use crate::flood::Flood;

/// Sources alive, in the middle of what is measured.
const ALIVE: u32 = 10_000;

/// Packets of a turn, and packets a second: to each what it can take.
const OURS: [u32; 2] = [100_000, 200_000];
const THEIRS: [u32; 2] = [400, 2_000];

const DOOR: &str = "[A]\nsequence = 7000,8000,9000\nseq_timeout = 600\ntcpflags = syn\n";

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let turns = u32::try_from(TURNS)?;
    // Theirs remembers all who come; ours as many as it is told to, so that it displaces one for
    // each that comes.
    let bounded = format!("max_attempts = {ALIVE}\n{DOOR}");
    let [their_packets, their_rate] = THEIRS;
    let before = ALIVE - turns * their_packets / 2;
    let mut theirs = Side::new(&programs.theirs, DOOR, before, their_rate)?;
    let [our_packets, our_rate] = OURS;
    let mut ours = Side::new(&programs.knockd, &bounded, ALIVE, our_rate / 4)?;
    for _ in 0..TURNS {
        theirs.turn(their_packets, their_rate)?;
        ours.turn(our_packets, our_rate)?;
    }
    let note = format!(
        "of the process; sent and lost: ours {}, theirs {}",
        ours.losses(ours.seen()?),
        theirs.losses(theirs.stages()?)
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
    sent: u32,
    /// While it was measured.
    time: Duration,
    measured: u32,
    /// Microseconds a packet.
    cpu: Samples,
}

impl Side {
    /// With `alive` sources that have begun.
    fn new(program: &std::path::Path, config: &str, alive: u32, rate: u32) -> Result<Self> {
        let daemon = Daemon::start(program, config)?;
        let mut flood = Flood::new(7000)?;
        flood.send(&daemon.network, alive, rate)?;
        daemon.settle()?;
        Ok(Self {
            daemon,
            flood,
            sent: alive,
            time: Duration::ZERO,
            measured: 0,
            cpu: Samples::default(),
        })
    }

    fn turn(&mut self, packets: u32, rate: u32) -> Result<()> {
        let before = self.daemon.cpu()?;
        self.time += self.flood.send(&self.daemon.network, packets, rate)?;
        self.daemon.settle()?;
        let spent = self.daemon.cpu()? - before;
        self.sent += packets;
        self.measured += packets;
        self.cpu
            .push(spent.as_secs_f64() * 1e6 / f64::from(packets));
        Ok(())
    }

    fn losses(&self, seen: u32) -> String {
        let rate = f64::from(self.measured) / self.time.as_secs_f64();
        let lost = self.sent.saturating_sub(seen);
        format!("{} at {rate:.0}/s, {lost} lost", self.sent)
    }

    /// Packets that theirs has handled: it logs each first knock.
    fn stages(&self) -> Result<u32> {
        let log = self.daemon.log()?;
        let stages = log.lines().filter(|line| line.ends_with(": A: Stage 1"));
        Ok(u32::try_from(stages.count())?)
    }

    /// Packets that ours has handled: it says so when it is asked.
    fn seen(&self) -> Result<u32> {
        self.daemon.signal(Signal::SIGUSR1)?;
        self.daemon.settle()?;
        let log = self.daemon.log()?;
        let words = log.lines().rev().find_map(|line| {
            let (before, _) = line.split_once(" packets seen")?;
            before.rsplit(' ').next()?.parse().ok()
        });
        words.ok_or_else(|| "no status in the log".into())
    }
}
