//! What a hostile packet costs, and how many are handled, against the least that is possible: a loop
//! that only counts them.

use std::thread::sleep;
use std::time::Duration;

use super::accounts::Usage;
use super::bare::BareLoop;
use super::daemon::Daemon;
use super::report::{Figure, Samples};
use super::{Line, Programs, TURNS};
use crate::Result;
use crate::network::Network;
use crate::torrent::{Hostile, Pace, Sent, Sources, during};

const CONFIG: &str = "[A]\nsequence = 7000,8000,9000\nseq_timeout = 60\ntcpflags = syn\n";

/// How long a turn floods: five turns give the ticks that tell user space from the kernel some
/// hundred milliseconds of the bare loop's time to look at.
const FLOOD: Duration = Duration::from_secs(2);

/// Theirs is slower with each source that begins.
const THEIR_FLOOD: Duration = Duration::from_secs(1);

/// What is in the ring at the end of the flood is handled meanwhile.
const AFTERWARDS: Duration = Duration::from_millis(100);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let all = Measured::new(programs, "7000", Pace::all())?;
    let one = Measured::new(programs, "7000", Pace::Full(1))?;
    let laters = Measured::new(programs, "8000", Pace::Full(1))?;
    let mut theirs = Theirs(Daemon::start(&programs.theirs, CONFIG)?);
    let theirs = measure(&mut theirs, "7000", Pace::Full(1), THEIR_FLOOD)?;
    let handled = |measured: &Measured, who: &str| {
        Line::new(
            format!("of a flood of first knocks, as fast as {who} can send: handled"),
            " %",
            measured.ours.handled(),
        )
        .bare(measured.bare.handled())
        .bare_ratio_at_least(0.9)
        .note(measured.account())
    };
    let cpu = |measured: &Measured, what: &str| {
        Line::new(
            format!("user-space CPU a hostile packet, {what}"),
            " ns",
            measured.ours.user(),
        )
        .bare(measured.bare.user())
        .bare_ratio_at_most(3.0)
    };
    Ok(vec![
        handled(&one, "one thread").theirs(Figure::single(theirs.share())),
        handled(&all, "all processors"),
        cpu(&one, "first knocks, the table full").theirs(Figure::single(theirs.user_nanos())),
        cpu(&laters, "second knocks of who has not begun"),
    ])
}

/// Something that sees packets.
trait Watcher {
    fn network(&self) -> &Network;
    fn usage(&mut self) -> Result<Usage>;
    /// Packets handled so far.
    fn handled(&mut self) -> Result<u64>;
}

impl Watcher for BareLoop {
    fn network(&self) -> &Network {
        &self.network
    }

    fn usage(&mut self) -> Result<Usage> {
        self.usage()
    }

    fn handled(&mut self) -> Result<u64> {
        let [packets, _] = self.counts()?;
        Ok(packets)
    }
}

impl Watcher for Daemon {
    fn network(&self) -> &Network {
        &self.network
    }

    fn usage(&mut self) -> Result<Usage> {
        Self::usage(self)
    }

    fn handled(&mut self) -> Result<u64> {
        Ok(self.status()?.seen)
    }
}

/// The original logs each first knock that it handles.
struct Theirs(Daemon);

impl Watcher for Theirs {
    fn network(&self) -> &Network {
        &self.0.network
    }

    fn usage(&mut self) -> Result<Usage> {
        self.0.usage()
    }

    fn handled(&mut self) -> Result<u64> {
        let log = self.0.log()?;
        let stages = log.lines().filter(|line| line.ends_with(": A: Stage 1"));
        Ok(u64::try_from(stages.count())?)
    }
}

/// One turn.
#[derive(Copy, Clone, Debug)]
struct Turn {
    sent: Sent,
    handled: u64,
    usage: Usage,
}

impl Turn {
    /// Of what was sent, in hundredths.
    fn share(&self) -> f64 {
        100.0 * to_f64(self.handled) / to_f64(self.sent.packets)
    }

    fn user_nanos(&self) -> f64 {
        self.usage.user().as_secs_f64() * 1e9 / to_f64(self.handled)
    }
}

/// Fewer than 2^32.
fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Ours and the bare loop in the same flood, in turns.
struct Measured {
    ours: Turns,
    bare: Turns,
}

impl Measured {
    fn new(programs: &Programs, word: &str, pace: Pace) -> Result<Self> {
        let mut ours = Daemon::start(&programs.knockd, CONFIG)?;
        let mut bare = BareLoop::start(CONFIG)?;
        let mut measured = Self {
            ours: Turns::default(),
            bare: Turns::default(),
        };
        if word == "7000" {
            // From here on the table is full.
            measure(&mut ours, word, pace, FLOOD)?;
        }
        for _ in 0..TURNS {
            measured.bare.0.push(measure(&mut bare, word, pace, FLOOD)?);
            measured.ours.0.push(measure(&mut ours, word, pace, FLOOD)?);
        }
        Ok(measured)
    }

    /// How fast the packets came.
    fn account(&self) -> String {
        format!(
            "ours at {:.0} packets a second, the bare loop at {:.0}",
            self.ours.rate(),
            self.bare.rate()
        )
    }
}

#[derive(Default)]
struct Turns(Vec<Turn>);

impl Turns {
    fn handled(&self) -> Figure {
        self.0.iter().map(Turn::share).collect::<Samples>().median()
    }

    /// Nanoseconds a packet: the time of each turn, divided as in all of them.
    fn user(&self) -> Figure {
        let all = self
            .0
            .iter()
            .fold(Usage::default(), |all, turn| all.plus(&turn.usage));
        let share = all.user().as_secs_f64() / all.cpu.as_secs_f64();
        let nanos = |turn: &Turn| turn.usage.cpu.as_secs_f64() * 1e9 / to_f64(turn.handled);
        self.0
            .iter()
            .map(|turn| nanos(turn) * share)
            .collect::<Samples>()
            .median()
    }

    fn rate(&self) -> f64 {
        let rates = self.0.iter().map(|turn| turn.sent.rate());
        rates.collect::<Samples>().median().value
    }
}

fn measure(watcher: &mut impl Watcher, word: &str, pace: Pace, time: Duration) -> Result<Turn> {
    let hostile = [Hostile::new(watcher.network(), word, Sources::Anybody)?];
    let (handled, used) = (watcher.handled()?, watcher.usage()?);
    let flood = || {
        sleep(time);
        Ok(())
    };
    let ((), sent) = during(watcher.network(), &hostile, pace, flood)?;
    sleep(AFTERWARDS);
    let usage = watcher.usage()?.since(&used);
    Ok(Turn {
        sent,
        handled: watcher.handled()? - handled,
        usage,
    })
}
