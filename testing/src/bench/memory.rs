//! Memory and log lines that strangers can cause: in the worst flood, and a minute later; and once more,
//! since what was given back once need not be given back again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::report::{Figure, to_f64};
use super::{Line, MEBIBYTE, Programs};
use crate::Result;
use crate::torrent::{Hostile, Pace, Sources, during};

/// Attempts end soon after the flood.
const CONFIG: &str = "[A]\nsequence = 7000,8000,9000\nseq_timeout = 10\ntcpflags = syn\n\
                      [B]\nsequence = 7100:udp,7200\nseq_timeout = 10\n";

const FLOOD: Duration = Duration::from_secs(20);
const SECOND_FLOOD: Duration = Duration::from_secs(5);
/// Theirs fills its disk with lines, and its memory with sources.
const THEIR_FLOOD: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// In a line that counts what was left out, behind the number.
const COUNT: &str = " log lines about ";

/// First and wrong knocks at two doors, over both versions of IP.
const PACKETS: [&str; 6] = ["7000", "7000~6", "7100:udp", "8000", "7100:udp~6", "9000~6"];

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let ours = Daemon::start(&programs.knockd, CONFIG)?;
    let flooded = flood(&ours, FLOOD)?;
    sleep(MINUTE);
    let afterwards = Figure::single(mebibytes(&ours)?);
    let again = flood(&ours, SECOND_FLOOD)?;
    sleep(MINUTE);
    let after_both = Figure::single(mebibytes(&ours)?);
    let theirs = flood(&Daemon::start(&programs.theirs, CONFIG)?, THEIR_FLOOD)?;
    let seconds = THEIR_FLOOD.as_secs();
    Ok(vec![
        Line::new(
            "greatest resident memory in a flood",
            " MiB",
            flooded.memory(),
        )
        .at_most(48.0)
        .theirs(theirs.memory())
        .note(format!("theirs after {seconds} s of it")),
        Line::new("resident memory a minute later", " MiB", afterwards).at_most(12.0),
        Line::new(
            "greatest resident memory in a second flood",
            " MiB",
            again.memory(),
        )
        .at_most(48.0),
        Line::new("resident memory a minute after both", " MiB", after_both).at_most(12.0),
        Line::new(
            format!("log lines a second in {} s of a flood", FLOOD.as_secs()),
            "",
            flooded.lines_a_second(),
        )
        .at_most(10.0)
        .theirs(theirs.lines_a_second())
        .note(flooded.account()),
    ])
}

/// What was seen in a flood, once a second.
#[derive(Debug, Default)]
struct Flooded {
    /// Mebibytes.
    memory: Vec<f64>,
    /// Lines of the log so far that strangers have caused.
    lines: Vec<usize>,
    /// Those of them about a step after the first, to which some come by chance.
    later_steps: usize,
    /// Lines that count what was left out, and what they come to.
    counts: usize,
    counted: u64,
}

impl Flooded {
    fn memory(&self) -> Figure {
        Figure::single(self.memory.iter().copied().fold(f64::NAN, f64::max))
    }

    fn lines_a_second(&self) -> Figure {
        let all = self.lines.last().copied().unwrap_or_default();
        Figure::single(to_f64(all) / to_f64(self.lines.len()))
    }

    /// The log may say much at once, and less then.
    fn account(&self) -> String {
        let first = self.lines.first().copied().unwrap_or_default();
        let all = self.lines.last().copied().unwrap_or_default();
        let later = to_f64(all - first) / to_f64(self.lines.len().saturating_sub(1));
        format!(
            "{first} in the first second, {later:.1} in each later one; of all {all}, {} about \
             second steps, which few of the strangers come to, by chance; {} more lines say that \
             {} were left out",
            self.later_steps, self.counts, self.counted
        )
    }
}

fn flood(daemon: &Daemon, time: Duration) -> Result<Flooded> {
    let hostile = |word: &&str| Hostile::new(&daemon.network, word, Sources::Anybody);
    let hostile: Vec<_> = PACKETS.iter().map(hostile).collect::<Result<_>>()?;
    let before = daemon.log()?.lines().count();
    let watch = || {
        let mut flooded = Flooded::default();
        let started = Instant::now();
        for second in 1..=time.as_secs() {
            sleep(Duration::from_secs(second).saturating_sub(started.elapsed()));
            flooded.memory.push(mebibytes(daemon)?);
            let log = daemon.log()?;
            let lines = log.lines().skip(before);
            let (counts, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(COUNT));
            flooded.lines.push(lines.len());
            let later = |line: &&&str| line.contains("tage 2") || line.contains("tage 3");
            flooded.later_steps = lines.iter().filter(later).count();
            flooded.counts = counts.len();
            flooded.counted = counts.iter().filter_map(|line| counted(line)).sum();
        }
        Ok(flooded)
    };
    Ok(during(&daemon.network, &hostile, Pace::all(), watch)?.0)
}

/// How many lines a line says were left out.
fn counted(line: &str) -> Option<u64> {
    line.split_once(COUNT)?.0.rsplit(' ').next()?.parse().ok()
}

fn mebibytes(daemon: &Daemon) -> Result<f64> {
    let bytes = usize::try_from(daemon.resident()?)?;
    Ok(to_f64(bytes) / MEBIBYTE)
}
