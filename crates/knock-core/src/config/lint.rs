//! Lints: configurations that run, but hardly as meant.
//!
//! What can be told from the file alone; what needs a look at the system is `knockctl check`'s.

mod commands;
mod native;
pub mod scan;
mod shadow;
mod spa;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;

use super::keys::Key;
use super::report::Report;
use super::{Config, Diagnostic, DoorPlaces, JournalPlace, OnStop, Options, Places};
use crate::door::{Commands, Door, SequenceSource};
use crate::sequence::{Protocol, Sequence};

/// Every lint of `config`, whose parts stand at `places`, in the order of the file. All are
/// warnings.
#[must_use]
pub fn lint(config: &Config, places: &Places) -> Vec<Diagnostic> {
    let mut report = Report::default();
    let doors: Vec<Linted<'_>> = config
        .doors
        .iter()
        .zip(&places.doors)
        .map(|(door, places)| Linted { door, places })
        .collect();
    scan::advice::lint(&doors, &mut report);
    for linted in &doors {
        if let Some(sequence) = linted.sequence() {
            single_step(linted, sequence, &mut report);
            no_time(linted, sequence, &mut report);
        }
        flags(linted, &mut report);
    }
    names(&doors, &mut report);
    shadow::lint(&doors, &mut report);
    commands::lint(&doors, &mut report);
    native::lint(&doors, &mut report);
    spa::lint(&doors, config.spa_ports(), &mut report);
    owed(config, places, &mut report);
    report.into_sorted()
}

/// A door and where it stands.
struct Linted<'a> {
    door: &'a Door,
    places: &'a DoorPlaces,
}

impl Linted<'_> {
    /// Its steps, unless there are none or they come from a file.
    fn sequence(&self) -> Option<&Sequence> {
        self.door.trigger.source.fixed()
    }

    /// The value of a key; the header where the key is not given.
    fn span(&self, key: Key) -> Range<usize> {
        let value = self.places.value(key);
        value.unwrap_or_else(|| self.places.header.clone())
    }
}

fn single_step(linted: &Linted<'_>, sequence: &Sequence, report: &mut Report) {
    if sequence.steps().len() == 1 && linted.door.trigger.cooldown.is_zero() {
        report.warn(
            linted.span(Key::Sequence),
            "every packet to this port opens the door again",
            "more steps, or a `cooldown` beside it",
            "a port scan opens it too; with `cooldown = 10s` it does so less often",
        );
    }
}

fn no_time(linted: &Linted<'_>, sequence: &Sequence, report: &mut Report) {
    if sequence.steps().len() > 1 && linted.door.trigger.seq_timeout.is_zero() {
        report.warn(
            linted.span(Key::SeqTimeout),
            "nobody can knock so fast: this door never opens",
            "a time for all steps, such as 10s",
            (),
        );
    }
}

/// Without flags every segment counts, also those of connections that have nothing to do with it.
fn flags(linted: &Linted<'_>, report: &mut Report) {
    let trigger = &linted.door.trigger;
    if !trigger.flags.is_any() || trigger.source == SequenceSource::None {
        return;
    }
    let has_tcp = linted.sequence().is_none_or(|sequence| {
        let mut steps = sequence.steps().iter();
        steps.any(|step| step.protocol == Protocol::Tcp)
    });
    if trigger.strict {
        report.warn(
            linted.span(Key::Strict),
            "`strict` without `tcpflags`: any segment of any connection ends an attempt",
            "`tcpflags = syn` beside it",
            "somebody who is logged in could not knock",
        );
    } else if has_tcp {
        report.warn(
            if linted.sequence().is_some() {
                linted.span(Key::Sequence)
            } else {
                linted.span(Key::OneTimeSequences)
            },
            "any TCP segment to these ports counts as a knock",
            "`tcpflags = syn` beside it",
            "a connection that is accepted sends several, and the last ones can end the attempt",
        );
    }
}

/// What is left open at a stop must be known at the next start.
fn owed(config: &Config, places: &Places, report: &mut Report) {
    let Options {
        on_stop, journal, ..
    } = &config.options;
    let stops = |commands: &Option<Commands>| commands.as_ref().is_some_and(|c| c.stop.is_some());
    let mut actions = config.doors.iter().map(|door| &door.action);
    if *on_stop == OnStop::Close
        || *journal != JournalPlace::Off
        || !actions.any(|action| stops(&action.v4) || stops(&action.v6))
    {
        return;
    }
    let place = places.options.iter().rfind(|p| p.key == Key::OnStop);
    if let Some(place) = place {
        report.warn(
            place.value.clone(),
            "without a journal, stop commands that are owed at a stop never run",
            "close, or a `journal`",
            (),
        );
    }
}

fn names(doors: &[Linted<'_>], report: &mut Report) {
    let mut names = BTreeSet::new();
    for linted in doors {
        if !names.insert(linted.door.name.as_str()) {
            report.warn(
                linted.places.header.clone(),
                "another door has this name",
                "a name of its own",
                "both work, but the log cannot tell them apart",
            );
        }
    }
}
