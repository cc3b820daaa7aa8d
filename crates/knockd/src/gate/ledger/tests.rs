use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A change of one of a few grants that have much in common.
#[derive(Clone, Debug)]
enum Step {
    Give {
        key: usize,
        ways: BTreeSet<Way>,
        seconds: u64,
    },
    Take {
        key: usize,
    },
    Wait {
        seconds: u64,
    },
}

fn keys() -> Vec<Key> {
    let host: Targets = [].into();
    let inner: Targets = ["10.0.0.0/8".parse().unwrap()].into();
    let sources = ["192.0.2.1", "192.0.2.0/24", "2001:db8::1"];
    let mut keys = Vec::new();
    for door in ["a", "b", "c"] {
        for source in sources {
            for targets in [&host, &inner] {
                keys.push(Key::new(door, source.parse().unwrap(), targets));
            }
        }
    }
    keys
}

fn ways() -> impl Strategy<Value = BTreeSet<Way>> {
    let way = prop_oneof![
        (22_u16..26).prop_map(Way::Tcp),
        Just(Way::Udp(22)),
        Just(Way::Ping)
    ];
    prop::collection::btree_set(way, 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..keys().len();
    prop_oneof![
        4 => (key.clone(), ways(), 1_u64..20)
            .prop_map(|(key, ways, seconds)| Step::Give { key, ways, seconds }),
        2 => key.prop_map(|key| Step::Take { key }),
        1 => (1_u64..10).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The grants as a plain list, and what a kernel would have that was told of the touched elements.
#[derive(Default)]
struct Model {
    grants: BTreeMap<Key, (BTreeSet<Way>, Timestamp)>,
    kernel: BTreeMap<Element, Timestamp>,
    now: Timestamp,
}

impl Model {
    fn until(&self, element: &Element) -> Option<Timestamp> {
        let grants = self.grants.iter();
        let needing = grants.filter(|(key, (ways, _))| {
            ways.contains(&element.way) && key.element(element.way) == *element
        });
        let ends = needing.map(|(_, (_, until))| *until);
        ends.filter(|until| *until > self.now).max()
    }

    fn tell(&mut self, ledger: &Ledger, touched: Vec<Element>) {
        for element in touched {
            match ledger.until(&element, self.now) {
                Some((until, _)) => self.kernel.insert(element, until),
                None => self.kernel.remove(&element),
            };
        }
    }
}

proptest! {
    #[test]
    fn an_element_stays_as_long_as_the_longest_grant_that_needs_it(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let keys = keys();
        let (mut ledger, mut model) = (Ledger::default(), Model::default());
        for step in steps {
            match step {
                Step::Give { key, ways, seconds } => {
                    let until = model.now.saturating_add(Duration::from_secs(seconds));
                    let given = ways.iter().map(|way| (*way, until)).collect();
                    let (touched, _) = ledger.set(&keys[key], Some(given));
                    model.grants.insert(keys[key].clone(), (ways, until));
                    model.tell(&ledger, touched);
                }
                Step::Take { key } => {
                    let (touched, before) = ledger.set(&keys[key], None);
                    let known = model.grants.remove(&keys[key]);
                    prop_assert_eq!(before.is_some(), known.is_some());
                    model.tell(&ledger, touched);
                }
                Step::Wait { seconds } => {
                    model.now = model.now.saturating_add(Duration::from_secs(seconds));
                    let now = model.now;
                    let ended = ledger.expire(now);
                    let mut over: Vec<_> = model.grants.iter()
                        .filter(|(_, (_, until))| *until <= now)
                        .map(|(key, (_, until))| Ended { key: key.clone(), until: *until })
                        .collect();
                    over.sort_by(|a, b| (a.until, &a.key).cmp(&(b.until, &b.key)));
                    prop_assert_eq!(ended, over);
                    model.grants.retain(|_, (_, until)| *until > now);
                    // The kernel does this by itself.
                    model.kernel.retain(|_, until| *until > now);
                }
            }
            let needed: BTreeMap<_, _> = ledger.elements()
                .filter_map(|it| Some((it.clone(), ledger.until(it, model.now)?.0)))
                .collect();
            prop_assert_eq!(&needed, &model.kernel);
            for (element, until) in &model.kernel {
                prop_assert_eq!(model.until(element), Some(*until));
            }
            let alive: Vec<_> = ledger.grants().map(|(key, end)| (key.clone(), end)).collect();
            let expected: Vec<_> = model.grants.iter()
                .map(|(key, (_, until))| (key.clone(), *until)).collect();
            prop_assert_eq!(alive, expected);
            let next = model.grants.values().map(|(_, until)| *until).min();
            prop_assert_eq!(ledger.next_end(), next);
            for key in &keys {
                let source = key.sources().address();
                let mut found = ledger.of_source(key.door(), source);
                found.sort();
                let expected: Vec<_> = model.grants.keys()
                    .filter(|it| it.door() == key.door() && it.sources().contains(source))
                    .cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn what_was_undone_leaves_no_trace(steps in prop::collection::vec(step(), 1..30)) {
        let keys = keys();
        let mut ledger = Ledger::default();
        for step in steps {
            let (key, given) = match step {
                Step::Give { key, ways, seconds } => {
                    let until = Timestamp::ZERO.saturating_add(Duration::from_secs(seconds));
                    (key, Some(ways.into_iter().map(|way| (way, until)).collect()))
                }
                Step::Take { key } => (key, None),
                Step::Wait { .. } => continue,
            };
            let before = state(&ledger);
            let (_, undo) = ledger.set(&keys[key], given.clone());
            ledger.set(&keys[key], undo);
            prop_assert_eq!(state(&ledger), before);
            ledger.set(&keys[key], given);
        }
        for key in &keys {
            ledger.set(key, None);
        }
        prop_assert_eq!(ledger.count(), 0);
        prop_assert!(ledger.widths.is_empty() && ledger.ends.is_empty());
    }
}

type State = (Vec<(Key, Given)>, BTreeMap<Element, (Timestamp, String)>);

/// Everything that can be seen from outside.
fn state(ledger: &Ledger) -> State {
    let grants = ledger.grants.iter();
    let grants = grants.map(|(key, given)| ((**key).clone(), given.clone()));
    let elements = ledger.elements().filter_map(|element| {
        let (until, door) = ledger.until(element, Timestamp::ZERO)?;
        Some((element.clone(), (until, door.to_owned())))
    });
    (grants.collect(), elements.collect())
}

#[test]
fn of_two_grants_of_one_end_the_first_door_by_name_is_told() {
    let mut ledger = Ledger::default();
    let until = Timestamp::from_millis(1_000);
    let source: Target = "192.0.2.1".parse().unwrap();
    for door in ["b", "a", "c"] {
        let key = Key::new(door, source, &[].into());
        ledger.set(&key, Some(vec![(Way::Ping, until)]));
    }
    let element = Key::new("a", source, &[].into()).element(Way::Ping);
    assert_eq!(ledger.until(&element, Timestamp::ZERO), Some((until, "a")));
    assert_eq!(ledger.until(&element, until), None);
}
