//! Any bytes are looked at as a trail, line for line, and a report is made of them. A good trail has
//! no break, and shows one after any change of its bytes.
#![no_main]

use knockd::audit::{
    Break, Digest, Entry, Fault, Filter, Head, NewFile, Report, Verifier, What, lines,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    looked_at(data);
    let (trail, head) = good(data);
    assert_eq!(breaks(&trail, Some(head.clone())), []);
    let mut changed = trail.clone();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
        changed[at] = change[2];
    }
    if changed != trail {
        assert!(!breaks(&changed, Some(head)).is_empty());
    }
});

/// All that shows in `bytes`.
fn breaks(bytes: &[u8], head: Option<Head>) -> Vec<Break> {
    let mut verifier = Verifier::new(head, []);
    let (mut found, mut count) = (Vec::new(), 0);
    let take = |line: &[u8], is_whole: bool| {
        count += 1;
        found.extend((!is_whole).then_some(Break::Torn));
        found.extend(verifier.line(line, count == 1));
    };
    lines(bytes, take).expect("memory can be read");
    found.extend(verifier.finish());
    assert_eq!(verifier.extent().0, count);
    found
}

fn looked_at(bytes: &[u8]) {
    for found in breaks(bytes, None) {
        assert!(!found.to_string().is_empty());
    }
    let mut report = Report::default();
    lines(bytes, |line, _| report.line(line)).expect("memory can be read");
    let filter = Filter {
        since: "0001-01-01T00:00:00Z".parse().expect("a time"),
        until: "9998-01-01T00:00:00Z".parse().expect("a time"),
        door: None,
        who: None,
        port: None,
    };
    let accesses = report.accesses(&filter);
    assert!(accesses.is_sorted_by_key(|access| access.from));
}

/// A trail that says what `data` does, and its head.
fn good(data: &[u8]) -> (Vec<u8>, Head) {
    let first = What::File(NewFile {
        version: 1,
        after: None,
    });
    let texts = data.chunks(16).take(8).map(String::from_utf8_lossy);
    let faults = texts.map(|text| What::Fault(Fault::Torn(text.into_owned())));
    let (mut bytes, mut seq, mut prev) = (Vec::new(), 0, Digest::NONE);
    for what in [first].into_iter().chain(faults) {
        seq += 1;
        let entry = Entry {
            seq,
            prev,
            time: "2026-11-27T17:00:00Z".parse().expect("a time"),
            what,
        };
        let line = entry.line();
        prev = Digest::of(line.as_bytes());
        bytes.extend(line.as_bytes());
        bytes.push(b'\n');
    }
    let head = Head {
        seq,
        digest: prev,
        lost: 0,
        path: "/audit".to_owned(),
    };
    (bytes, head)
}
