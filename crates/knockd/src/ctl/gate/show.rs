//! What the kernel has of the gate, in a table or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use knock_core::config::Config;
use knock_core::door::Door;
use knock_core::time::InUnits;
use serde::Serialize;

use super::Wanted;
use crate::gate::{Granted, Guarded, Plan, Reading, Said, Way};

/// The gate, for a person or for a program.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    /// `up`, `down` or `missing`.
    state: &'static str,
    guarded: Vec<Row>,
    /// What the configuration wants guarded, and is not.
    not_guarded: Vec<Row>,
    grants: Vec<Grant>,
    /// Packets that began a connection by a grant, and those that had none.
    admitted: u64,
    dropped: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    /// The doors that open it.
    doors: Vec<String>,
    /// Nothing opens it: sealed packets are heard there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sealed_packets: bool,
    /// On trial: for so many seconds yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Grant {
    door: String,
    source: String,
    open: Vec<String>,
    seconds: u64,
}

impl Picture {
    pub(super) fn new(wanted: &Wanted, reading: Option<Reading>, said: &Said) -> Self {
        let config = &wanted.loaded.config;
        let state = match (&reading, said.down) {
            (Some(_), _) => "up",
            (None, true) => "down",
            (None, false) => "missing",
        };
        let reading = reading.unwrap_or_default();
        let there: BTreeMap<Guarded, _> = reading.guarded.into_iter().collect();
        let missing = wanted.plan.guarded().filter(|one| !there.contains_key(one));
        let not_guarded = missing.map(|one| {
            let why = if said.trial.contains_key(&one) {
                "its trial ended without a confirmation (knockctl arm)"
            } else if said.down {
                "the gate is down (knockctl gate up)"
            } else {
                "the gate is not as the configuration says (knockctl gate up)"
            };
            Row::new(&one, config, None, Some(why))
        });
        let not_guarded = not_guarded.collect();
        let guarded = there.iter();
        let guarded = guarded.map(|(one, left)| Row::new(one, config, *left, None));
        Self {
            state,
            guarded: guarded.collect(),
            not_guarded,
            grants: grants(reading.granted),
            admitted: reading.admitted,
            dropped: reading.dropped,
        }
    }
}

/// One row for each source and door, whatever it has of it.
fn grants(granted: Vec<Granted>) -> Vec<Grant> {
    let mut rows: BTreeMap<(String, String), (Vec<String>, Duration)> = BTreeMap::new();
    for one in granted {
        let source = one.sources.to_string();
        let row = rows.entry((source, one.door)).or_default();
        row.0.push(one.at.to_string());
        row.1 = row.1.max(one.left.unwrap_or_default());
    }
    let rows = rows.into_iter();
    rows.map(|((source, door), (open, left))| Grant {
        door,
        source,
        open,
        seconds: whole_seconds(left),
    })
    .collect()
}

/// Rounded up: what is there is open for more than no time.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

impl Row {
    fn new(
        one: &Guarded,
        config: &Config,
        left: Option<Duration>,
        why: Option<&'static str>,
    ) -> Self {
        let opens = |door: &&Door| {
            let plan = Plan::of(std::slice::from_ref(*door));
            plan.guarded().any(|other| other == *one)
        };
        let doors: Vec<_> = config.doors.iter().filter(opens).collect();
        Self {
            what: one.to_string(),
            sealed_packets: doors.is_empty() && hears(config, one),
            doors: doors.iter().map(|door| door.name.clone()).collect(),
            seconds: left.map(whole_seconds),
            why,
        }
    }
}

/// Whether sealed packets arrive there.
fn hears(config: &Config, one: &Guarded) -> bool {
    let ports = config.silent_ports().iter().copied();
    one.targets().is_empty() && ports.map(Way::Udp).any(|way| way == one.way())
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            "up" => writeln!(f, "the gate is up")?,
            "down" => writeln!(f, "the gate is down (knockctl gate down)")?,
            _ => writeln!(f, "there is no gate (start knockd, or knockctl gate up)")?,
        }
        section(f, "guarded", &self.guarded)?;
        section(f, "NOT guarded", &self.not_guarded)?;
        if !self.grants.is_empty() {
            writeln!(f, "\nopen now:")?;
        }
        for grant in &self.grants {
            let Grant {
                door,
                source,
                open,
                seconds,
            } = grant;
            let left = InUnits(Duration::from_secs(*seconds));
            let open = open.join(", ");
            writeln!(f, "  {source}  {open} by {door}, for {left} yet")?;
        }
        if self.state == "up" {
            let Self {
                admitted, dropped, ..
            } = self;
            writeln!(
                f,
                "\n{admitted} connections were let through, {dropped} packets were dropped"
            )?;
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, rows: &[Row]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    for row in rows {
        write!(f, "  {}", row.what)?;
        if row.sealed_packets {
            write!(f, "  silent: sealed packets are heard there")?;
        } else if row.doors.is_empty() {
            write!(f, "  by no door of this file")?;
        } else {
            write!(f, "  opened by {}", row.doors.join(", "))?;
        }
        if let Some(seconds) = row.seconds {
            let left = InUnits(Duration::from_secs(seconds));
            write!(f, "; on trial, for {left} yet")?;
        }
        if let Some(why) = row.why {
            write!(f, "; {why}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
