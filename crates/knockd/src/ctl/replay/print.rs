//! Findings as lines for a person, or as JSON objects for a program.

use std::io::{self, BufWriter, StdoutLock, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use knock_core::door::{Action, Door};
use knock_core::flags::TcpFlags;
use knock_core::sequence::Step;
use serde_json::{Value, json};

use super::effect;
use super::player::{Finding, Player, Tally, What};

const OPEN: Style = AnsiColor::Green.on_default().bold();

/// Prints to standard output.
pub(super) struct Printer<'a> {
    doors: &'a [Door],
    quiet: bool,
    json: bool,
    bar: ProgressBar,
    zone: TimeZone,
    out: BufWriter<AutoStream<StdoutLock<'static>>>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(doors: &'a [Door], quiet: bool, json: bool, bar: ProgressBar) -> Self {
        Self {
            doors,
            quiet,
            json,
            bar,
            zone: TimeZone::system(),
            out: BufWriter::new(AutoStream::auto(io::stdout().lock())),
        }
    }

    /// What should be known beforehand; not in JSON, where it goes to standard error.
    pub(super) fn notes(&mut self, notes: &[String]) -> io::Result<()> {
        for note in notes {
            if self.json {
                anstream::eprintln!("knockctl: {note}");
            } else {
                writeln!(self.out, "{note}")?;
            }
        }
        Ok(())
    }

    /// Moves the progress bar.
    pub(super) fn progress(&self, offset: u64) {
        self.bar.set_position(offset);
    }

    /// Prints what the player has found since.
    pub(super) fn findings(&mut self, player: &mut Player) -> io::Result<()> {
        while let Some(finding) = player.poll_finding() {
            if self.quiet && finding.what != What::Opening {
                continue;
            }
            let line = if self.json {
                self.object(&finding).to_string()
            } else {
                self.line(&finding)
            };
            if self.bar.is_hidden() {
                writeln!(self.out, "{line}")?;
            } else {
                let out = &mut self.out;
                self.bar.suspend(|| {
                    writeln!(out, "{line}")?;
                    out.flush()
                })?;
            }
        }
        Ok(())
    }

    fn line(&self, finding: &Finding) -> String {
        let time = self.time(finding.time);
        let (source, door) = (finding.source, self.door(finding));
        let text = text(finding.what);
        let effect = self.action(finding);
        let effect = effect.map_or_else(String::new, |action| effect::text(action, source));
        format!("{time} {source} {door}: {text}{effect}")
    }

    /// What an opening does; `None` for all other findings.
    fn action(&self, finding: &Finding) -> Option<&Action> {
        let door = self.doors.get(usize::from(finding.door.0))?;
        (finding.what == What::Opening).then_some(&door.action)
    }

    /// A section's name may hold any bytes.
    fn door(&self, finding: &Finding) -> String {
        let door = self.doors.get(usize::from(finding.door.0));
        door.map_or_else(String::new, |door| door.name.escape_debug().to_string())
    }

    fn time(&self, time: u64) -> String {
        let zoned = stamp(time).to_zoned(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
    }

    fn object(&self, finding: &Finding) -> Value {
        let door = self.doors.get(usize::from(finding.door.0));
        let mut object = json!({
            "time": stamp(finding.time).to_string(),
            "source": finding.source.to_string(),
            "door": door.map(|door| &door.name),
            "door_number": finding.door.0,
        });
        if let (Value::Object(object), Value::Object(more)) = (&mut object, details(finding.what)) {
            object.extend(more);
            if let Some(action) = self.action(finding) {
                object.extend(effect::members(action, finding.source));
            }
        }
        object
    }

    /// Prints what was counted.
    pub(super) fn summary(&mut self, tally: &Tally, everywhere: bool) -> io::Result<()> {
        self.bar.finish_and_clear();
        if self.json {
            self.summary_object(tally)?;
        } else {
            self.summary_lines(tally, everywhere)?;
        }
        self.out.flush()
    }

    fn summary_object(&mut self, tally: &Tally) -> io::Result<()> {
        let openings = self.doors.iter().zip(&tally.openings);
        let openings = openings.map(|(door, n)| json!({"door": door.name, "openings": n}));
        let text = |time| stamp(time).to_string();
        let object = json!({
            "event": "summary",
            "packets": tally.packets,
            "tcp_udp": tally.counted,
            "other": tally.other,
            "unreadable": tally.unreadable,
            "evictions": tally.evictions,
            "first": tally.span.map(|(first, _)| text(first)),
            "last": tally.span.map(|(_, last)| text(last)),
            "doors": openings.collect::<Vec<_>>(),
        });
        writeln!(self.out, "{object}")
    }

    fn summary_lines(&mut self, tally: &Tally, everywhere: bool) -> io::Result<()> {
        let Tally {
            packets,
            counted,
            other,
            unreadable,
            ..
        } = tally;
        let out = &mut self.out;
        writeln!(
            out,
            "\n{packets} packets: {counted} TCP or UDP, {other} other, {unreadable} unreadable",
        )?;
        if let Some(link) = tally.unknown_link {
            writeln!(out, "packets of link type {link} cannot be read")?;
        }
        if tally.evictions > 0 {
            let n = tally.evictions;
            writeln!(
                out,
                "{n} attempts were given up: more than max_attempts at once"
            )?;
        }
        if everywhere {
            writeln!(
                out,
                "every destination counted as the server's own; --local ADDR says which are"
            )?;
        }
        for (door, openings) in self.doors.iter().zip(&tally.openings) {
            let name = door.name.escape_debug();
            match openings {
                0 => writeln!(out, "{name}: never opened")?,
                1 => writeln!(out, "{name}: {OPEN}opened once{OPEN:#}")?,
                n => writeln!(out, "{name}: {OPEN}opened {n} times{OPEN:#}")?,
            }
        }
        Ok(())
    }
}

fn text(what: What) -> String {
    match what {
        What::Stage { stage, of, step } => format!("step {stage} of {of} ({step})"),
        What::Opening => format!("{OPEN}opens{OPEN:#}"),
        What::Timeout { stage, of } => format!("timed out after step {stage} of {of}"),
        What::Broken {
            stage,
            of,
            by,
            next,
        } => format!(
            "broken after step {stage} of {of} by a knock at {by}{}",
            expected(next)
        ),
        What::WrongFlags { step, flags } => format!(
            "a knock at {step} does not count: its flags are {}, not what tcpflags asks for",
            flag_names(flags)
        ),
        What::NotOurs { step, destination } => {
            format!("a knock at {step} does not count: it went to {destination}, not to the server")
        }
        What::CoolingDown { step } => {
            format!("a knock at {step} does not count: the door is cooling down")
        }
        What::Unfinished { stage, of, next } => {
            format!("the file ends after step {stage} of {of}{}", expected(next))
        }
    }
}

fn expected(next: Option<Step>) -> String {
    next.map_or_else(String::new, |next| format!("; {next} was next"))
}

fn details(what: What) -> Value {
    let port = |step: Step| step.to_string();
    match what {
        What::Stage { stage, of, step } => {
            json!({"event": "step", "stage": stage, "of": of, "port": port(step)})
        }
        What::Opening => json!({"event": "opening"}),
        What::Timeout { stage, of } => json!({"event": "timeout", "stage": stage, "of": of}),
        What::Broken {
            stage,
            of,
            by,
            next,
        } => json!({
            "event": "broken", "stage": stage, "of": of, "by": port(by), "next": next.map(port),
        }),
        What::WrongFlags { step, flags } => {
            json!({"event": "wrong_flags", "port": port(step), "flags": flag_names(flags)})
        }
        What::NotOurs { step, destination } => json!({
            "event": "not_local", "port": port(step), "destination": destination.to_string(),
        }),
        What::CoolingDown { step } => json!({"event": "cooling_down", "port": port(step)}),
        What::Unfinished { stage, of, next } => {
            json!({"event": "unfinished", "stage": stage, "of": of, "next": next.map(port)})
        }
    }
}

fn flag_names(flags: TcpFlags) -> String {
    let is_set = |flag| !flags.intersection(flag).is_empty();
    let named = TcpFlags::NAMED.into_iter();
    let names: Vec<_> = named
        .filter(|(_, flag)| is_set(*flag))
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    }
}

/// A file's time always fits (it ends in 2554).
fn stamp(time: u64) -> Timestamp {
    Timestamp::from_nanosecond(time.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}
