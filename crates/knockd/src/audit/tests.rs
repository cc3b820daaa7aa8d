//! The trail in its file, and what shows when somebody has changed it.

mod properties;
mod report;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::events::{Event, Grant, Kind, Reason, RunId, Who};
use crate::log::Level;

/// A folder with a trail in it.
struct Folder {
    folder: TempDir,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn event(kind: Kind, seconds: i64, text: &str) -> Event {
    Event {
        seq: 1,
        run: RunId::new(7),
        time: at(seconds),
        kind,
        level: Level::Info.into(),
        door: Some("ssh".to_owned()),
        source: Some([192, 0, 2, 7].into()),
        grant: Some(Grant::Gate),
        to: Some("192.0.2.7".to_owned()),
        services: vec!["tcp/22".to_owned()],
        who: Some(Who::Key("alice@laptop".to_owned())),
        reason: None,
        until: Some(at(seconds + 30)),
        stage: None,
        count: None,
        text: text.to_owned(),
    }
}

fn told(text: &str) -> What {
    What::Event(Box::new(event(Kind::Open, 0, text)))
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trail(&self) -> (Trail, Vec<String>) {
        let (trail, lines) = Trail::open(&self.file("audit"), self.folder.path(), at(0));
        (trail, texts(&lines))
    }

    /// A trail of the line of a new file, and one for each of these.
    fn with(texts: &[&str]) -> Self {
        let place = Self::new();
        let (mut trail, lines) = place.trail();
        assert_eq!(lines, [""; 0]);
        for text in texts {
            assert_eq!(trail.put(&[told(text)], at(1)), []);
        }
        place
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(self.file("audit")).unwrap();
        let lines = bytes.split_inclusive(|b| *b == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }

    fn set_lines(&self, lines: &[Vec<u8>]) {
        fs::write(self.file("audit"), lines.concat()).unwrap();
    }

    fn head(&self) -> Option<Head> {
        Head::load(self.folder.path()).unwrap()
    }

    /// What shows in these files, each with its line.
    fn breaks_of(&self, names: &[&str], noted: &[Digest]) -> Vec<(u64, Break)> {
        let files = Files::in_order(names.iter().map(|name| self.file(name))).unwrap();
        let mut verifier = Verifier::new(self.head(), noted.iter().copied());
        let mut found = Vec::new();
        files
            .each(|place, line, is_whole| {
                let torn = (!is_whole).then_some(Break::Torn);
                let all = torn.into_iter().chain(verifier.line(line, place.line == 1));
                found.extend(all.map(|one| (place.line, one)));
            })
            .unwrap();
        found.extend(verifier.finish().into_iter().map(|one| (0, one)));
        found
    }

    fn breaks(&self) -> Vec<(u64, Break)> {
        self.breaks_of(&["audit"], &[])
    }

    /// What the trail says of itself.
    fn faults(&self) -> Vec<Fault> {
        let lines = self.lines();
        let entries = lines
            .iter()
            .filter_map(|line| serde_json::from_slice(line).ok());
        let fault = |entry: Entry| match entry.what {
            What::Fault(fault) => Some(fault),
            _ => None,
        };
        entries.filter_map(fault).collect()
    }
}

fn texts(lines: &[crate::log::Line]) -> Vec<String> {
    lines.iter().map(|line| line.message(None)).collect()
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let place = Folder::with(&["one\u{7}\"\n"]);
    let lines = place.lines();
    let [first, second] = &lines[..] else {
        panic!("{lines:?}")
    };
    let none = "0".repeat(64);
    let text = format!(
        "{{\"seq\":1,\"prev\":\"{none}\",\"time\":\"{}\",\"file\":{{\"version\":1}}}}\n",
        at(0)
    );
    assert_eq!(String::from_utf8_lossy(first), text);
    let entry: Entry = serde_json::from_slice(second).unwrap();
    assert_eq!(entry.prev, Digest::of(text.trim_end().as_bytes()));
    assert_eq!(entry.what, told("one\u{7}\"\n"));
    assert_eq!(entry.line() + "\n", String::from_utf8_lossy(second));
    assert_eq!(place.breaks(), []);
}

#[test]
fn the_file_is_for_its_owner_and_one_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let place = Folder::with(&["a"]);
    for name in ["audit", HEAD] {
        let mode = fs::metadata(place.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let (mut trail, none) = place.trail();
    let (mut second, lines) = place.trail();
    assert!(none.is_empty() && lines.len() == 2, "{lines:?}");
    let refused = |line: &String| line.contains("another process uses it");
    assert!(lines.iter().all(refused), "{lines:?}");
    assert_eq!(second.put(&[told("x")], at(2)), [], "it is said once");
    // The head is the first one's.
    trail.put(&[told("b")], at(3));
    assert_eq!((place.breaks(), place.head().unwrap().seq), (vec![], 3));
}

#[test]
fn a_trail_goes_on_after_a_restart() {
    let place = Folder::with(&["a", "b"]);
    let (mut trail, lines) = place.trail();
    assert_eq!(lines, [""; 0]);
    trail.put(&[told("c"), told("d")], at(2));
    assert_eq!((place.breaks(), place.lines().len()), (vec![], 5));
    let head = place.head().unwrap();
    assert_eq!(head.seq, 5);
    assert!(
        trail
            .summary()
            .message(None)
            .ends_with(&head.digest.to_string())
    );
}

#[test]
fn each_kind_of_change_is_told_with_its_place() {
    let change = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let place = Folder::with(&["a", "b", "c", "d", "e"]);
        let mut lines = place.lines();
        change(&mut lines);
        place.set_lines(&lines);
        place.breaks()
    };
    let removed = change(&|lines| drop(lines.remove(2)));
    assert_eq!(removed, [(3, Break::Missing { first: 3, last: 3 })]);
    let altered = change(&|lines| {
        let text = String::from_utf8(lines[2].clone()).unwrap();
        lines[2] = text.replace("192.0.2.7", "192.0.2.8").into_bytes();
    });
    assert_eq!(altered, [(4, Break::Altered)]);
    let swapped = change(&|lines| lines.swap(2, 3));
    let order = |seq, after| Break::OutOfOrder { seq, after };
    let missing = |number| Break::Missing {
        first: number,
        last: number,
    };
    assert_eq!(
        swapped,
        [(3, missing(3)), (4, order(3, 4)), (5, missing(4))]
    );
    let first = change(&|lines| drop(lines.remove(0)));
    assert_eq!(first, [(1, Break::FalseStart)]);
    let doubled = change(&|lines| lines.insert(3, lines[2].clone()));
    assert_eq!(doubled, [(4, Break::Doubled)]);
    let cut = change(&|lines| lines.truncate(4));
    assert_eq!(cut, [(0, Break::CutOff { last: 4, wanted: 6 })]);
    let torn = change(&|lines| drop(lines[5].split_off(20)));
    assert_eq!(torn[0], (6, Break::Torn));
    let junk = change(&|lines| lines[2] = b"nonsense\n".to_vec());
    assert_eq!(junk, [(3, Break::NotALine)]);
    let last = change(&|lines| {
        let text = String::from_utf8(lines[5].clone()).unwrap();
        lines[5] = text.replace("\"e\"", "\"f\"").into_bytes();
    });
    assert!(matches!(last[..], [(0, Break::NotNoted(_))]), "{last:?}");
    let all = change(&|lines| lines.clear());
    assert_eq!(all, [(0, Break::CutOff { last: 0, wanted: 6 })]);
}

#[test]
fn a_trail_that_was_written_anew_has_not_the_hash_that_was_noted() {
    let place = Folder::with(&["a", "b"]);
    let noted = place.head().unwrap().digest;
    assert_eq!(place.breaks_of(&["audit"], &[noted]), []);
    fs::remove_file(place.file("audit")).unwrap();
    fs::remove_file(place.file(HEAD)).unwrap();
    let (mut trail, _) = place.trail();
    trail.put(&[told("a"), told("c"), told("d")], at(1));
    assert_eq!(place.breaks(), []);
    let found = place.breaks_of(&["audit"], &[noted]);
    assert_eq!(found, [(0, Break::NotNoted(noted))]);
}

#[test]
fn a_cut_end_shows_also_after_the_daemon_has_gone_on() {
    let place = Folder::with(&["a", "b", "c"]);
    let mut lines = place.lines();
    lines.truncate(2);
    place.set_lines(&lines);
    let (mut trail, said) = place.trail();
    assert!(said[0].contains("2 lines at the end were gone"), "{said:?}");
    trail.put(&[told("d")], at(2));
    assert_eq!(place.breaks(), [(3, Break::Missing { first: 3, last: 4 })]);
    assert_eq!(place.faults(), [Fault::Missing(2)]);
}

#[test]
fn an_altered_last_line_shows_also_after_the_daemon_has_gone_on() {
    let place = Folder::with(&["a"]);
    let mut lines = place.lines();
    let text = String::from_utf8(lines.remove(1)).unwrap();
    lines.push(text.replace("\"a\"", "\"b\"").into_bytes());
    place.set_lines(&lines);
    drop(place.trail());
    assert_eq!(place.breaks(), [(3, Break::Altered)]);
    assert_eq!(place.faults(), [Fault::Missing(0)]);
}

#[test]
fn a_line_that_a_crash_has_torn_is_cut_off_and_told() {
    let place = Folder::with(&["a", "b"]);
    let whole = place.lines();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(place.file("audit"))
        .unwrap();
    file.write_all(b"{\"seq\":4,\"pre").unwrap();
    let (mut trail, said) = place.trail();
    assert!(
        said[0].contains("not written to its end (13 bytes)"),
        "{said:?}"
    );
    trail.put(&[told("c")], at(2));
    assert_eq!(place.breaks(), []);
    assert_eq!(place.faults(), [Fault::Torn("{\"seq\":4,\"pre".to_owned())]);
    assert_eq!(place.lines()[..3], whole[..]);
}

#[test]
fn a_kill_between_a_line_and_its_head_is_no_fault() {
    let place = Folder::with(&["a"]);
    let head = fs::read(place.file(HEAD)).unwrap();
    let (mut trail, _) = place.trail();
    trail.put(&[told("b")], at(2));
    drop(trail);
    fs::write(place.file(HEAD), head).unwrap();
    let (mut trail, said) = place.trail();
    assert_eq!(said, [""; 0]);
    trail.put(&[told("c")], at(3));
    assert_eq!((place.breaks(), place.faults()), (vec![], vec![]));
}

#[test]
fn without_a_head_the_trail_goes_on_and_says_so() {
    let place = Folder::with(&["a"]);
    fs::write(place.file(HEAD), "nonsense").unwrap();
    drop(place.trail());
    assert_eq!(
        (place.breaks(), place.faults()),
        (vec![], vec![Fault::NoHead])
    );
}

#[test]
fn a_rotation_goes_on_in_the_new_file_and_names_the_old_one() {
    let place = Folder::new();
    let (mut trail, _) = place.trail();
    trail.put(&[told("a")], at(1));
    assert_eq!(
        trail.reopen(&place.file("audit"), at(2)),
        [],
        "nothing was rotated"
    );
    let noted = place.head().unwrap().digest;
    fs::rename(place.file("audit"), place.file("audit.1")).unwrap();
    trail.put(&[told("b")], at(2));
    let said = texts(&trail.reopen(&place.file("audit"), at(3)));
    assert!(said[0].contains("line 4, hash"), "{said:?}");
    trail.put(&[told("c")], at(4));
    let first: Entry = serde_json::from_slice(&place.lines()[0]).unwrap();
    let after = Some(place.file("audit.1").display().to_string());
    assert_eq!(first.what, What::File(NewFile { version: 1, after }));
    assert_eq!(place.breaks_of(&["audit", "audit.1"], &[noted]), []);
    // What is compressed is the same.
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed
        .write_all(&fs::read(place.file("audit.1")).unwrap())
        .unwrap();
    fs::write(place.file("audit.1.gz"), packed.finish().unwrap()).unwrap();
    fs::remove_file(place.file("audit.1")).unwrap();
    for other in ["audit.bak", "audit.1.new", "auditor"] {
        fs::write(place.file(other), "").unwrap();
    }
    let found = rotated(&place.file("audit"));
    assert_eq!(found, ["audit", "audit.1.gz"].map(|name| place.file(name)));
    assert_eq!(place.breaks_of(&["audit", "audit.1.gz"], &[noted]), []);
    assert_eq!(place.breaks(), [], "a later file is whole in itself");
}

#[test]
fn a_file_that_was_rotated_while_no_daemon_ran_is_gone_on_from() {
    let place = Folder::with(&["a", "b"]);
    fs::rename(place.file("audit"), place.file("audit-20261127")).unwrap();
    let (mut trail, said) = place.trail();
    assert_eq!(said, [""; 0]);
    trail.put(&[told("c")], at(2));
    assert_eq!(place.breaks_of(&["audit-20261127", "audit"], &[]), []);
    assert_eq!(rotated(&place.file("audit")).len(), 2);
}

#[test]
fn a_file_that_is_cut_to_nothing_under_the_daemon_is_told() {
    let place = Folder::new();
    let (mut trail, _) = place.trail();
    trail.put(&[told("a")], at(1));
    fs::copy(place.file("audit"), place.file("audit.1")).unwrap();
    fs::write(place.file("audit"), "").unwrap();
    let said = texts(&trail.put(&[told("b")], at(2)));
    assert!(said[0].contains("must not use copytruncate"), "{said:?}");
    assert!(matches!(place.faults()[..], [Fault::Resized { is: 0, .. }]));
    assert_eq!(place.breaks_of(&["audit.1", "audit"], &[]), []);
}

#[test]
fn what_cannot_be_written_is_counted_and_said_once() {
    let place = Folder::new();
    let (mut trail, _) = place.trail();
    trail.put(&[told("a")], at(1));
    // Others could write to the new file: it is not used.
    fs::rename(place.file("audit"), place.file("audit.1")).unwrap();
    fs::create_dir(place.file("audit")).unwrap();
    let said = texts(&trail.reopen(&place.file("audit"), at(2)));
    assert!(
        said[0].contains("cannot be written: it is no regular file"),
        "{said:?}"
    );
    assert_eq!(trail.put(&[told("b")], at(3)), []);
    assert_eq!(trail.put(&[told("c"), told("d")], at(3)), []);
    assert_eq!(place.head().unwrap().lost, 3);
    drop(trail);
    fs::remove_dir(place.file("audit")).unwrap();
    let (mut trail, said) = place.trail();
    assert_eq!(said, [""; 0]);
    trail.put(&[told("e")], at(4));
    assert_eq!(place.faults(), [Fault::Lost(3)]);
    assert_eq!(place.breaks_of(&["audit", "audit.1"], &[]), []);
    assert_eq!(place.head().unwrap().lost, 0);
}

#[test]
fn what_of_a_configuration_is_new_is_named() {
    let (old, new) = (
        [("a", &1), ("b", &2), ("c", &3)],
        [("b", &2), ("c", &4), ("d", &5)],
    );
    let change = Change::between(&old, &new);
    assert_eq!(change.added, ["d"]);
    assert_eq!(change.removed, ["a"]);
    assert_eq!((change.changed, change.doors), (vec!["c".to_owned()], 3));
}
