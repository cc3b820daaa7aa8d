//! Who knocks gets in while strangers send as many packets as this machine can, and the table of
//! attempts is full of their first knocks.

use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::daemon::Daemon;
use super::report::{Figure, to_f64};
use super::{Line, Programs};
use crate::Result;
use crate::script::{Knock, Variation, address, packet};
use crate::torrent::{Hostile, Pace, Sent, Sources, during};

/// Longer than a measurement takes, so that the table stays full.
const CONFIG: &str = "[A]\nsequence = 7000,8000,9000\nseq_timeout = 60\ntcpflags = syn\n\
                      command = echo %IP% >> {fifo}\n";

/// The table at its default size.
const MAX_ATTEMPTS: u64 = 262_144;

/// Knocks in each flood.
const OURS: u8 = 20;
const THEIRS: u8 = 5;

/// How long a command may take to start after the last packet.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the table may take to fill.
const FILLING: Duration = Duration::from_secs(20);

/// What strangers send.
struct Flood {
    name: &'static str,
    /// Its packets, which are sent in turn.
    packets: &'static [(&'static str, Sources)],
    v6: bool,
}

/// First knocks from everywhere keep the table full in every flood, and turn it over.
const FLOODS: [Flood; 8] = [
    Flood {
        name: "first knocks from anybody",
        packets: &[("7000", Sources::Anybody)],
        v6: false,
    },
    Flood {
        name: "first knocks from anybody, over IPv6",
        packets: &[("7000~6", Sources::Anybody)],
        v6: true,
    },
    Flood {
        name: "first knocks from the knocker's /24",
        packets: &[
            ("7000", Sources::Neighbours),
            ("7000", Sources::Neighbours),
            ("7000", Sources::Neighbours),
            ("7000", Sources::Anybody),
        ],
        v6: false,
    },
    Flood {
        name: "first knocks from the knocker's /64",
        packets: &[("7000~6", Sources::Neighbours)],
        v6: true,
    },
    Flood {
        name: "second and third knocks from anybody",
        packets: &[
            ("8000", Sources::Anybody),
            ("9000", Sources::Anybody),
            ("8000", Sources::Anybody),
            ("7000", Sources::Anybody),
        ],
        v6: false,
    },
    Flood {
        name: "second and third knocks from the knocker's /24",
        packets: &[
            ("8000", Sources::Neighbours),
            ("9000", Sources::Neighbours),
            ("8000", Sources::Neighbours),
            ("7000", Sources::Anybody),
        ],
        v6: false,
    },
    Flood {
        name: "second and third knocks from the knocker's /64",
        packets: &[
            ("8000~6", Sources::Neighbours),
            ("9000~6", Sources::Neighbours),
            ("8000~6", Sources::Neighbours),
            ("7000~6", Sources::Neighbours),
        ],
        v6: true,
    },
    Flood {
        name: "all three from anybody, later ones from the neighbours",
        packets: &[
            ("7000", Sources::Anybody),
            ("8000", Sources::Neighbours),
            ("9000", Sources::Anybody),
            ("8000", Sources::Anybody),
            ("9000", Sources::Neighbours),
            ("7000~6", Sources::Anybody),
            ("8000~6", Sources::Neighbours),
            ("9000~6", Sources::Neighbours),
        ],
        v6: false,
    },
];

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    FLOODS.iter().map(|flood| judge(flood, programs)).collect()
}

fn judge(flood: &Flood, programs: &Programs) -> Result<Line> {
    let ours = Side::new(&programs.knockd, flood)?;
    ours.fill()?;
    let (opened_by_one, _) = ours.knock(OURS, Pace::Full(1))?;
    let before = ours.daemon.status()?;
    let (opened, sent) = ours.knock(OURS, Pace::all())?;
    let after = ours.daemon.status()?;
    let theirs = Side::new(&programs.theirs, flood)?;
    let (their_opened, their_sent) = theirs.knock(THEIRS, Pace::all())?;
    let note = format!(
        "{:.0} packets a second by all processors, of {} packets {} found no room, {} attempts at \
         the end; {opened_by_one} of {OURS} when one thread sends; theirs {their_opened} of \
         {THEIRS} at {:.0} a second",
        sent.rate(),
        sent.packets,
        after.dropped - before.dropped,
        after.attempts,
        their_sent.rate(),
    );
    let what = format!("of {OURS} knocks that open in a flood of {}", flood.name);
    let opened = Figure::single(to_f64(opened));
    Ok(Line::new(what, "", opened)
        .at_least(f64::from(OURS))
        .note(note))
}

/// A daemon in the flood.
struct Side {
    daemon: Daemon,
    packets: Vec<Hostile>,
    v6: bool,
}

impl Side {
    fn new(program: &Path, flood: &Flood) -> Result<Self> {
        let daemon = Daemon::start(program, CONFIG)?;
        let hostile = |&(word, sources)| Hostile::new(&daemon.network, word, sources);
        Ok(Self {
            packets: flood.packets.iter().map(hostile).collect::<Result<_>>()?,
            v6: flood.v6,
            daemon,
        })
    }

    /// Lets so many strangers begin that there is no place left.
    fn fill(&self) -> Result<()> {
        let daemon = &self.daemon;
        let full = || {
            let deadline = Instant::now() + FILLING;
            while daemon.status()?.attempts < MAX_ATTEMPTS {
                if Instant::now() > deadline {
                    return Err("the table does not fill".into());
                }
                sleep(Duration::from_millis(100));
            }
            Ok(())
        };
        let word = if self.v6 { "7000~6" } else { "7000" };
        let first = Hostile::new(&daemon.network, word, Sources::Anybody)?;
        during(&daemon.network, &[first], Pace::Full(1), full)?;
        Ok(())
    }

    /// Lets `count` clients knock once each, in the flood: how many get in, and what was sent.
    fn knock(&self, count: u8, pace: Pace) -> Result<(usize, Sent)> {
        let knock = || {
            // It is in full flow.
            sleep(Duration::from_millis(300));
            let mut random = Rng::with_seed(7);
            let mut opened = 0;
            for n in 20..20 + count {
                let source = address::number(n, self.v6);
                opened += usize::from(one_knock(&self.daemon, source, &mut random)?);
            }
            Ok(opened)
        };
        during(&self.daemon.network, &self.packets, pace, knock)
    }
}

/// Whether the door opens for `source`, who knocks once.
fn one_knock(daemon: &Daemon, source: IpAddr, random: &mut Rng) -> Result<bool> {
    for port in ["7000", "8000", "9000"] {
        sleep(Duration::from_millis(random.u64(5..=30)));
        let knock = packet(port)?;
        daemon.send(&Knock {
            source,
            destination: address::number(2, source.is_ipv6()),
            variations: vec![Variation::SourcePort(40_001)],
            ..knock
        })?;
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        if daemon.next_command(left)? == Some(source.to_string()) {
            return Ok(true);
        }
    }
    Ok(false)
}
