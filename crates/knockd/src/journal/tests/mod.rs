//! What the [module](super) promises.

mod crash;
mod damage;
mod disk;
mod memory;

use super::*;
use memory::Memory;

const SECOND: u64 = 1_000_000_000;

const NOW: Moment = Moment {
    boot: BootId::from_bytes([1; 16]),
    boottime: 1000 * SECOND,
    wall: 2_000_000_000 * SECOND,
};

/// Small enough that a short history comes to the limits, and to rewrites.
const SMALL: Bounds = Bounds {
    records: 6,
    bytes: 1200,
    slack: 150,
};

fn owed(id: u64) -> Owed {
    Owed {
        id,
        door: "ssh".into(),
        source: "2001:db8::1".parse().unwrap(),
        command: format!("close {id}"),
        user: (id % 2 == 1).then(|| "nobody".into()),
    }
}

fn in_seconds(seconds: u64) -> Deadline {
    Deadline::after(&NOW, Duration::from_secs(seconds))
}

fn open(store: &Memory) -> (Journal<Memory>, Opened) {
    open_at(store, &NOW)
}

fn open_at(store: &Memory, now: &Moment) -> (Journal<Memory>, Opened) {
    Journal::with(store.clone(), Bounds::DEFAULT, now).unwrap()
}

fn whens(opened: &Opened) -> Vec<(u64, When)> {
    opened
        .owed
        .iter()
        .map(|due| (due.owed.id, due.when))
        .collect()
}

#[test]
fn what_is_owed_is_found_again_with_the_time_that_is_left() {
    let store = Memory::default();
    let (mut journal, opened) = open(&store);
    assert!(opened.owed.is_empty() && opened.notes.is_empty());
    for id in 0..5 {
        assert_eq!(journal.next_id(), id);
        journal.owe(&owed(id)).unwrap();
    }
    journal.until(1, in_seconds(30)).unwrap();
    journal.until(2, in_seconds(30)).unwrap();
    journal.until(2, in_seconds(90)).unwrap();
    journal.stopping(3).unwrap();
    journal.stopping(4).unwrap();
    journal.strike(4).unwrap();

    let later = Moment {
        boottime: NOW.boottime + 40 * SECOND,
        wall: 0,
        ..NOW
    };
    let (journal, opened) = open_at(&store, &later);
    let left = When::In(Duration::from_secs(50));
    assert_eq!(
        whens(&opened),
        [
            (0, When::Starting),
            (1, When::Overdue),
            (2, left),
            (3, When::Stopping)
        ]
    );
    assert_eq!(*opened.owed[1].owed, owed(1));
    assert_eq!(*opened.owed[2].owed, owed(2));
    assert_eq!((journal.next_id(), opened.notes.len()), (5, 0));
}

#[test]
fn numbers_go_on_after_the_highest_even_if_all_was_struck_off_and_rewritten() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    journal.owe(&owed(41)).unwrap();
    journal.strike(41).unwrap();
    journal.rebase(&NOW).unwrap();
    let (mut journal, _) = open(&store);
    assert_eq!(journal.next_id(), 42);
    let refused = journal.owe(&owed(41)).unwrap_err();
    assert!(matches!(refused, AppendError::Refused(Refusal::IdUsed)));
}

#[test]
fn after_a_reboot_deadlines_are_kept_by_the_clocks_of_the_new_boot() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    journal.owe(&owed(0)).unwrap();
    journal.until(0, in_seconds(60)).unwrap();
    let boot = |number, seconds: u64| Moment {
        boot: BootId::from_bytes([number; 16]),
        boottime: seconds * SECOND,
        wall: NOW.wall + seconds * SECOND,
    };
    let left = |seconds| [(0, When::In(Duration::from_secs(seconds)))];
    assert_eq!(whens(&open_at(&store, &boot(2, 20)).1), left(40));
    // The wall clock is set a year back: in the same boot, then over the next reboot.
    let mut now = boot(2, 30);
    now.wall -= 365 * 86_400 * SECOND;
    assert_eq!(whens(&open_at(&store, &now).1), left(30));
    now.boot = BootId::from_bytes([3; 16]);
    assert_eq!(whens(&open_at(&store, &now).1), left(40));
    // And forward again.
    assert_eq!(
        whens(&open_at(&store, &boot(4, 30)).1),
        [(0, When::Overdue)]
    );
}

#[test]
fn a_step_of_the_clock_that_is_told_does_not_count_after_the_next_reboot() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    journal.owe(&owed(0)).unwrap();
    journal.until(0, in_seconds(60)).unwrap();
    let mut now = NOW;
    now.wall += 3600 * SECOND;
    journal.rebase(&now).unwrap();
    now.boot = BootId::from_bytes([2; 16]);
    now.wall += 10 * SECOND;
    let left = When::In(Duration::from_secs(50));
    assert_eq!(whens(&open_at(&store, &now).1), [(0, left)]);
}

#[test]
fn a_call_costs_one_write_and_one_sync_however_many_changes_it_has() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    assert_eq!(store.take_operations(), ["read", "prepare", "commit"]);
    journal.owe(&owed(0)).unwrap();
    assert_eq!(store.take_operations(), ["append", "sync"]);
    let changes: Vec<_> = (1..100).map(|id| Change::Owe(Arc::new(owed(id)))).collect();
    journal.record(&changes).unwrap();
    assert_eq!(store.take_operations(), ["append", "sync"]);
    journal.strike(0).unwrap();
    assert_eq!(store.take_operations(), ["append", "sync"]);
    journal.mend().unwrap();
    assert!(journal.strike(0).is_err());
    assert!(store.take_operations().is_empty());
    open(&store);
    assert_eq!(store.take_operations(), ["read"]);
}

#[test]
fn a_file_never_grows_beyond_its_bound() {
    let store = Memory::default();
    let (mut journal, _) = Journal::with(store.clone(), SMALL, &NOW).unwrap();
    let mut most = 0;
    for id in 0..500 {
        journal.owe(&owed(id)).unwrap();
        journal.until(id, in_seconds(id)).unwrap();
        if id >= 3 {
            journal.strike(id - 3).unwrap();
        }
        most = most.max(store.written().len());
    }
    assert!(most > 400, "{most}");
    assert!(u64::try_from(most).unwrap() <= SMALL.file(), "{most}");
    assert_eq!(journal.owed().count(), 3);
    // One deadline that moves and moves is struck off as well.
    for seconds in 0..500 {
        journal.until(499, in_seconds(seconds)).unwrap();
        assert!(u64::try_from(store.written().len()).unwrap() <= SMALL.file());
    }
}

#[test]
fn as_many_as_the_keeper_has_grants_are_owed_and_not_one_more() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    let change = |id| Change::Owe(Arc::new(owed(id)));
    let all: Vec<_> = (0..65_536).map(change).collect();
    journal.record(&all).unwrap();
    let refused = journal.owe(&owed(65_536)).unwrap_err();
    assert!(matches!(refused, AppendError::Refused(Refusal::Full)));
    assert_eq!(open(&store).1.owed.len(), 65_536);
    assert_eq!(crate::keeper::MAX_GRANTS, Bounds::DEFAULT.records);
}

#[test]
fn a_full_disk_takes_nothing_back_and_what_has_happened_is_written_later() {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    journal.owe(&owed(0)).unwrap();
    journal.owe(&owed(1)).unwrap();
    let before = store.written();
    store.set_full(true);
    assert!(matches!(journal.owe(&owed(2)), Err(AppendError::NoSpace)));
    assert!(!journal.is_broken());
    assert_eq!(store.written(), before);
    assert!(matches!(journal.strike(0), Err(AppendError::NoSpace)));
    assert!(journal.until(1, in_seconds(9)).is_err());
    assert!(journal.is_broken() && journal.mend().is_err());
    assert_eq!(store.written(), before);
    assert_eq!(journal.owed().count(), 1);

    store.set_full(false);
    journal.owe(&owed(2)).unwrap();
    assert!(!journal.is_broken());
    let left = When::In(Duration::from_secs(9));
    let found = whens(&open(&store).1);
    assert_eq!(found, [(1, left), (2, When::Starting)]);
}

#[test]
fn a_journal_that_cannot_be_rewritten_goes_on_as_it_is() {
    let store = Memory::default();
    let (mut journal, _) = Journal::with(store.clone(), SMALL, &NOW).unwrap();
    store.set_no_rewrite(true);
    journal.owe(&owed(0)).unwrap();
    let mut notes = 0;
    for seconds in 0..20 {
        journal.until(0, in_seconds(seconds)).unwrap();
        notes += usize::from(journal.poll_note().is_some());
    }
    // Not at each of them.
    assert!((1..10).contains(&notes), "{notes}");
    store.set_no_rewrite(false);
    for seconds in 0..20 {
        journal.until(0, in_seconds(seconds)).unwrap();
    }
    assert!(journal.poll_note().is_none());
    assert!(store.written().len() < 400);
}
