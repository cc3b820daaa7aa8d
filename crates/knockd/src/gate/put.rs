//! How the table is put up, mended and taken away: always in one change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knock_core::time::Timestamp;
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute};

use super::batch::Batch;
use super::elements::{self, Entry};
use super::ledger::Ledger;
use super::names::{self, ADMIT, BASE, chain};
use super::plan::{Plan, Shape, Trial, Way};
use super::read::{self, Snapshot, delete_set, delete_table};
use super::{Gate, GateError, Up, entry, standing, table};
use crate::clock;

impl Gate {
    /// Puts the table up as `plan` wants it, with what of it is on `trial`, and with all grants that
    /// are alive. To do it again is harmless, and how a table is mended. There is no moment at which
    /// a packet meets neither the table of before nor the new one.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`], [`GateError::Unsupported`] and the others of a change; then the
    /// table is as it was before.
    pub fn up(&mut self, plan: &Plan, trial: &Trial, now: Timestamp) -> Result<(), GateError> {
        let plan = self.with_sets_of_grants(plan, now);
        let trial: Trial = trial.clone();
        let begun = Instant::now();
        let before = read::snapshot(&mut self.wire)?;
        // Where our chain stands in the same place, its rules are replaced under it: a packet is
        // judged by the rules of before or by the new ones. Were one chain to come as another goes,
        // a packet could pass the new one just before it has rules and come to the old one just
        // after it has lost its own (nf_hook_entries_grow() puts the new one first). It also takes
        // the kernel five times as long.
        let replaced = match before.filter(Snapshot::stands) {
            Some(before) => self.replace(&before, &plan, &trial, now),
            None => Err(GateError::NoAnswer),
        };
        if replaced.is_err() {
            // Before, so that none is cut off; after, for those that were made meanwhile.
            standing::keep(&mut self.wire, &plan);
            self.renew(&plan, &trial, now)?;
            standing::keep(&mut self.wire, &plan);
        }
        let lag = begun.elapsed();
        self.up = None;
        let snapshot = read::snapshot(&mut self.wire)?;
        let snapshot = snapshot.filter(|snapshot| snapshot.is_of(&plan));
        let what = "the table".to_owned();
        let snapshot = snapshot.ok_or(GateError::NotReadBack { what })?;
        self.up = Some(Up {
            plan,
            trial,
            snapshot,
            lag,
        });
        Ok(())
    }

    /// Takes the table away: every port is as if there were no gate. Our grants are forgotten.
    ///
    /// # Errors
    /// As [`Gate::up`]; that there is no table is none.
    pub fn down(&mut self) -> Result<(), GateError> {
        let mut batch = self.wire.batch();
        table::put_table(&mut batch);
        batch.delete(delete_table(), "the end of the table");
        self.wire.commit(batch)?;
        self.up = None;
        self.ledger = Ledger::default();
        Ok(())
    }

    /// `plan`, and the sets of grants that are alive though no door gives the like any more.
    fn with_sets_of_grants(&self, plan: &Plan, now: Timestamp) -> Plan {
        let mut plan = plan.clone();
        for element in self.ledger.elements() {
            if let Some(scope) = plan.scopes.get_mut(&element.targets)
                && self.ledger.until(element, now).is_some()
            {
                scope.sets.insert(Shape::of(element.sources, element.way));
            }
        }
        plan
    }

    /// Replaces everything in the table but the chain that the kernel begins with.
    fn replace(
        &mut self,
        before: &Snapshot,
        plan: &Plan,
        trial: &Trial,
        now: Timestamp,
    ) -> Result<(), GateError> {
        let mut batch = self.wire.batch();
        table::put_table(&mut batch);
        table::flush_rules(&mut batch);
        for name in before.chains.keys().filter(|name| *name != BASE) {
            batch.delete(
                NfTablesMessage::DeleteChain(chain(name)),
                format!("the chain {name}"),
            );
        }
        for name in before.sets.keys() {
            batch.delete(delete_set(name), format!("the set {name}"));
        }
        self.put(batch, plan, trial, now)
    }

    /// Makes the whole table anew.
    fn renew(&mut self, plan: &Plan, trial: &Trial, now: Timestamp) -> Result<(), GateError> {
        let mut batch = self.wire.batch();
        table::put_table(&mut batch);
        batch.delete(delete_table(), "the end of the table");
        table::put_table(&mut batch);
        self.put(batch, plan, trial, now)
            .map_err(GateError::of_a_new_table)
    }

    /// Everything that is in the table, in one batch. Grants for which the system lets us have no
    /// room follow at once.
    fn put(
        &mut self,
        mut batch: Batch,
        plan: &Plan,
        trial: &Trial,
        now: Timestamp,
    ) -> Result<(), GateError> {
        // To look at what is there has taken its time, which no grant is to have in addition.
        let now = now.max(clock::now());
        table::put_frame(&mut batch, plan);
        for (set, entries) in guard_entries(plan, trial, now) {
            elements::put(&mut batch, &set, &entries);
        }
        table::put_rules(&mut batch, plan);
        for (set, entries) in grant_entries(&self.ledger, plan, now) {
            for entries in entries.chunks(elements::AT_ONCE) {
                /// More than a message of so many elements has.
                const MESSAGE: usize = 64 * 1_024;
                if !self.wire.has_room(batch.len() + MESSAGE) {
                    self.wire.commit(batch)?;
                    batch = self.wire.batch();
                }
                elements::put(&mut batch, &set, entries);
            }
        }
        self.wire.commit(batch)
    }
}

impl Snapshot {
    /// Whether our chain is where it should be, and the table not switched off.
    fn stands(&self) -> bool {
        let base = self.chains.get(BASE);
        base.is_some_and(|attributes| table::is_base(attributes)) && self.is_awake()
    }

    fn is_awake(&self) -> bool {
        self.table.iter().all(|attribute| match attribute {
            TableAttribute::Flags(flags) => flags.is_empty(),
            _ => true,
        })
    }

    /// Whether it is what we make of `plan`, as far as names and numbers tell.
    fn is_of(&self, plan: &Plan) -> bool {
        let mut chains = BTreeSet::from([BASE.to_owned(), ADMIT.to_owned()]);
        let mut sets = BTreeSet::new();
        for (targets, scope) in &plan.scopes {
            chains.extend([names::grants_chain(targets), names::guard_chain(targets)]);
            sets.extend(scope.sets.iter().map(|shape| shape.name(targets)));
            sets.insert(names::guarded_set(targets));
            if scope.guarded.contains(&Way::Ping) {
                sets.insert(names::guarded_ping_set(targets));
            }
        }
        self.stands()
            && self.chains.keys().eq(&chains)
            && self.sets.keys().eq(&sets)
            && self.rules.len() == table::count_rules(plan)
    }
}

/// The elements of the sets that guard, by the set.
pub(super) fn guard_entries(
    plan: &Plan,
    trial: &Trial,
    now: Timestamp,
) -> BTreeMap<String, Vec<Entry>> {
    let mut sets: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for guarded in plan.guarded() {
        let (set, keys) = elements::guarded_keys(&guarded.targets, guarded.way);
        let entries = sets.entry(set).or_default();
        let stays = trial.get(&guarded).map(|until| until.saturating_since(now));
        if stays == Some(Duration::ZERO) {
            continue;
        }
        entries.extend(keys.into_iter().map(|key| Entry {
            key,
            stays,
            comment: String::new(),
        }));
    }
    sets
}

/// The elements of the sets of grants, by the set.
pub(super) fn grant_entries(
    ledger: &Ledger,
    plan: &Plan,
    now: Timestamp,
) -> BTreeMap<String, Vec<Entry>> {
    let mut sets: BTreeMap<(Arc<[_]>, Shape), Vec<Entry>> = BTreeMap::new();
    for element in ledger.elements() {
        let shape = Shape::of(element.sources, element.way);
        let scope = plan.scopes.get(&element.targets);
        if scope.is_some_and(|scope| scope.sets.contains(&shape)) {
            let entries = sets
                .entry((Arc::clone(&element.targets), shape))
                .or_default();
            entries.extend(entry(ledger, element, now));
        }
    }
    let sets = sets.into_iter();
    sets.map(|((targets, shape), entries)| (shape.name(&targets), entries))
        .collect()
}
