//! Port scans in random order, which is how nmap scans: whom they let in.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::daemon::Daemon;
use super::report::{Figure, to_f64};
use super::{Line, Programs};
use crate::Result;
use crate::script::packet;

/// The doors `s` and `u` are strict, `a` has the sequence of `s` and is not.
const STRICT: &str = "[s]\nsequence = 7000,8000,9000\ntcpflags = syn\nstrict = yes\n\
                      [u]\nsequence = 300:udp,600:udp,900:udp\nstrict = yes\n";
const LOOSE: &str = "[a]\nsequence = 7000,8000,9000\ntcpflags = syn\n\
                     [b]\nsequence = 300:udp,600:udp,900:udp\n";

/// A way to scan, how often it is done, and how many packets it sends at least, over all sources.
struct Scan {
    name: &'static str,
    options: &'static str,
    times: usize,
    packets: u64,
}

/// A hundred in all.
const SCANS: [Scan; 5] = [
    Scan {
        name: "every TCP port, as fast as nmap can",
        options: "-sS -p- -T5 --max-retries 0",
        times: 60,
        packets: 60_000,
    },
    Scan {
        name: "every TCP port, 30,000 packets a second",
        options: "-sS -p- -T5 --max-retries 0 --min-rate 30000 --max-rate 30000",
        times: 10,
        packets: 60_000,
    },
    Scan {
        name: "every TCP port, with four decoys",
        options: "-sS -p- -T5 --max-retries 0 -D 100.64.0.1,100.64.0.2,ME,100.64.0.3,100.64.0.4",
        times: 10,
        packets: 300_000,
    },
    Scan {
        name: "UDP ports to 1,000",
        options: "-sU -p 1-1000 -T5 --max-retries 0 --min-rate 5000",
        times: 10,
        packets: 900,
    },
    Scan {
        name: "303 TCP ports, 5 ms apart",
        options: "-sS -p 6950-7050,7950-8050,8950-9050 --max-retries 0 --scan-delay 5ms",
        times: 10,
        packets: 300,
    },
];

/// Of how many the first one of each door that is not strict is judged at theirs.
const THEIRS: usize = 20;

/// No scan takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let ours = Daemon::start(&programs.knockd, &format!("{STRICT}{LOOSE}"))?;
    let mut strict = Tally::default();
    let mut loose = Tally::default();
    let mut ways = Vec::new();
    for scan in &SCANS {
        let already = loose.opened;
        for _ in 0..scan.times {
            forget(&ours)?;
            let before = (ours.log()?, ours.status()?.seen);
            nmap(&ours, scan.options)?;
            let seen = ours.status()?.seen - before.1;
            if seen < scan.packets {
                return Err(format!("{}: only {seen} packets came", scan.name).into());
            }
            let log = ours.log()?;
            let new = log.get(before.0.len()..).unwrap_or_default();
            strict.count(openings(new, &["s", "u"]));
            loose.count(openings(new, &["a", "b"]));
        }
        let opened = loose.opened - already;
        ways.push(format!("{opened} of {} of {}", scan.times, scan.name));
    }
    let theirs = theirs(&programs.theirs)?;
    Ok(vec![
        Line::new(
            format!(
                "of {} scans in random order, those that open a strict door",
                strict.scans
            ),
            "",
            Figure::single(to_f64(strict.opened)),
        )
        .at_most(0.0),
        Line::new(
            format!(
                "in {} of the same scans, a door that is not strict",
                loose.scans
            ),
            " %",
            loose.share(),
        )
        .theirs(theirs.share())
        .note(format!(
            "ours {}; theirs {} of {} of the first",
            ways.join(", "),
            theirs.opened,
            theirs.scans
        )),
    ])
}

fn theirs(program: &Path) -> Result<Tally> {
    let daemon = Daemon::start(program, LOOSE)?;
    let mut tally = Tally::default();
    let [fast, ..] = &SCANS;
    for _ in 0..THEIRS {
        forget(&daemon)?;
        let before = daemon.log()?.len();
        nmap(&daemon, fast.options)?;
        daemon.settle()?;
        let log = daemon.log()?;
        tally.count(openings(log.get(before..).unwrap_or_default(), &["a", "b"]));
    }
    Ok(tally)
}

/// How many scans opened a door, for whatever source.
#[derive(Debug, Default)]
struct Tally {
    scans: usize,
    opened: usize,
}

impl Tally {
    fn count(&mut self, openings: usize) {
        self.scans += 1;
        self.opened += usize::from(openings > 0);
    }

    /// In hundredths.
    fn share(&self) -> Figure {
        Figure::single(100.0 * to_f64(self.opened) / to_f64(self.scans))
    }
}

/// How often the doors opened, of which `log` tells.
fn openings(log: &str, doors: &[&str]) -> usize {
    let opens = |line: &str| {
        let door = |door: &&str| line.ends_with(&format!(": {door}: OPEN SESAME"));
        doors.iter().any(door)
    };
    log.lines().filter(|line| opens(line)).count()
}

/// Ends what the scan before may have begun: after a last step nobody has begun anything.
fn forget(daemon: &Daemon) -> Result<()> {
    for source in ["1", "100.64.0.1", "100.64.0.2", "100.64.0.3", "100.64.0.4"] {
        for last in ["9000", "900:udp"] {
            daemon.send(&packet(&format!("{last}@{source}"))?)?;
        }
    }
    // As long as the original may take to look.
    sleep(Duration::from_millis(100));
    Ok(())
}

/// Scans the daemon's host from the client, and lets the daemon see the last of it.
fn nmap(daemon: &Daemon, options: &str) -> Result<()> {
    let mut command = Command::new("nmap");
    command
        .args(["-n", "-Pn"])
        .args(options.split(' '))
        .arg("10.77.0.2")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut scan = daemon.network.client.spawn(&mut command)?;
    let status = scan.wait_at_most(PATIENCE)?;
    sleep(Duration::from_millis(50));
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("nmap {options}: {status}").into()),
        None => Err(format!("nmap {options}: it does not end").into()),
    }
}
