//! `knockctl audit report`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::{gate::finish, time};
use super::Trail;
use crate::audit::{Access, Break, End, Filter, PortFilter, Report, Verifier, word};
use crate::events::Event;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    trail: Trail,
    /// From when on: a time ago, such as 30d, 12h or 15m, or a date, such as 2026-11-24 or
    /// 2026-11-24T08:00
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: When,
    /// Until when, in the same forms; a date counts to its end
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only this door
    #[arg(long, value_name = "NAME")]
    door: Option<String>,
    /// Only who has this in the name of the key, or this address
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Only what opened this port, such as 22, tcp/22 or udp/51820
    #[arg(long, value_name = "PORT")]
    port: Option<PortFilter>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A point in time, as people write it.
#[derive(Copy, Clone, Debug)]
enum When {
    Ago(Duration),
    Day(Date),
    At(DateTime),
    Exactly(Timestamp),
}

/// All that is printed, for programs.
#[derive(Serialize)]
struct Printed<'a> {
    since: Timestamp,
    until: Timestamp,
    accesses: Vec<Access>,
    refusals: Vec<&'a Event>,
    /// Openings by commands, which a filter by port leaves out.
    without_services: usize,
    remarks: Vec<String>,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let told = tell(options);
    if let Ok((_, Some(broken))) = &told {
        anstream::eprintln!("knockctl: {broken}");
    }
    match told {
        Ok((text, broken)) => {
            let code = finish(Ok(text));
            if broken.is_some() {
                ExitCode::FAILURE
            } else {
                code
            }
        }
        Err(error) => finish(Err(error)),
    }
}

/// What is to be printed, and whether the trail is not as it was written.
fn tell(options: &Options) -> Result<(String, Option<String>), String> {
    let filter = options.filter()?;
    let found = options.trail.find()?;
    let mut verifier = Verifier::new(found.head.clone(), []);
    let mut report = Report::default();
    let mut broken = 0_usize;
    let read = found.files.each(|place, line, is_whole| {
        let torn = (!is_whole).then_some(Break::Torn);
        broken += torn
            .into_iter()
            .chain(verifier.line(line, place.line == 1))
            .count();
        report.line(line);
    });
    read.map_err(|error| error.to_string())?;
    broken += verifier.finish().len();
    let text = "the trail is not as it was written, so this may be wrong (knockctl audit verify)";
    let broken = (broken > 0).then(|| text.to_owned());
    let printed = Printed {
        since: filter.since,
        until: filter.until,
        accesses: report.accesses(&filter),
        refusals: report.refusals(&filter).collect(),
        without_services: report.without_services(&filter),
        remarks: remarks(&report, &filter),
    };
    let text = if options.json {
        serde_json::to_string(&printed).map_err(|error| error.to_string())?
    } else {
        printed.table(&TimeZone::try_system().unwrap_or(TimeZone::UTC))
    };
    Ok((text, broken))
}

fn remarks(report: &Report, filter: &Filter) -> Vec<String> {
    let (faults, unread) = report.faults(filter);
    let mut remarks: Vec<_> = faults.map(ToString::to_string).collect();
    if unread > 0 {
        remarks.push(format!(
            "{unread} lines are of a kind that this version does not know"
        ));
    }
    remarks
}

impl Options {
    fn filter(&self) -> Result<Filter, String> {
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        let now = Timestamp::now();
        let until = self.until.map(|until| until.end(now, &zone));
        let filter = Filter {
            since: self.since.start(now, &zone)?,
            until: until.transpose()?.unwrap_or(now),
            door: self.door.clone(),
            who: self.who.clone(),
            port: self.port.clone(),
        };
        if filter.since > filter.until {
            return Err("--since is later than --until".to_owned());
        }
        Ok(filter)
    }
}

impl When {
    fn start(self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
        let zoned = |time: DateTime| zone.to_timestamp(time).map_err(|error| error.to_string());
        match self {
            Self::Ago(ago) => now.checked_sub(ago).map_err(|error| error.to_string()),
            Self::Day(day) => zoned(day.at(0, 0, 0, 0)),
            Self::At(time) => zoned(time),
            Self::Exactly(time) => Ok(time),
        }
    }

    fn end(self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
        match self {
            Self::Day(day) => Self::At(day.at(23, 59, 59, 999_999_999)).start(now, zone),
            other => other.start(now, zone),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let days = |unit: char, days: u32| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_secs(86_400).saturating_mul(number.saturating_mul(days)))
        };
        let ago = || {
            let days = days('d', 1).or_else(|| days('w', 7));
            days.or_else(|| time::parse(text).ok()).map(Self::Ago)
        };
        let is_day = text.len() == "2026-11-24".len();
        let day = || is_day.then(|| text.parse().ok()).flatten().map(Self::Day);
        let exactly = || text.parse().ok().map(Self::Exactly);
        let at = || text.parse().ok().map(Self::At);
        let when = ago().or_else(day).or_else(exactly).or_else(at);
        when.ok_or_else(|| {
            "a time ago, such as 30d or 12h, or a date, such as 2026-11-24".to_owned()
        })
    }
}

impl Printed<'_> {
    fn table(&self, zone: &TimeZone) -> String {
        let time = |time: Timestamp| {
            let zoned = time.to_zoned(zone.clone());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        };
        let now = Timestamp::now();
        let mut text = format!("from {} until {}\n", time(self.since), time(self.until));
        if self.accesses.is_empty() {
            text.push_str("nobody was let in\n");
        }
        for access in &self.accesses {
            let until = access.until.map_or_else(|| "?".repeat(19), time);
            let end = match access.end {
                End::NotRecorded if access.until > Some(now) => "still open".to_owned(),
                end => end.to_string(),
            };
            text.push_str(&format!("\n{} - {until}  {end}\n", time(access.from)));
            text.push_str(&format!("    {}\n", whom(access)));
        }
        if !self.refusals.is_empty() {
            text.push_str(&format!("\nrefused: {}\n", refusals(&self.refusals)));
        }
        if self.without_services > 0 {
            text.push_str(&format!(
                "\n{} openings by commands are not shown: what commands open is not known (--door)\n",
                self.without_services
            ));
        }
        for remark in &self.remarks {
            text.push_str(&format!("\nthe trail says: {remark}\n"));
        }
        text
    }
}

/// The door, what was open, whom it let in, and on a line of its own who that was.
fn whom(access: &Access) -> String {
    let to = &access.to;
    let Some(door) = &access.door else {
        return format!("nothing was guarded: {to}");
    };
    let services = if access.services.is_empty() {
        "by commands".to_owned()
    } else {
        access.services.join(", ")
    };
    let who = access.who.as_ref();
    let who = who.map_or_else(String::new, |who| format!("\n    who: {who}"));
    format!("{door}: {services}, to {to}{who}")
}

/// How many of each reason.
fn refusals(refusals: &[&Event]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in refusals {
        let reason = event
            .reason
            .map_or_else(|| "for no known reason".to_owned(), word);
        *counts.entry(reason).or_default() += 1;
    }
    let counts = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"));
    counts.collect::<Vec<_>>().join(", ")
}
