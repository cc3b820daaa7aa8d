//! Doors that open together.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::super::keys::Key;
use super::super::report::Report;
use super::Linted;
use crate::door::Trigger;
use crate::sequence::{Protocol, Step};

/// Of very many doors with one sequence only so many are compared with another.
const MAX_COMPARED: usize = 8;

type BySteps<'a> = BTreeMap<&'a [Step], Vec<usize>>;

/// Notes each door that opens others with its own sequence: those with the same one before it,
/// and those whose sequence is a part of it. Ports in between would break an attempt, so only
/// parts without gaps count.
pub(super) fn lint(doors: &[Linted<'_>], report: &mut Report) {
    let mut by_steps = BySteps::new();
    for (i, linted) in doors.iter().enumerate() {
        if let Some(sequence) = linted.sequence() {
            by_steps.entry(sequence.steps()).or_default().push(i);
        }
    }
    for (i, linted) in doors.iter().enumerate() {
        if let Some(sequence) = linted.sequence() {
            lint_door(doors, i, linted, sequence.steps(), &by_steps, report);
        }
    }
}

fn lint_door(
    doors: &[Linted<'_>],
    index: usize,
    linted: &Linted<'_>,
    steps: &[Step],
    by_steps: &BySteps<'_>,
    report: &mut Report,
) {
    let other = |part: &[Step]| {
        let candidates = by_steps.get(part)?.iter().take(MAX_COMPARED);
        let same = part.len() == steps.len();
        candidates
            .filter(|i| !same || **i < index)
            .filter_map(|i| doors.get(*i))
            .find(|other| meet(&linted.door.trigger, &other.door.trigger, part))
    };
    for len in 1..=steps.len() {
        let Some(other) = steps.windows(len).find_map(other) else {
            continue;
        };
        let name = &other.door.name;
        let (message, help) = if len == steps.len() {
            (
                format!("the door `{name}` has the same sequence"),
                "one knock opens both",
            )
        } else {
            (
                format!("knocking this opens the door `{name}` on the way"),
                "its sequence is a part of this one",
            )
        };
        report.warn(
            linted.span(Key::Sequence),
            message,
            "a sequence that does not contain another door's",
            help,
        );
    }
}

/// Whether one packet can be a knock at both doors.
fn meet(a: &Trigger, b: &Trigger, steps: &[Step]) -> bool {
    let flags = |a: &Trigger, b: &Trigger| {
        let both = a.flags.must_be_set().intersection(b.flags.must_be_clear());
        both.is_empty()
    };
    let tcp = steps.iter().any(|step| step.protocol == Protocol::Tcp);
    let targets = a.targets.is_empty()
        || b.targets.is_empty()
        || a.targets
            .iter()
            .any(|t| b.targets.iter().any(|u| t.overlaps(u)));
    targets && (!tcp || (flags(a, b) && flags(b, a)))
}
