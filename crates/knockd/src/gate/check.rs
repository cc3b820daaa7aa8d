//! Whether the table is still as it was put up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

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
        let asked = Instant::now();
        let Some(up) = &self.up else {
            return Ok(Some(Damage::Gone));
        };
        let Some(there) = read::snapshot(&mut self.wire)? else {
            return Ok(Some(Damage::Gone));
        };
        if let Some(damage) = up.snapshot.damage(&there) {
            return Ok(Some(damage));
        }
        let doubt = Doubt {
            asked,
            late: up.lag,
        };
        for (set, wanted) in guard_entries(&up.plan, &up.trial, now) {
            if !is_alike(&mut self.wire, &set, &wanted, &doubt)? {
                return Ok(Some(Damage::Guard { set }));
            }
        }
        let mut sets = grant_entries(&self.ledger, &up.plan, now);
        for (targets, scope) in &up.plan.scopes {
            for shape in &scope.sets {
                let set = shape.name(targets);
                let wanted = sets.remove(&set).unwrap_or_default();
                if !is_alike(&mut self.wire, &set, &wanted, &doubt)? {
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

/// How far the ends of elements may be from where they should be.
struct Doubt {
    /// When the times that should be were worked out: what is read later has less time left.
    asked: Instant,
    /// How much later than we did the kernel may have begun to count.
    late: Duration,
}

impl Doubt {
    fn explains(&self, want: &Entry, found: &Entry) -> bool {
        match (want.stays, found.stays) {
            (None, None) => true,
            (Some(want), Some(found)) if found > want => found - want <= MARGIN + self.late,
            (Some(want), Some(found)) => want - found <= self.early(),
            _ => false,
        }
    }

    /// Whether an element may be there or not, as far as its end is concerned.
    fn is_about_to_end(&self, entry: &Entry) -> bool {
        let most = self.early().max(MARGIN + self.late);
        entry.stays.is_some_and(|left| left <= most)
    }

    fn early(&self) -> Duration {
        MARGIN + self.asked.elapsed()
    }
}

/// Whether the elements of a set are those that are wanted.
fn is_alike(
    wire: &mut Wire,
    set: &str,
    wanted: &[Entry],
    doubt: &Doubt,
) -> Result<bool, GateError> {
    let there = read::read_set(wire, set)?;
    let mut there: BTreeMap<&[u8], &Entry> = there.iter().map(|it| (&*it.key, it)).collect();
    let mut unseen = Vec::new();
    for want in wanted {
        match there.remove(&*want.key) {
            Some(found) if doubt.explains(want, found) => {}
            Some(_) => return Ok(false),
            None if doubt.is_about_to_end(want) => {}
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
    let found = |want: &&Entry| {
        let found = seen.get(&*want.key);
        found.is_some_and(|found| doubt.explains(want, found))
    };
    let explained = there.values().all(|entry| doubt.is_about_to_end(entry));
    Ok(explained && unseen.iter().all(found))
}
