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
mod check;
mod connections;
mod elements;
mod error;
mod hold;
mod ledger;
mod names;
mod plan;
mod put;
mod read;
mod rules;
mod said;
mod standing;
mod table;
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use check::Damage;
use elements::{Element, Entry};
pub use error::GateError;
pub use hold::{Hold, HoldError, holder};
use knock_core::time::Timestamp;
pub use ledger::{Ended, Key, Opening};
use ledger::{Given, Ledger};
use plan::Shape;
pub use plan::{Guarded, Plan, Trial, Way};
use read::Snapshot;
pub use read::{Granted, Reading};
pub use said::{Said, Standing};
pub use table::{ENDED, MARK};
pub use watch::{Changes, Watch};
use wire::Wire;

/// How far the kernel's clock ticks, and a busy machine, may put an end beside ours.
const MARGIN: Duration = Duration::from_secs(1);

/// The gate of the network namespace in which it was made.
///
/// Every method that asks the kernel for something is answered within some seconds or fails with
/// [`GateError::NoAnswer`]. `now` is always [`crate::listen::now`].
pub struct Gate {
    wire: Wire,
    ledger: Ledger,
    up: Option<Up>,
}

/// The elements of each set that are to be there, and those that are not.
type Wanted = BTreeMap<String, (Vec<Entry>, Vec<Entry>)>;

/// The table that we have put up.
struct Up {
    plan: Plan,
    trial: Trial,
    snapshot: Snapshot,
    /// How long it took, and so how much later the kernel may have begun to count than we did.
    lag: Duration,
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

    /// Ends the connections that have come in by a grant as `opening` gives one (`kill`). How many
    /// they were. Afterwards their packets need a grant as if they were new.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn end_connections(&mut self, opening: &Opening) -> Result<usize, GateError> {
        let key = &opening.key;
        connections::end(&mut self.wire, key.sources(), &opening.ways, key.scope())
    }

    /// Whether a TCP connection that `client` has opened, and that stands, came in by a grant.
    ///
    /// # Errors
    /// [`GateError::NotPermitted`] and the others of a question.
    pub fn has_admitted(&mut self, client: SocketAddr) -> Result<bool, GateError> {
        connections::has_admitted(&mut self.wire, client)
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
        let outcome = self.bring(&touched, before.is_none(), now);
        if outcome.is_err() {
            self.ledger.set(key, before);
        }
        outcome
    }

    /// Brings elements in the kernel to what the ledger says, and reads them back. If they are `new`,
    /// it is tried first whether the kernel has none of them, which takes the fewest messages.
    fn bring(&mut self, touched: &[Element], new: bool, now: Timestamp) -> Result<(), GateError> {
        let mut wanted = Wanted::new();
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
        if !new || !self.create(&wanted)? {
            let mut batch = self.wire.batch();
            for (set, (stay, go)) in &wanted {
                elements::refresh(&mut batch, set, stay);
                elements::remove(&mut batch, set, go);
            }
            self.wire.commit(batch)?;
        }
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

    /// Adds elements, if none of them is there. One may be that another grant has brought about, or
    /// one that we do not know of: then nothing is done.
    fn create(&mut self, wanted: &Wanted) -> Result<bool, GateError> {
        let mut batch = self.wire.batch();
        for (set, (stay, go)) in wanted {
            if !go.is_empty() {
                return Ok(false);
            }
            elements::create(&mut batch, set, stay);
        }
        match self.wire.commit(batch) {
            Ok(()) => Ok(true),
            Err(error) if error.is_there_already() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn has_set(&self, element: &Element) -> bool {
        let Some(up) = &self.up else { return false };
        let shape = Shape::of(element.sources, element.way);
        let scope = up.plan.scopes.get(&element.targets);
        scope.is_some_and(|scope| scope.sets.contains(&shape))
    }
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

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("up", &self.up.is_some())
            .field("elements", &self.ledger.count())
            .finish_non_exhaustive()
    }
}
