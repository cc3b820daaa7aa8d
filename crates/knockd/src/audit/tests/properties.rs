//! What holds for every trail and every change of it.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// One change of somebody who has not the hash.
#[derive(Clone, Debug)]
enum Mutation {
    Remove(usize),
    Alter(usize, usize),
    Swap(usize, usize),
    Double(usize, usize),
    Cut(usize),
    CutBytes(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let any = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    prop_oneof![
        any().prop_map(Mutation::Remove),
        (any(), any()).prop_map(|(line, at)| Mutation::Alter(line, at)),
        (any(), any()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        (any(), any()).prop_map(|(a, b)| Mutation::Double(a, b)),
        any().prop_map(Mutation::Cut),
        any().prop_map(Mutation::CutBytes),
    ]
}

fn mutate(lines: &mut Vec<Vec<u8>>, mutation: &Mutation) {
    let count = lines.len();
    match *mutation {
        Mutation::Remove(line) => drop(lines.remove(line % count)),
        Mutation::Alter(line, at) => {
            let line = &mut lines[line % count];
            let at = at % (line.len() - 1);
            line[at] ^= 1;
        }
        Mutation::Swap(a, b) => lines.swap(a % count, b % count),
        Mutation::Double(a, b) => lines.insert(b % count, lines[a % count].clone()),
        Mutation::Cut(at) => lines.truncate(at % count),
        Mutation::CutBytes(at) => {
            let mut all = lines.concat();
            all.truncate(at % all.len());
            *lines = vec![all];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_change_shows(
        texts in prop::collection::vec("\\PC{0,12}", 1..12),
        mutation in mutation(),
        goes_on: bool,
    ) {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let place = Folder::with(&texts);
        prop_assert_eq!(place.breaks(), []);
        let mut lines = place.lines();
        mutate(&mut lines, &mutation);
        if lines.concat() == place.lines().concat() {
            return Ok(());
        }
        place.set_lines(&lines);
        prop_assert!(!place.breaks().is_empty(), "{:?}", mutation);
        if goes_on {
            // Nor does it help that the daemon writes on behind it.
            let noted = place.head().unwrap().digest;
            let (mut trail, _) = place.trail();
            trail.put(&[told("on")], at(2));
            let found = place.breaks_of(&["audit"], &[noted]);
            prop_assert!(!found.is_empty(), "{:?}", mutation);
        }
    }

    #[test]
    fn any_bytes_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut verifier = Verifier::new(None, []);
        let mut report = Report::default();
        let mut count = 0;
        lines(&bytes[..], |line, _| {
            count += 1;
            let found = verifier.line(line, count == 1);
            assert!(found.is_some() || serde_json::from_slice::<Link>(line).is_ok());
            report.line(line);
        }).unwrap();
        prop_assert_eq!(verifier.extent().0, count);
    }
}

#[test]
fn a_line_longer_than_any_is_one_line() {
    let mut bytes = vec![b'x'; MAX_LINE + 70_000];
    bytes.extend(b"\nend");
    let mut found = Vec::new();
    lines(&bytes[..], |line, whole| found.push((line.len(), whole))).unwrap();
    assert_eq!(found, [(MAX_LINE + 1, true), (3, false)]);
    assert!(rotated(Path::new("/nonexistent/audit")).is_empty());
}
