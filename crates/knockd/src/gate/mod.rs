//! The gate: the table `inet postern` of the kernel's packet filter, in which native doors live.
//!
//! New connections to a guarded port are dropped unless their source has a grant. Connections that
//! stand are never touched. A grant is an element of a set, with a time-out of the kernel's: it
//! closes the door even if we are dead. No external program is run: all is said over netlink.
//!
//! The kernel is the truth: a grant is reported only after it was read back, [`Gate::check`]
//! compares what is there with what should be, and [`Watch`] says when to ask.
//!
//! Not guarded, by intent: what the host sends to itself, ICMP other than echo requests, and TCP
//! packets that connection tracking has no knowledge of and that cannot open a connection.

mod batch;
mod connections;
mod elements;
mod error;
mod hold;
mod ledger;
mod names;
mod plan;
mod read;
mod rules;
mod said;
mod standing;
mod table;
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use batch::Batch;
use elements::{Element, Entry};
pub use error::GateError;
pub use hold::{Hold, HoldError, holder};
use knock_core::time::Timestamp;
pub use ledger::{Ended, Key, Opening};
use ledger::{Given, Ledger};
use names::{ADMIT, BASE, chain};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::nftables::TableAttribute;
use plan::Shape;
pub use plan::{Guarded, Plan, Trial, Way};
pub use read::{Granted, Reading};
use read::{Snapshot, delete_set, delete_table};
pub use said::{Said, Standing};
pub use table::{ENDED, MARK};
pub use watch::{Changes, Watch};
use wire::Wire;

/// How far the kernel's clock ticks may put an end beside ours, and how long reading may take: an
/// element that close to its end may be there or not.
const MARGIN: Duration = Duration::from_millis(500);

/// The gate of the network namespace in which it was made.
///
/// Every method that asks the kernel for something is answered within some seconds or fails with
/// [`GateError::NoAnswer`]. `now` is always [`crate::listen::now`].
pub struct Gate {
    wire: Wire,
    ledger: Ledger,
    up: Option<Up>,
}

/// The table that we have put up.
struct Up {
    plan: Plan,
    trial: Trial,
    snapshot: Snapshot,
}

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
    /// A gate that is not up yet, as far as it knows.
    ///
    /// # Errors
    /// [`GateError::Unsupported`], [`GateError::Socket`].
    pub fn new() -> Result<Self, GateError> {
        Ok(Self {
            wire: Wire::new()?,
            ledger: Ledger::default(),
            up: None,
        })
    }

    /// Hears what others change in the table from now on; make it before [`Gate::up`].
    ///
    /// # Errors
    /// As [`Gate::new`].
    pub fn watch(&self) -> Result<Watch, GateError> {
        Watch::new(self.wire.port())
    }

    /// Takes over the grants that the kernel has and we do not know of, of the scopes of `plan`:
    /// those of a daemon before us. How many they were.
    ///
    /// What two doors have given the same source is found as one of them.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn adopt(&mut self, plan: &Plan, now: Timestamp) -> Result<usize, GateError> {
        let Some(there) = read::snapshot(&mut self.wire)? else {
            return Ok(0);
        };
        let mut found: BTreeMap<Key, Given> = BTreeMap::new();
        for targets in plan.scopes.keys() {
            for (element, entry) in read::read_granted(&mut self.wire, targets, &there.sets)? {
                // One without an end is none of ours.
                let Some(left) = entry.stays else { continue };
                let key = Key::new(&entry.comment, element.sources, targets);
                let given = found.entry(key).or_default();
                given.push((element.way, now.saturating_add(left)));
            }
        }
        let unknown = found.into_iter();
        let unknown = unknown.filter(|(key, _)| self.ledger.get(key).is_none());
        let unknown: Vec<_> = unknown.collect();
        for (key, given) in &unknown {
            self.ledger.set(key, Some(given.clone()));
        }
        Ok(unknown.len())
    }

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
        let before = read::snapshot(&mut self.wire)?;
        self.up = None;
        // Where our chain stands in the same place, its rules are replaced under it: a packet is
        // judged by the rules of before or by the new ones. Two chains, one of which comes as the
        // other goes, leave an instant in which a packet has passed the one before it had rules, and
        // comes to the other when it has none any more.
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
        let snapshot = read::snapshot(&mut self.wire)?;
        let snapshot = snapshot.filter(|snapshot| snapshot.is_of(&plan));
        let what = "the table".to_owned();
        let snapshot = snapshot.ok_or(GateError::NotReadBack { what })?;
        self.up = Some(Up {
            plan,
            trial,
            snapshot,
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

    /// Opens the gate for what `opening` gives, until `until`; for a grant that is alive that is its
    /// new end. When this returns, the kernel lets the source through.
    ///
    /// # Errors
    /// [`GateError::NotGuarded`], [`GateError::Full`], or that the kernel has refused or is not seen
    /// to have done it: then the grant is as it was before. See [`GateError::is_gone`].
    pub fn grant(
        &mut self,
        opening: &Opening,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), GateError> {
        if !self.is_up_for(opening) {
            let door = opening.key.door().to_owned();
            return Err(GateError::NotGuarded { door });
        }
        let most = usize::try_from(table::MAX_ELEMENTS).unwrap_or(usize::MAX);
        if self.ledger.count() + opening.ways.len() > most {
            return Err(GateError::Full);
        }
        self.change(&opening.key, Some(opening.given(until)), now)
    }

    /// Ends a grant before its time, as far as no other gives the same. Whether there was one.
    ///
    /// # Errors
    /// As [`Gate::grant`].
    pub fn revoke(&mut self, key: &Key, now: Timestamp) -> Result<bool, GateError> {
        if self.ledger.get(key).is_none() {
            return Ok(false);
        }
        self.change(key, None, now)?;
        Ok(true)
    }

    /// Ends all grants before their time, in one change.
    ///
    /// # Errors
    /// As [`Gate::up`]; then all are alive as before.
    pub fn revoke_all(&mut self, now: Timestamp) -> Result<(), GateError> {
        let Some(Up { plan, trial, .. }) = &self.up else {
            self.ledger = Ledger::default();
            return Ok(());
        };
        let (plan, trial) = (plan.clone(), trial.clone());
        let before = std::mem::take(&mut self.ledger);
        let done = self.up(&plan, &trial, now);
        if done.is_err() {
            self.ledger = before;
        }
        done
    }

    /// Whether this grant is alive.
    #[must_use]
    pub fn is_granted(&self, key: &Key) -> bool {
        self.ledger.get(key).is_some()
    }

    /// What a grant that is alive gives.
    #[must_use]
    pub fn opening_of(&self, key: &Key) -> Option<Opening> {
        let ways = self.ledger.get(key)?.iter().map(|(way, _)| *way).collect();
        Some(Opening {
            key: key.clone(),
            ways,
        })
    }

    /// The grants of a door (by its name) from which `source` gains.
    #[must_use]
    pub fn grants_of(&self, door: &str, source: IpAddr) -> Vec<Key> {
        self.ledger.of_source(door, source)
    }

    /// Forgets the grants that are over at `now`, and says which they were; the kernel has closed
    /// them by itself. Call it at [`Gate::next_end`]; to call it too often is harmless.
    #[must_use]
    pub fn expire(&mut self, now: Timestamp) -> Vec<Ended> {
        self.ledger.expire(now)
    }

    /// When the next grant is over.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ledger.next_end()
    }

    /// The grants that are alive, as we know them, with their ends.
    pub fn grants(&self) -> impl Iterator<Item = (&Key, Timestamp)> {
        self.ledger.grants()
    }

    /// What the kernel has, of the scopes of `plan`; `None` if there is no table.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn read(&mut self, plan: &Plan) -> Result<Option<Reading>, GateError> {
        read::reading(&mut self.wire, plan)
    }

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

    /// Ends the connections that have come in by a grant as `opening` gives one (`kill`). How many
    /// they were. Afterwards their packets need a grant as if they were new.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn end_connections(&mut self, opening: &Opening) -> Result<usize, GateError> {
        let key = &opening.key;
        connections::end(&mut self.wire, key.sources(), &opening.ways, key.scope())
    }

    fn is_up_for(&self, opening: &Opening) -> bool {
        let Some(up) = &self.up else { return false };
        up.plan
            .scopes
            .get(opening.key.scope())
            .is_some_and(|scope| {
                let shapes = opening.ways.iter();
                let mut shapes = shapes.map(|way| Shape::of(opening.key.sources(), *way));
                shapes.all(|shape| scope.sets.contains(&shape))
            })
    }

    /// Changes one grant, in the ledger and in the kernel, or in neither.
    fn change(&mut self, key: &Key, given: Option<Given>, now: Timestamp) -> Result<(), GateError> {
        let (touched, before) = self.ledger.set(key, given);
        let outcome = self.bring(&touched, now);
        if outcome.is_err() {
            self.ledger.set(key, before);
        }
        outcome
    }

    /// Brings elements in the kernel to what the ledger says, and reads them back.
    fn bring(&mut self, touched: &[Element], now: Timestamp) -> Result<(), GateError> {
        let mut wanted: BTreeMap<String, (Vec<Entry>, Vec<Entry>)> = BTreeMap::new();
        for element in touched {
            if !self.has_set(element) {
                continue;
            }
            let (stay, go) = wanted.entry(element.set()).or_default();
            match entry(&self.ledger, element, now) {
                Some(entry) => stay.push(entry),
                None => go.push(Entry {
                    key: element.key(),
                    stays: Some(MARGIN),
                    comment: String::new(),
                }),
            }
        }
        let mut batch = self.wire.batch();
        for (set, (stay, go)) in &wanted {
            elements::refresh(&mut batch, set, stay);
            elements::remove(&mut batch, set, go);
        }
        self.wire.commit(batch)?;
        for (set, (stay, _)) in &wanted {
            let keys: Vec<_> = stay.iter().map(|entry| entry.key.clone()).collect();
            let there = read::read_back(&mut self.wire, set, &keys)?;
            let there: BTreeSet<_> = there.into_iter().map(|entry| entry.key).collect();
            if !keys.iter().all(|key| there.contains(key)) {
                let what = format!("elements of {set}");
                return Err(GateError::NotReadBack { what });
            }
        }
        Ok(())
    }

    fn has_set(&self, element: &Element) -> bool {
        let Some(up) = &self.up else { return false };
        let shape = Shape::of(element.sources, element.way);
        let scope = up.plan.scopes.get(&element.targets);
        scope.is_some_and(|scope| scope.sets.contains(&shape))
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

/// The elements of the sets that guard, by the set.
fn guard_entries(plan: &Plan, trial: &Trial, now: Timestamp) -> BTreeMap<String, Vec<Entry>> {
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
fn grant_entries(ledger: &Ledger, plan: &Plan, now: Timestamp) -> BTreeMap<String, Vec<Entry>> {
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

/// An element as it must be now; `None` if it must not be.
fn entry(ledger: &Ledger, element: &Element, now: Timestamp) -> Option<Entry> {
    let (until, door) = ledger.until(element, now)?;
    Some(Entry {
        key: element.key(),
        stays: Some(until.saturating_since(now)),
        comment: door.to_owned(),
    })
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

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("up", &self.up.is_some())
            .field("elements", &self.ledger.count())
            .finish_non_exhaustive()
    }
}
