//! The end comes, or an error, at each operation on the file in its turn.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::Fault;
use super::*;
use crate::journal::ledger::Ledger;

/// Something to do with what is owed at that time; numbers choose one of it.
#[derive(Copy, Clone, Debug)]
enum Step {
    Owe,
    Until(usize, u64),
    Stopping(usize),
    Strike(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Owe),
        2 => (any::<usize>(), 1..1000_u64).prop_map(|(of, seconds)| Step::Until(of, seconds)),
        1 => any::<usize>().prop_map(Step::Stopping),
        2 => any::<usize>().prop_map(Step::Strike),
    ]
}

/// Calls, each with its changes.
fn histories() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let call = prop_oneof![
        3 => prop::collection::vec(steps(), 1),
        1 => prop::collection::vec(steps(), 2..5),
    ];
    prop::collection::vec(call, 1..16)
}

/// All changes of a call that `ledger` takes.
fn changes(ledger: &Ledger, call: &[Step]) -> Vec<Change> {
    let mut ledger = ledger.clone();
    let mut changes = Vec::new();
    for step in call {
        let ids: Vec<u64> = ledger.records().keys().copied().collect();
        let chosen = |of: usize| ids.get(of % ids.len().max(1)).copied();
        let change = match *step {
            Step::Owe => Some(Change::Owe(Arc::new(owed(ledger.next())))),
            Step::Until(of, seconds) => chosen(of).map(|id| Change::Until(id, in_seconds(seconds))),
            Step::Stopping(of) => chosen(of).map(Change::Stopping),
            Step::Strike(of) => chosen(of).map(Change::Strike),
        };
        changes.extend(change.filter(|change| ledger.apply(change).is_ok()));
    }
    changes
}

type Found = BTreeMap<u64, (Owed, State)>;

fn of_ledger(ledger: &Ledger) -> Found {
    let records = ledger.records().iter();
    let found = records.map(|(id, record)| (*id, ((*record.owed).clone(), record.state)));
    found.collect()
}

/// What a journal finds in `bytes`, and finds again after that.
fn found(bytes: &[u8]) -> Found {
    let store = Memory::of(bytes);
    let (journal, opened) = Journal::with(store.clone(), SMALL, &NOW).unwrap();
    // Power may be lost with holes in the file, but what was written makes sense.
    let unexpected = |note: &&Note| match note {
        Note::Torn { .. } => false,
        Note::Damaged { entries, .. } => *entries > 0,
        Note::NotRewritten(_) => true,
    };
    assert!(
        opened.notes.iter().find(unexpected).is_none(),
        "{:?}",
        opened.notes
    );
    let found = of_ledger(&journal.ledger);
    let (journal, opened) = Journal::with(store, SMALL, &NOW).unwrap();
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    assert_eq!(found, of_ledger(&journal.ledger));
    found
}

/// Goes through `history` until the end comes; gives what may be found then.
fn until_the_end(store: &Memory, history: &[Vec<Step>]) -> Vec<Found> {
    let mut confirmed = Ledger::new(SMALL, 0);
    let Ok((mut journal, _)) = Journal::with(store.clone(), SMALL, &NOW) else {
        return vec![Found::new()];
    };
    for call in history {
        if store.is_killed() {
            break;
        }
        let changes = changes(&confirmed, call);
        let result = journal.record(&changes);
        if result.is_err() {
            assert!(store.is_killed(), "{result:?}");
            // Not confirmed: each of the changes may be there, in their order.
            let mut allowed = vec![of_ledger(&confirmed)];
            for change in &changes {
                confirmed.apply(change).unwrap();
                allowed.push(of_ledger(&confirmed));
            }
            return allowed;
        }
        confirmed.apply_all(&changes).unwrap();
    }
    vec![of_ledger(&confirmed)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whenever_the_end_comes_nothing_owed_is_lost_and_nothing_struck_returns(
        history in histories()
    ) {
        let whole = Memory::default();
        until_the_end(&whole, &history);
        for at in 0..=whole.count() {
            for quarters in 0..=4 {
                let fault = Fault { at, times: 1, quarters, kill: true };
                let store = Memory::with_fault(fault);
                let allowed = until_the_end(&store, &history);
                for remains in store.remains() {
                    let found = found(&remains);
                    prop_assert!(
                        allowed.contains(&found),
                        "{:?}: {:?} is none of {:?}", fault, found, allowed
                    );
                }
            }
        }
    }

    #[test]
    fn whatever_fails_and_however_often_nothing_owed_is_lost_and_all_is_well_afterwards(
        history in histories(), times in 1..5_usize
    ) {
        let whole = Memory::default();
        until_the_end(&whole, &history);
        for at in 1..=whole.count() {
            for quarters in 0..=4 {
                let fault = Fault { at, times, quarters, kill: false };
                with_errors(fault, &history)?;
            }
        }
    }
}

/// Goes through `history` with a fault, with a kill after each call in its turn.
fn with_errors(fault: Fault, history: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let store = Memory::with_fault(fault);
    let (mut journal, _) = Journal::with(store.clone(), SMALL, &NOW).unwrap();
    // On the disk for sure; perhaps on the disk; and what should be there.
    let (mut owed, mut tried) = (BTreeMap::new(), BTreeMap::new());
    let mut model = Ledger::new(SMALL, 0);
    for call in history {
        let changes = changes(&model, call);
        let result = journal.record(&changes);
        for change in &changes {
            match change {
                Change::Owe(new) if result.is_ok() => {
                    owed.insert(new.id, Arc::clone(new));
                }
                Change::Owe(new) => {
                    tried.insert(new.id, Arc::clone(new));
                }
                Change::Strike(id) => {
                    // If this fails, it is on the disk until it is written.
                    if let Some(struck) = owed.remove(id).filter(|_| result.is_err()) {
                        tried.insert(*id, struck);
                    }
                }
                Change::Until(..) | Change::Stopping(_) => {}
            }
            if result.is_ok() || !matches!(change, Change::Owe(_)) {
                // What was to be owed is not, so the rest of it makes no sense.
                let is_known = model.apply(change).is_ok();
                prop_assert!(is_known || result.is_err());
            }
        }
        if !journal.is_broken() {
            tried.clear();
            prop_assert_eq!(found(&store.written()), of_ledger(&model), "{:?}", fault);
        }
        prop_assert_eq!(of_ledger(&journal.ledger), of_ledger(&model));
        for remains in store.remains() {
            let found = found(&remains);
            for (id, record) in &owed {
                prop_assert_eq!(Some(&**record), found.get(id).map(|(owed, _)| owed));
            }
            let unknown = |id: &&u64| !owed.contains_key(*id) && !tried.contains_key(*id);
            prop_assert_eq!(found.keys().find(unknown), None, "{:?}", fault);
        }
    }
    store.heal();
    journal.mend().unwrap();
    prop_assert!(!journal.is_broken());
    prop_assert_eq!(found(&store.written()), of_ledger(&model));
    Ok(())
}

#[test]
fn an_end_while_the_file_is_opened_loses_nothing() {
    let (whole, _) = damage::example();
    let other_boot = Moment {
        boot: BootId::from_bytes([2; 16]),
        ..NOW
    };
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    let expected = |bytes: &[u8]| whens(&open_at(&Memory::of(bytes), &other_boot).1);
    let expected = [expected(&whole), expected(&damaged)];
    for (bytes, expected) in [whole, damaged].into_iter().zip(expected) {
        for at in 0..5 {
            for quarters in 0..=4 {
                let store = Memory::of(&bytes);
                store.set_fault(Fault {
                    at,
                    times: 1,
                    quarters,
                    kill: true,
                });
                drop(Journal::with(store.clone(), Bounds::DEFAULT, &other_boot));
                for remains in store.remains() {
                    let (_, opened) = open_at(&Memory::of(&remains), &other_boot);
                    assert_eq!(whens(&opened), expected, "{at} {quarters}");
                }
            }
        }
    }
}
