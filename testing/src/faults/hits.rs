//! A server whose door has commands, and what they have noted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::Result;
use crate::case::Medium;
use crate::network::{Network, SERVER_INTERFACE};
use crate::scenario::Programs;
use crate::script::{Knock, packet};
use crate::site::Site;

use super::course::LATE;
use super::scene::{JOURNAL, PATIENCE};

/// A command that notes that it ran, for whom, and when.
pub(super) fn note(what: &str) -> String {
    format!("echo {what} %IP% $(date +%s%N) >> {{hits}}")
}

/// A door of the port 7000 that is open for `time`.
pub(super) fn door(time: &str) -> String {
    let (start, stop) = (note("start"), note("stop"));
    format!(
        "[A]\nsequence = 7000\ntcpflags = syn\nstart_command = {start}\ncmd_timeout = {time}\n\
         stop_command = {stop}\n"
    )
}

/// What commands of one source have noted: when they began.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) starts: Vec<SystemTime>,
    pub(super) stops: Vec<SystemTime>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ward(Site);

impl Ward {
    /// With a daemon that has these doors (and options before them), listening.
    pub(super) fn new(programs: &Programs, doors: &str) -> Result<Self> {
        let mut ward = Self::prepare(programs, &format!("{JOURNAL}{doors}"))?;
        ward.start()?;
        Ok(ward)
    }

    /// With a daemon that is not started yet, and all of its configuration.
    pub(super) fn prepare(programs: &Programs, config: &str) -> Result<Self> {
        let network = Network::new(Medium::Ethernet)?;
        let program = &programs.knockd;
        let site = Site::prepare(network, SERVER_INTERFACE, program, config)?;
        Ok(Self(site))
    }

    /// `source` opens the door of the port 7000.
    pub(super) fn knock(&self, source: IpAddr) -> Result<()> {
        self.network.send(&Knock {
            source,
            ..packet("7000")?
        })
    }

    /// What `source` has had.
    pub(super) fn runs(&self, source: IpAddr) -> Runs {
        self.all().remove(&source).unwrap_or_default()
    }

    /// What all have had, by the source.
    pub(super) fn all(&self) -> BTreeMap<IpAddr, Runs> {
        let mut all: BTreeMap<IpAddr, Runs> = BTreeMap::new();
        for line in self.read("hits").lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let [what, source, nanos] = words.as_slice() else {
                continue;
            };
            let (Ok(source), Ok(nanos)) = (source.parse(), nanos.parse()) else {
                continue;
            };
            let at = UNIX_EPOCH + Duration::from_nanos(nanos);
            let runs = all.entry(source).or_default();
            match *what {
                "start" => runs.starts.push(at),
                "stop" => runs.stops.push(at),
                _ => {}
            }
        }
        all
    }

    /// Opens the door for `source`, and waits until that is written down: its command has ended.
    pub(super) fn open(&self, source: IpAddr) -> Result<SystemTime> {
        let before = self.runs(source).starts.len();
        self.knock(source)?;
        self.wait_until("the start command runs", PATIENCE, || {
            self.runs(source).starts.len() > before
        })?;
        self.wait_for_commands()?;
        let at = self.runs(source).starts.pop();
        Ok(at.ok_or("nothing was noted")?)
    }

    /// Waits until no command runs, and the daemon has taken notice of that.
    pub(super) fn wait_for_commands(&self) -> Result<()> {
        let keeper = self.process();
        let children = || {
            let path = format!("/proc/{keeper}/task/{keeper}/children");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().count()
        };
        self.wait_until("commands end", PATIENCE, || children() <= 1)?;
        self.settle("10.77.0.2")
    }

    /// Waits for the stop command of `source`, and requires that it ran between `from` and a second
    /// after it; when it did.
    pub(super) fn closes(&self, source: IpAddr, from: SystemTime) -> Result<SystemTime> {
        self.wait_until("the stop command runs", PATIENCE, || {
            !self.runs(source).stops.is_empty()
        })?;
        let at = self.runs(source).stops.first().copied();
        let at = at.ok_or("nothing was noted")?;
        let millis = |d: Duration| i128::try_from(d.as_millis()).unwrap_or(i128::MAX);
        let late = match at.duration_since(from) {
            Ok(late) => millis(late),
            Err(early) => -millis(early.duration()) - 1,
        };
        let in_time = (0..=millis(LATE)).contains(&late);
        self.require(in_time, || {
            format!("the stop command ran {late} ms late (negative: early)")
        })?;
        Ok(at)
    }

    /// Ends the daemon, waits until nothing runs any more, and requires that each source had one stop
    /// command for each start command, and no more.
    pub(super) fn settle_accounts(&mut self) -> Result<()> {
        self.finish()?;
        for (source, runs) in self.all() {
            let (starts, stops) = (runs.starts.len(), runs.stops.len());
            self.require(starts == stops, || {
                format!("{source}: {starts} start and {stops} stop commands")
            })?;
        }
        Ok(())
    }

    /// Ends the daemon, and waits until nothing runs any more.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let (status, _) = self.wait_for_end()?;
        self.require(status.code() == Some(15), || format!("it ended: {status}"))?;
        self.wait_until("all commands end", PATIENCE, || {
            self.network.processes().is_empty()
        })
    }

    /// How many lines of the log have this text.
    pub(super) fn lines(&self, text: &str) -> usize {
        let log = self.read("log");
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Deref for Ward {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl DerefMut for Ward {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.0
    }
}
