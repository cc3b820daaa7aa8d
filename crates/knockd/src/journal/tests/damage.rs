//! Files that are not as they were written.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// A file with five records in it, and where each entry is, with the record that it is about.
pub(super) fn example() -> (Vec<u8>, Vec<(Range<usize>, u64)>) {
    let store = Memory::default();
    let (mut journal, _) = open(&store);
    let mut changes: Vec<_> = (0..6).map(|id| Change::Owe(Arc::new(owed(id)))).collect();
    changes.push(Change::Until(1, in_seconds(60)));
    changes.push(Change::Until(2, in_seconds(70)));
    changes.push(Change::Stopping(2));
    changes.push(Change::Strike(5));
    changes.push(Change::Until(3, in_seconds(80)));
    let mut places = Vec::new();
    for change in changes {
        let start = store.written().len();
        let id = change.id();
        journal.record(&[change]).unwrap();
        places.push((start..store.written().len(), id));
    }
    (store.written(), places)
}

const HEADER: usize = 24;

fn states(bytes: &[u8]) -> Vec<(u64, State)> {
    let (journal, _) = open(&Memory::of(bytes));
    journal
        .owed()
        .map(|(owed, state)| (owed.id, state))
        .collect()
}

#[test]
fn an_entry_that_was_torn_at_any_byte_is_cut_off_and_said() {
    let (bytes, places) = example();
    for length in HEADER..bytes.len() {
        let whole = places.iter().map(|(place, _)| place.end);
        let whole = whole.filter(|end| *end <= length).max().unwrap_or(HEADER);
        for zeros in [false, true] {
            let mut torn = bytes[..length].to_vec();
            if zeros {
                torn.truncate(whole);
                torn.resize(length, 0);
            }
            let store = Memory::of(&torn);
            let (journal, opened) = open(&store);
            let found: Vec<_> = journal
                .owed()
                .map(|(owed, state)| (owed.id, state))
                .collect();
            assert_eq!(found, states(&bytes[..whole]), "{length}");
            assert_eq!(store.written(), bytes[..whole]);
            match opened.notes.as_slice() {
                [] => assert_eq!(length, whole),
                [Note::Torn { bytes }] => {
                    assert_eq!(usize::try_from(*bytes).unwrap(), length - whole);
                }
                notes => panic!("{length}: {notes:?}"),
            }
        }
    }
}

#[test]
fn a_bit_that_flips_costs_nothing_that_its_entry_is_not_about() {
    let (bytes, places) = example();
    let whole = states(&bytes);
    for (place, about) in &places {
        for at in place.clone() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let store = Memory::of(&flipped);
                let (journal, opened) = open(&store);
                let found: Vec<_> = journal
                    .owed()
                    .map(|(owed, state)| (owed.id, state))
                    .collect();
                let others = |all: &[(u64, State)]| -> Vec<_> {
                    all.iter().filter(|(id, _)| id != about).copied().collect()
                };
                assert_eq!(others(&found), others(&whole), "byte {at}, bit {bit}");
                // A last entry that seems to be longer than the file was torn.
                let is_last = place.end == bytes.len();
                match opened.notes.as_slice() {
                    [Note::Damaged { kept: Some(_), .. }] => {
                        assert_eq!(store.aside(), [flipped.as_slice()]);
                    }
                    [Note::Torn { .. }] if is_last => {}
                    notes => panic!("byte {at}, bit {bit}: {notes:?}"),
                }
                let (_, again) = open(&store);
                assert!(again.notes.is_empty());
                assert_eq!(states(&store.written()), found);
            }
        }
    }
}

#[test]
fn a_header_with_a_flipped_bit_is_mended_or_left_alone() {
    let (bytes, _) = example();
    let whole = states(&bytes);
    for at in 0..HEADER {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let store = Memory::of(&flipped);
            match Journal::with(store.clone(), Bounds::DEFAULT, &NOW) {
                Ok((_, opened)) => {
                    assert!(at >= 12, "byte {at}");
                    assert!(matches!(opened.notes[..], [Note::Damaged { .. }]));
                    assert_eq!(states(&store.written()), whole);
                }
                Err(JournalError::NotAJournal) => assert!(at < 12),
                Err(JournalError::Future { .. }) => assert!((8..12).contains(&at)),
                Err(error) => panic!("{error}"),
            }
            if at < 12 {
                assert_eq!((store.written(), store.aside()), (flipped, vec![]));
            }
        }
    }
}

#[test]
fn a_header_that_was_cut_off_is_an_empty_journal() {
    let (bytes, _) = example();
    for length in 8..HEADER {
        let (_, opened) = open(&Memory::of(&bytes[..length]));
        assert!(opened.owed.is_empty());
        assert!(matches!(opened.notes[..], [Note::Damaged { .. }]));
    }
}

#[test]
fn a_file_larger_than_any_journal_is_not_read() {
    let most = usize::try_from(SMALL.file()).unwrap();
    let error = |length| {
        let store = Memory::of(&vec![0; length]);
        Journal::with(store, SMALL, &NOW).unwrap_err()
    };
    assert!(matches!(error(most), JournalError::NotAJournal));
    assert!(matches!(error(most + 1), JournalError::TooLarge));
}

#[test]
fn entries_that_make_no_sense_are_counted_and_change_nothing() {
    let (bytes, places) = example();
    let whole = states(&bytes);
    let (first, _) = &places[0];
    let mut twice = bytes.clone();
    twice.extend(&bytes[first.clone()]);
    let (_, opened) = open(&Memory::of(&twice));
    assert!(matches!(
        opened.notes[..],
        [Note::Damaged {
            bytes: 0,
            entries: 1,
            ..
        }]
    ));
    assert_eq!(states(&twice), whole);
}

#[test]
fn a_file_in_which_every_byte_may_begin_an_entry_is_given_up() {
    let (mut bytes, _) = example();
    let owed = states(&bytes).len();
    bytes.extend([0, 0x10, 0, 0].repeat(2 << 20));
    let (_, opened) = open(&Memory::of(&bytes));
    assert_eq!(opened.owed.len(), owed);
    let [Note::Damaged { bytes, .. }] = opened.notes[..] else {
        panic!("{:?}", opened.notes);
    };
    assert_eq!(bytes, 8 << 20);
}

/// Entries after a good header, some of them with their checksum.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let (whole, places) = example();
    let header = whole[..HEADER].to_vec();
    let entries: Vec<_> = places
        .iter()
        .map(|(place, _)| whole[place.clone()].to_vec())
        .collect();
    let payload = prop::collection::vec(any::<u8>(), 1..80).prop_map(|payload| {
        let mut out = Vec::new();
        format::push(&mut out, &payload);
        out
    });
    let part = prop_oneof![
        prop::sample::select(entries),
        prop::collection::vec(any::<u8>(), 1..80),
        payload,
    ];
    let parts = prop::collection::vec(part, 0..20);
    parts.prop_map(move |parts| [header.clone(), parts.concat()].concat())
}

proptest! {
    #[test]
    fn whatever_comes_after_the_header_what_is_found_is_found_again(bytes in files()) {
        let store = Memory::of(&bytes);
        let (journal, opened) = open(&store);
        let found: Vec<_> = opened.owed;
        drop(journal);
        let (mut journal, again) = open(&store);
        prop_assert_eq!(&again.owed, &found);
        prop_assert!(again.notes.is_empty(), "{:?}", again.notes);
        let next = journal.next_id();
        if next < u64::MAX {
            journal.owe(&owed(next)).unwrap();
            prop_assert_eq!(open(&store).1.owed.len(), found.len() + 1);
        }
    }
}
