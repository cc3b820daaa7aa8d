//! What to do about a door that a port scan opens.

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::super::super::keys::Key;
use super::super::super::report::Report;
use super::super::Linted;
use super::{ALL, Chance, Exposure, Ground, Grouped, speed};
use crate::door::Trigger;
use crate::sequence::{Sequence, Step};

/// A scan in random order is worth a warning if one in so many opens the door.
const LIKELY: u64 = 1000;

/// Warns once of each door of several steps that a scan opens. A door of one step is opened by
/// whatever comes to its port, of which another lint speaks.
pub(in super::super) fn lint(doors: &[Linted<'_>], report: &mut Report) {
    let ground = Ground::new(doors.iter().map(|linted| linted.door), ALL);
    let sequences = doors.iter().filter_map(Linted::sequence);
    let taken: BTreeSet<&[Step]> = sequences.map(Sequence::steps).collect();
    for linted in doors {
        let steps = linted.sequence().map(Sequence::steps);
        let Some(steps) = steps.filter(|steps| steps.len() > 1) else {
            continue;
        };
        let trigger = &linted.door.trigger;
        let case = Case {
            trigger,
            steps,
            now: ground.exposure(steps, trigger, trigger.strict),
            strict: ground.exposure(steps, trigger, true),
        };
        if let Some(message) = case.message() {
            let order = case.other_order(&taken);
            report.warn(
                linted.span(Key::Sequence),
                message,
                case.expected(order.as_ref()),
                case.help(order.as_ref()),
            );
        }
    }
}

/// A door of several steps, as it is and as it would be with `strict`.
struct Case<'a> {
    trigger: &'a Trigger,
    steps: &'a [Step],
    now: Exposure,
    strict: Exposure,
}

impl Case<'_> {
    /// Which scan opens the door, and how fast it must be; `None` if that is no matter.
    fn message(&self) -> Option<String> {
        let now = &self.now;
        let sweep = |order, speed| format!("{order} port scan opens this door ({})", At(speed));
        let ascending = now.ascending.map(|speed| sweep("an ascending", speed));
        let descending = now.descending.map(|speed| sweep("a descending", speed));
        let whole = speed(ALL.end() - ALL.start(), self.trigger.seq_timeout);
        let random = now.random.is_at_least(LIKELY).then(|| {
            let (chance, at) = (now.random, At(whole));
            format!("a port scan in random order opens this door with a chance of {chance} ({at})")
        });
        ascending.or(descending).or(random)
    }

    /// What to set, and which other ports to take where that does not help.
    fn expected(&self, order: Option<&Sequence>) -> String {
        let set = match (self.trigger.strict, self.trigger.flags.is_any()) {
            (true, _) => None,
            (false, true) => Some("`strict = yes` with `tcpflags = syn` beside it".into()),
            (false, false) => Some("`strict = yes` beside it".into()),
        };
        let other = self.strict.is_swept().then(|| match order {
            Some(order) => format!("another order, such as `{order}`"),
            None => "ports that are no neighbours".into(),
        });
        let both: Vec<String> = [set, other].into_iter().flatten().collect();
        both.join(", and ")
    }

    /// What that is good for.
    fn help(&self, order: Option<&Sequence>) -> String {
        if self.trigger.strict {
            return "`strict` does not help where no port lies between the steps".into();
        }
        let then = format!("then the chance of a scan is {}", self.strict.random);
        match order {
            Some(order) if !self.strict.is_swept() => {
                let random = self.now.random;
                format!("{then}; it is {random} if only the order is another, such as `{order}`")
            }
            None if self.steps.len() == 2 => {
                let third = Chance::in_a_row(3, ALL.len());
                format!("{then}, and with a third port {third}")
            }
            _ => then,
        }
    }

    /// For a door that is swept, the same steps in an order that neither rises nor falls, and that
    /// has no other door's sequence in it.
    fn other_order(&self, taken: &BTreeSet<&[Step]>) -> Option<Sequence> {
        let is_taken = |steps: &[Step]| {
            let mut parts = (2..=steps.len()).flat_map(|len| steps.windows(len));
            parts.any(|part| taken.contains(part))
        };
        let last = self.steps.len().checked_sub(2)?;
        let mut orders = (0..=last).rev().map(|at| {
            let mut steps = self.steps.to_vec();
            steps.swap(at, at + 1);
            steps
        });
        if last == 0 || !self.now.is_swept() {
            return None;
        }
        let free = orders.find(|order| !is_taken(order))?;
        Sequence::new(free).ok()
    }
}

impl Exposure {
    /// Whether a scan opens the door that goes over the ports in one direction.
    const fn is_swept(&self) -> bool {
        self.ascending.is_some() || self.descending.is_some()
    }
}

/// A speed in ports a second.
struct At(u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = if self.0 == 1 { "port" } else { "ports" };
        write!(f, "at {} {ports} a second or more", Grouped(self.0))
    }
}
