//! Which grants are alive, and what must therefore be in the kernel until when. Several grants may
//! need the same element: it stays as long as the longest of them, and goes with the last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use knock_core::door::Door;
use knock_core::target::Target;
use knock_core::time::Timestamp;

use super::elements::Element;
use super::plan::{Targets, Way, has, sources_of, targets_of, ways_of};

/// What an opening gives: which door's, to whom, and at which destinations.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    door: Arc<str>,
    sources: Target,
    targets: Targets,
}

/// An opening of a native door: the grant, and what it lets through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    pub(super) key: Key,
    pub(super) ways: Vec<Way>,
}

/// A grant that is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Which.
    pub key: Key,
    /// Until when it was.
    pub until: Timestamp,
}

/// All grants that are alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    grants: BTreeMap<Arc<Key>, Given>,
    needed: HashMap<Element, Vec<Need>>,
    ends: BTreeSet<(Timestamp, Arc<Key>)>,
    /// How many grants have sources of each width, to look one up by an address.
    widths: BTreeMap<(bool, u8), usize>,
}

/// What a grant gives, each until its time: of one that was found in the kernel, parts may end
/// sooner than others.
pub(super) type Given = Vec<(Way, Timestamp)>;

/// That a grant needs an element.
#[derive(Clone, Debug)]
struct Need {
    key: Arc<Key>,
    until: Timestamp,
}

impl Key {
    /// The name of the door.
    #[must_use]
    pub fn door(&self) -> &str {
        &self.door
    }

    /// Who may come through.
    #[must_use]
    pub const fn sources(&self) -> Target {
        self.sources
    }

    /// To which destinations; empty for the host's own addresses.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(super) const fn scope(&self) -> &Targets {
        &self.targets
    }

    pub(super) fn new(door: &str, sources: Target, targets: &Targets) -> Self {
        Self {
            door: door.into(),
            sources,
            targets: Arc::clone(targets),
        }
    }

    pub(super) fn element(&self, way: Way) -> Element {
        Element {
            sources: self.sources,
            way,
            targets: Arc::clone(&self.targets),
        }
    }
}

impl Opening {
    /// What `door` gives to `source`; `None` if it opens nothing for an address of this family.
    #[must_use]
    pub fn of(door: &Door, source: IpAddr) -> Option<Self> {
        let native = door.action.native.as_ref()?;
        let targets = targets_of(door);
        if !has(&targets, source.is_ipv4()) {
            return None;
        }
        let ways: BTreeSet<_> = native.open.iter().flat_map(ways_of).collect();
        Some(Self {
            key: Key::new(&door.name, sources_of(door, source)?, &targets),
            ways: ways.into_iter().collect(),
        })
    }

    /// Which grant it is.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// What it lets through.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter()
    }

    pub(super) fn given(&self, until: Timestamp) -> Given {
        self.ways.iter().map(|way| (*way, until)).collect()
    }
}

impl Ledger {
    /// Puts down what a grant gives, in place of what it gave before (`None`: nothing any more). The
    /// elements that may have another end now, and what it gave before.
    pub(super) fn set(&mut self, key: &Key, given: Option<Given>) -> (Vec<Element>, Option<Given>) {
        let mut touched = BTreeSet::new();
        let before = self.take(key, &mut touched);
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            let key = Arc::new(key.clone());
            for (way, until) in &given {
                let element = key.element(*way);
                let need = Need {
                    key: Arc::clone(&key),
                    until: *until,
                };
                self.needed.entry(element.clone()).or_default().push(need);
                touched.insert(element);
            }
            self.ends.insert((end(&given), Arc::clone(&key)));
            *self.widths.entry(width(&key)).or_default() += 1;
            self.grants.insert(key, given);
        }
        (touched.into_iter().collect(), before)
    }

    fn take(&mut self, key: &Key, touched: &mut BTreeSet<Element>) -> Option<Given> {
        let (key, given) = self.grants.remove_entry(key)?;
        for (way, _) in &given {
            let element = key.element(*way);
            if let Some(needs) = self.needed.get_mut(&element) {
                needs.retain(|need| need.key != key);
                if needs.is_empty() {
                    self.needed.remove(&element);
                }
            }
            touched.insert(element);
        }
        if let Some(count) = self.widths.get_mut(&width(&key)) {
            *count -= 1;
            if *count == 0 {
                self.widths.remove(&width(&key));
            }
        }
        self.ends.remove(&(end(&given), key));
        Some(given)
    }

    /// Until when an element must be there, and by which door; `None` if it must not.
    pub(super) fn until(&self, element: &Element, now: Timestamp) -> Option<(Timestamp, &str)> {
        let needs = self.needed.get(element)?.iter();
        let alive = needs.filter(|need| need.until > now);
        // Of several of the same end the first by name, so that it does not depend on the order.
        let longest = alive.max_by(|a, b| a.until.cmp(&b.until).then_with(|| b.key.cmp(&a.key)))?;
        Some((longest.until, longest.key.door()))
    }

    /// Takes out the grants that are over at `now`.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some((until, key)) = self.ends.first().cloned() {
            if until > now {
                break;
            }
            self.take(&key, &mut BTreeSet::new());
            let key = Arc::unwrap_or_clone(key);
            ended.push(Ended { key, until });
        }
        ended
    }

    /// When the next grant is over.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// The grants, with their ends.
    pub(super) fn grants(&self) -> impl Iterator<Item = (&Key, Timestamp)> {
        self.grants.iter().map(|(key, given)| (&**key, end(given)))
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Given> {
        self.grants.get(key)
    }

    /// The grants of a door from which `source` gains, at whatever destinations.
    pub(super) fn of_source(&self, door: &str, source: IpAddr) -> Vec<Key> {
        let door: Arc<str> = door.into();
        let widths = self.widths.keys().filter(|(v4, _)| *v4 == source.is_ipv4());
        let networks = widths.filter_map(|(_, width)| Target::network(source, *width));
        networks
            .flat_map(|sources| {
                let first = Key {
                    door: Arc::clone(&door),
                    sources,
                    targets: [].into(),
                };
                let from = self.grants.range(Arc::new(first)..);
                from.map(|(key, _)| &**key)
                    .take_while(|key| key.door == door && key.sources == sources)
                    .cloned()
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// All elements that some grant needs.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.needed.keys()
    }

    /// How many elements the grants need.
    pub(super) fn count(&self) -> usize {
        self.needed.len()
    }
}

fn end(given: &Given) -> Timestamp {
    let ends = given.iter().map(|(_, until)| *until);
    ends.max().unwrap_or(Timestamp::ZERO)
}

fn width(key: &Key) -> (bool, u8) {
    (key.sources.is_ipv4(), key.sources.prefix())
}

#[cfg(test)]
mod tests;
