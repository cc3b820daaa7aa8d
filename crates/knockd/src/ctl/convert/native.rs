//! `knockd.conf` whose doors run commands of a firewall: what is understood becomes `open` and
//! `close`, and every other byte of the file stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use knock_core::config::keys::Key;
use knock_core::config::{Config, DoorPlaces, KeyPlace, Places, Severity, parse};
use knock_core::door::Door;
use knock_core::service::Service;
use knock_core::time::InUnits;

use super::command::{Does, Meaning, meaning};
use super::draft::{UNTIL_CLOSED, within};
use super::{ConvertError, Converted, Lookup, Note};
use crate::ctl::listed;

/// The keys that belong to commands.
const COMMANDS: [Key; 6] = [
    Key::StartCommand,
    Key::StartCommand6,
    Key::StopCommand,
    Key::StopCommand6,
    Key::CmdTimeout,
    Key::Reopen,
];

/// Converts the bytes of a `knockd.conf`.
///
/// # Errors
/// If there are mistakes in it.
pub(super) fn convert(bytes: &[u8], services: Lookup<'_>) -> Result<Converted, ConvertError> {
    let parsed = parse(bytes, services);
    let Some(config) = parsed.config else {
        let mut mistakes = parsed.diagnostics;
        mistakes.retain(|mistake| mistake.severity == Severity::Error);
        return Err(ConvertError::Mistakes(mistakes));
    };
    let mut conversion = Conversion {
        bytes,
        config: &config,
        places: &parsed.places,
        edits: Vec::new(),
        notes: Vec::new(),
        ends: (0..)
            .zip(bytes)
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at)
            .collect(),
    };
    conversion.all(services);
    Ok(Converted {
        text: conversion.edited(),
        notes: conversion.notes,
    })
}

/// What becomes of a door.
#[derive(Clone, Debug)]
enum Fate {
    /// It stays as it is.
    Stays,
    /// It opens these, for so long.
    Opens(Vec<Service>, Duration),
    /// It closes what other doors have opened of these.
    Closes(Vec<Service>),
}

/// The names of the doors that will open just these services.
struct Openers<'a>(BTreeMap<Vec<Service>, Vec<&'a str>>);

impl<'a> Openers<'a> {
    fn of(config: &'a Config, fates: &[Result<Fate, (usize, String)>]) -> Self {
        let mut openers: BTreeMap<Vec<Service>, Vec<&str>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (door, fate) in config.doors.iter().zip(fates) {
            let native = door.action.native.as_ref();
            let mut open = match (fate, native) {
                (Ok(Fate::Opens(open, _)), _) => open.clone(),
                (_, Some(native)) => native.open.clone(),
                (_, None) => continue,
            };
            open.sort_unstable();
            if known.insert((door.name.as_str(), open.clone())) {
                openers.entry(open).or_default().push(&door.name);
            }
        }
        Self(openers)
    }

    fn of_all(&self, services: &[Service]) -> &[&'a str] {
        self.0.get(services).map_or(&[], Vec::as_slice)
    }
}

struct Conversion<'a> {
    bytes: &'a [u8],
    config: &'a Config,
    places: &'a Places,
    /// What is put in the place of what.
    edits: Vec<(Range<usize>, String)>,
    notes: Vec<Note>,
    /// Where lines end.
    ends: Vec<usize>,
}

impl<'a> Conversion<'a> {
    fn all(&mut self, services: Lookup<'_>) {
        let doors = || self.config.doors.iter().zip(&self.places.doors);
        let fates: Vec<_> = doors()
            .map(|(door, places)| self.fate(door, places, services))
            .collect();
        let openers = Openers::of(self.config, &fates);
        let mut opened = false;
        for ((door, places), fate) in doors().zip(&fates) {
            match fate {
                Err((at, why)) => self.note(*at, format!("[{}] {why}", shown(&door.name))),
                Ok(Fate::Stays) => {}
                Ok(Fate::Opens(open, time)) => {
                    opened = true;
                    self.opens(door, places, open, *time);
                }
                Ok(Fate::Closes(closed)) => self.closes(door, places, openers.of_all(closed)),
            }
        }
        if opened {
            self.notes.push(Note::guarded());
        }
    }

    /// What becomes of a door, or where and why its commands stay.
    fn fate(
        &self,
        door: &Door,
        places: &DoorPlaces,
        services: Lookup<'_>,
    ) -> Result<Fate, (usize, String)> {
        let read = |key| {
            let span = places.value(key).filter(|span| !span.is_empty());
            let Some(span) = span else { return Ok(None) };
            // Only comments may hold bytes that are no text.
            let text = str::from_utf8(self.bytes.get(span.clone()).unwrap_or_default());
            match meaning(text.unwrap_or_default(), services) {
                Ok(meaning) => Ok(Some((span.start, meaning))),
                Err(why) => Err((span.start, format!("this stays a command, since {why}"))),
            }
        };
        let start = read(Key::StartCommand)?;
        let start_6 = read(Key::StartCommand6)?;
        let stops = [read(Key::StopCommand)?, read(Key::StopCommand6)?];
        let Some((at, start)) = start else {
            let why = "this stays a command, since it is for IPv6 alone, and `open` is for both";
            return match start_6 {
                None => Ok(Fate::Stays),
                Some((at, _)) => Err((at, why.to_owned())),
            };
        };
        let differs =
            |other: &Meaning, does| other.does != does || other.services != start.services;
        if let Some((at, _)) = start_6.filter(|(_, other)| differs(other, start.does)) {
            let why = "these stay commands, since IPv4 and IPv6 open different things";
            return Err((at, why.to_owned()));
        }
        if door.action.native.is_some() || door.action.close.is_some() {
            let why = "this stays a command, since the door has `open` or `close` already";
            return Err((at, why.to_owned()));
        }
        let mut stops = stops.into_iter().flatten();
        match start.does {
            Does::Close => match stops.next() {
                None => Ok(Fate::Closes(start.services)),
                Some((at, _)) => Err((
                    at,
                    "these stay commands, since the door closes, and then does more".to_owned(),
                )),
            },
            Does::Open => {
                let mut wrong = stops.clone();
                if let Some((at, _)) = wrong.find(|(_, stop)| differs(stop, Does::Close)) {
                    let why = "these stay commands, since what is closed is not what was opened";
                    return Err((at, why.to_owned()));
                }
                let time = stops.next().map(|_| door.action.cmd_timeout);
                let time = time.or(start.time).unwrap_or(UNTIL_CLOSED);
                Ok(Fate::Opens(start.services, time))
            }
        }
    }

    fn opens(&mut self, door: &Door, places: &DoorPlaces, open: &[Service], time: Duration) {
        let name = shown(&door.name);
        let header = places.header.start;
        let (v4, v6) = (&door.action.v4, &door.action.v6);
        let closes = |commands: &Option<knock_core::door::Commands>| {
            commands
                .as_ref()
                .is_some_and(|commands| commands.stop.is_some())
        };
        if time == UNTIL_CLOSED && !closes(v4) {
            self.note(
                header,
                format!(
                    "[{name}] was open until it was closed; now for {} at most (`open_for`)",
                    InUnits(time)
                ),
            );
        } else if time != within(time) {
            let now = InUnits(within(time));
            self.note(
                header,
                format!("[{name}] cannot be open for so short or long; now for {now}"),
            );
        }
        if v6.is_none() {
            self.note(
                header,
                format!("[{name}] opens to knocks over IPv6 now as well"),
            );
        }
        if door.action.user.is_some() {
            self.note(
                header,
                format!("[{name}] needs no `user`: it runs no command any more"),
            );
        }
        let keys = [
            ("open", listed(open)),
            ("open_for", InUnits(within(time)).to_string()),
        ];
        self.replace(places, &keys);
    }

    fn closes(&mut self, door: &Door, places: &DoorPlaces, names: &[&str]) {
        let name = shown(&door.name);
        let at = places.value(Key::StartCommand).unwrap_or_default().start;
        match names {
            [first, ..] if first.trim() != *first || *first == door.name => self.note(
                at,
                format!(
                    "[{name}] this stays a command, since `close` cannot name [{}]",
                    shown(first)
                ),
            ),
            [first, rest @ ..] => {
                if !rest.is_empty() {
                    let others: Vec<_> = rest.iter().map(|name| shown(name)).collect();
                    self.note(
                        at,
                        format!(
                            "[{name}] closes only what [{}] has opened, not what others have: {}",
                            shown(first),
                            others.join(", ")
                        ),
                    );
                }
                self.replace(places, &[("close", (*first).to_owned())]);
            }
            [] => self.note(
                at,
                format!("[{name}] this stays a command, since no door is left that opens the same"),
            ),
        }
    }

    /// Puts `keys` where the start command is, and takes away all that belongs to commands.
    fn replace(&mut self, places: &DoorPlaces, keys: &[(&str, String)]) {
        let belongs = |place: &&KeyPlace| COMMANDS.contains(&place.key) || place.key == Key::User;
        let last = places
            .keys
            .iter()
            .rfind(|place| place.key == Key::StartCommand);
        for place in places.keys.iter().filter(belongs) {
            let line = self.line(&place.line);
            let text = match last {
                Some(last) if last == place => self.lines(place, &line, keys),
                _ => String::new(),
            };
            self.edits.push((line, text));
        }
    }

    /// `keys` as lines that look like the one at `place`.
    fn lines(&self, place: &KeyPlace, line: &Range<usize>, keys: &[(&str, String)]) -> String {
        let of = |range: Range<usize>| {
            let bytes = self.bytes.get(range).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let indent = of(line.start..place.line.start);
        let written = of(place.line.clone());
        let sign = written.find('=').unwrap_or_default();
        let end = of(place.line.end..line.end);
        let is_tight = !written
            .get(..sign)
            .unwrap_or_default()
            .ends_with(char::is_whitespace);
        let between = if is_tight { "=" } else { "= " };
        let mut lines = String::new();
        for (key, value) in keys {
            let key = match is_tight {
                true => (*key).to_owned(),
                false => format!("{key:width$} ", width = sign.saturating_sub(1)),
            };
            lines.push_str(&format!("{indent}{key}{between}{value}{}", newline(&end)));
        }
        // What had no end of line has none now.
        match end.contains('\n') {
            true => lines,
            false => lines.trim_end().to_owned(),
        }
    }

    /// The whole line that has `span` in it, with its end.
    fn line(&self, span: &Range<usize>) -> Range<usize> {
        let before = self.bytes.get(..span.start).unwrap_or_default();
        let after = self.bytes.get(span.end..).unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n');
        let end = after.iter().position(|byte| *byte == b'\n');
        let start = start.map_or(0, |newline| newline + 1);
        start..end.map_or(self.bytes.len(), |newline| span.end + newline + 1)
    }

    fn note(&mut self, at: usize, text: String) {
        let line = self.ends.partition_point(|end| *end < at) + 1;
        self.notes.push(Note { line, text });
    }

    fn edited(&mut self) -> Vec<u8> {
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut text = Vec::with_capacity(self.bytes.len());
        let mut next = 0;
        for (range, new) in &self.edits {
            text.extend(self.bytes.get(next..range.start).unwrap_or_default());
            text.extend(new.as_bytes());
            next = range.end;
        }
        text.extend(self.bytes.get(next..).unwrap_or_default());
        text
    }
}

/// A section's name may hold any bytes.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

/// The end of a line as this one has it.
fn newline(end: &str) -> &'static str {
    if end.ends_with("\r\n") { "\r\n" } else { "\n" }
}
