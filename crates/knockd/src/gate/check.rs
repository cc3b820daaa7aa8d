//! Whether the table is still as it was put up.

use std::collections::BTreeMap;
use std::fmt;

use knock_core::time::Timestamp;

use super::elements::Entry;
use super::put::{grant_entries, guard_entries};
use super::read::{self, Snapshot};
use super::wire::Wire;
use super::{Gate, GateError, MARGIN};

/// What somebody else has done to the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Damage {
    /// The table is gone, or was never there.
    Gone,
    /// The table itself is another.
    Table,
    /// Chains were added, deleted or changed.
    Chains,
    /// Rules were added, deleted, moved or replaced.
    Rules,
    /// Sets were added, deleted or changed.
    Sets,
    /// A guarded port is not guarded as it should be, or one is guarded that should not be.
    Guard {
        /// The set.
        set: String,
    },
    /// A grant is missing, or there is one that we have not given, or not for so long.
    Grants {
        /// The set.
        set: String,
    },
}

impl Gate {
    /// What is not as we have put it up, if anything; [`Gate::up`] mends it.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn check(&mut self, now: Timestamp) -> Result<Option<Damage>, GateError> {
        let Some(up) = &self.up else {
            return Ok(Some(Damage::Gone));
        };
        let Some(there) = read::snapshot(&mut self.wire)? else {
            return Ok(Some(Damage::Gone));
        };
        if let Some(damage) = up.snapshot.damage(&there) {
            return Ok(Some(damage));
        }
        for (set, wanted) in guard_entries(&up.plan, &up.trial, now) {
            if !is_alike(&mut self.wire, &set, &wanted)? {
                return Ok(Some(Damage::Guard { set }));
            }
        }
        let mut sets = grant_entries(&self.ledger, &up.plan, now);
        for (targets, scope) in &up.plan.scopes {
            for shape in &scope.sets {
                let set = shape.name(targets);
                let wanted = sets.remove(&set).unwrap_or_default();
                if !is_alike(&mut self.wire, &set, &wanted)? {
                    return Ok(Some(Damage::Grants { set }));
                }
            }
        }
        Ok(None)
    }
}

impl Snapshot {
    fn damage(&self, now: &Self) -> Option<Damage> {
        if self.table != now.table {
            Some(Damage::Table)
        } else if self.chains != now.chains {
            Some(Damage::Chains)
        } else if self.sets != now.sets {
            Some(Damage::Sets)
        } else if self.rules != now.rules {
            Some(Damage::Rules)
        } else {
            None
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the table is gone"),
            Self::Table => f.write_str("the table was replaced or switched off"),
            Self::Chains => f.write_str("chains were changed"),
            Self::Rules => f.write_str("rules were changed"),
            Self::Sets => f.write_str("sets were changed"),
            Self::Guard { set } => write!(f, "guarded ports were changed ({set})"),
            Self::Grants { set } => write!(f, "grants were changed ({set})"),
        }
    }
}

/// Whether the elements of a set are those that are wanted. What is about to end, or has just
/// ended, may be there or not.
fn is_alike(wire: &mut Wire, set: &str, wanted: &[Entry]) -> Result<bool, GateError> {
    let about_to_end = |entry: &Entry| entry.stays.is_some_and(|left| left <= 2 * MARGIN);
    let there = read::read_set(wire, set)?;
    let mut there: BTreeMap<&[u8], &Entry> = there.iter().map(|it| (&*it.key, it)).collect();
    let mut unseen = Vec::new();
    for want in wanted {
        match there.remove(&*want.key) {
            Some(found) if ends_alike(want, found) => {}
            Some(_) => return Ok(false),
            None if about_to_end(want) => {}
            None => unseen.push(want),
        }
    }
    // While a set grows, the kernel's list of it has gaps (nft_rhash_walk() counts on an order that
    // changes): asked for by name, an element is there or not.
    let keys: Vec<_> = unseen.iter().map(|want| want.key.clone()).collect();
    let seen = match read::read_back(wire, set, &keys) {
        Err(GateError::NotReadBack { .. }) => return Ok(false),
        seen => seen?,
    };
    let seen: BTreeMap<&[u8], &Entry> = seen.iter().map(|it| (&*it.key, it)).collect();
    let found = |want: &&Entry| seen.get(&*want.key).is_some_and(|it| ends_alike(want, it));
    Ok(unseen.iter().all(found) && there.values().all(|entry| about_to_end(entry)))
}

fn ends_alike(a: &Entry, b: &Entry) -> bool {
    match (a.stays, b.stays) {
        (None, None) => true,
        (Some(a), Some(b)) => a.abs_diff(b) <= 2 * MARGIN,
        _ => false,
    }
}
