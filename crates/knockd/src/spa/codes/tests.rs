use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use knock_spa::code::CodeHash;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const NOW: u64 = 1_800_000_000;
const BY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn door(name: &str) -> DoorName {
    DoorName::new(name).unwrap()
}

/// A folder with so many codes for each of two doors.
fn made(ssh: usize, web: usize) -> (TempDir, Vec<Code>) {
    let folder = tempfile::tempdir().unwrap();
    let mut book = Book::default();
    let mut codes = book.add(ssh, &door("ssh"), NOW).unwrap();
    codes.extend(book.add(web, &door("web"), NOW).unwrap());
    book.save(folder.path()).unwrap();
    (folder, codes)
}

fn open(folder: &TempDir) -> (Codes, Vec<String>) {
    let (codes, lines) = Codes::open(folder.path(), NOW).unwrap();
    let lines = lines.iter().map(|line| line.message(None)).collect();
    (codes, lines)
}

fn spend(codes: &mut Codes, code: &Code) -> Option<usize> {
    match codes.find(code) {
        Found::Good(entry) => Some(codes.spend(entry, BY, NOW).unwrap().left),
        Found::Spent(..) | Found::Unknown => None,
    }
}

#[test]
fn a_code_is_good_once_also_after_a_restart() {
    let (folder, all) = made(2, 1);
    let (mut codes, lines) = open(&folder);
    assert_eq!(lines, ["3 codes on paper are taken"]);
    assert_eq!(spend(&mut codes, &all[0]), Some(1));
    assert_eq!(spend(&mut codes, &all[0]), None);
    // As after `kill -9`: nothing is done at an end.
    std::mem::forget(codes);
    let (mut codes, lines) = open(&folder);
    assert_eq!(lines, ["2 codes on paper are taken"]);
    let Found::Spent(spent, ssh) = codes.find(&all[0]) else {
        panic!("not spent");
    };
    assert_eq!((spent.by, spent.at, ssh), (BY, NOW, door("ssh")));
    assert_eq!(spend(&mut codes, &all[2]), Some(0));
    assert_eq!(spend(&mut codes, &all[1]), Some(0));
    assert_eq!((codes.left(), open(&folder).1.len()), (0, 0));
}

#[test]
fn neither_file_has_a_code_in_it_and_only_their_owner_reads_them() {
    let (folder, all) = made(1, 0);
    let (mut codes, _) = open(&folder);
    spend(&mut codes, &all[0]);
    for file in [FILE, SPENT_FILE] {
        let path = folder.path().join(file);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        let secret = all[0].expose().as_slice();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
        assert!(!String::from_utf8_lossy(&bytes).contains(all[0].reveal().as_str()));
    }
}

#[test]
fn the_sieve_has_what_is_not_spent_and_is_there_as_long_as_there_are_codes() {
    let (folder, all) = made(2, 0);
    let (mut codes, _) = open(&folder);
    let lets = |codes: &Codes| {
        codes
            .sieve()
            .map(|sieve| all.iter().map(|c| sieve.may_be(c)).collect())
    };
    assert_eq!(lets(&codes), Some(vec![true, true]));
    spend(&mut codes, &all[0]);
    assert_eq!(lets(&codes), Some(vec![false, true]));
    spend(&mut codes, &all[1]);
    assert_eq!(lets(&codes), Some(vec![false, false]));
    Book::default().save(folder.path()).unwrap();
    assert_eq!(codes.follow().map(|lines| lines.len()), Some(1));
    assert_eq!(codes.sieve(), None);
    assert!(codes.follow().is_none(), "once");
}

#[test]
fn what_was_half_written_is_not_spent_and_what_comes_after_it_is() {
    let (folder, all) = made(3, 0);
    let (mut codes, _) = open(&folder);
    spend(&mut codes, &all[0]);
    spend(&mut codes, &all[1]);
    let path = folder.path().join(SPENT_FILE);
    let whole = fs::read(&path).unwrap();
    for length in 129..192 {
        fs::write(&path, &whole[..length]).unwrap();
        let (mut codes, _) = open(&folder);
        assert!(matches!(codes.find(&all[0]), Found::Spent(..)));
        assert!(matches!(codes.find(&all[1]), Found::Good(_)), "{length}");
        spend(&mut codes, &all[2]);
        assert!(matches!(open(&folder).0.find(&all[2]), Found::Spent(..)));
    }
}

#[test]
fn if_it_is_lost_what_is_spent_then_all_is() {
    for damage in [&b""[..], &[0; 64], &[7; 200]] {
        let (folder, all) = made(2, 0);
        let (mut codes, _) = open(&folder);
        spend(&mut codes, &all[0]);
        fs::write(folder.path().join(SPENT_FILE), damage).unwrap();
        let (codes, lines) = open(&folder);
        assert!(
            lines[0].contains("all that there are count as spent"),
            "{lines:?}"
        );
        assert_eq!(codes.left(), 0);
        drop(codes);
        assert_eq!(open(&folder).0.left(), 0, "also afterwards");
    }
    let (folder, all) = made(2, 0);
    let (mut codes, _) = open(&folder);
    spend(&mut codes, &all[0]);
    spend(&mut codes, &all[1]);
    let path = folder.path().join(SPENT_FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[80] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(open(&folder).0.left(), 0);
}

#[test]
fn a_write_that_fails_spends_nothing_and_can_be_tried_again() {
    let (folder, all) = made(2, 0);
    let (mut codes, _) = open(&folder);
    // Full at once, as a disk can be.
    codes.spent.set_file(
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let Found::Good(entry) = codes.find(&all[0]) else {
        panic!("not good");
    };
    assert!(codes.spend(entry, BY, NOW).is_err());
    assert!(matches!(codes.find(&all[0]), Found::Good(_)));
    assert_eq!(spend(&mut codes, &all[0]), Some(1));
    assert!(matches!(open(&folder).0.find(&all[0]), Found::Spent(..)));
}

#[test]
fn files_of_others_and_files_that_were_changed_let_nobody_in() {
    let (folder, all) = made(1, 0);
    let path = folder.path().join(FILE);
    let good = fs::read_to_string(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let (codes, lines) = open(&folder);
    assert!(lines[0].contains("mode 0640") && lines[0].ends_with("no code on paper is taken"));
    assert!(matches!(codes.find(&all[0]), Found::Unknown));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [
        String::new(),
        good.replace("salt", "pepper"),
        good.trim_end().to_owned(),
        good.replace(" ssh ", "  "),
        good.clone() + "code\n",
        good.clone() + "\n",
    ] {
        fs::write(&path, wrong).unwrap();
        let (codes, lines) = open(&folder);
        assert!(lines[0].contains("revoke all"), "{lines:?}");
        assert_eq!(codes.sieve(), None);
    }
    fs::write(&path, good).unwrap();
    assert_eq!(open(&folder).0.left(), 1);
}

#[test]
fn there_are_at_most_so_many() {
    let mut book = Book::default();
    assert!(book.add(CodeHash::MAX + 1, &door("ssh"), NOW).is_none());
    assert!(
        book.add(
            CodeHash::MAX,
            &door("a-name-of-exactly-32-characters-"),
            u64::MAX
        )
        .is_some()
    );
    assert!(book.add(1, &door("ssh"), NOW).is_none());
    let folder = tempfile::tempdir().unwrap();
    book.save(folder.path()).unwrap();
    assert_eq!(
        Book::load(folder.path()).unwrap(),
        Some(book),
        "the file has room"
    );
}

#[test]
fn two_cannot_change_the_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("new/folder");
    let lock = Lock::take(&inside).unwrap();
    assert!(matches!(Lock::take(&inside), Err(CodesError::Busy(_))));
    drop(lock);
    assert!(Lock::take(&inside).is_ok());
}

fn any_spent() -> impl Strategy<Value = Spent> {
    let by = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|by| IpAddr::from(by).to_canonical()),
    ];
    (any::<[u8; 32]>(), any::<u64>(), by).prop_map(|(hash, at, by)| Spent {
        hash: CodeHash(hash),
        at,
        by,
    })
}

proptest! {
    #[test]
    fn whatever_is_damaged_no_code_that_was_acted_on_comes_back(
        spent in prop::collection::vec(any_spent(), 0..9),
        at in any::<prop::sample::Index>(),
        damage in prop::option::of(1..=u8::MAX),
    ) {
        let mut bytes = render_spent(&spent);
        prop_assert_eq!(parse_spent(&bytes), Some(spent.clone()));
        let at = at.index(bytes.len());
        let whole = match damage {
            // What is cut off was not acted on, unless it was there whole.
            None => {
                bytes.truncate(at);
                (at / 64).saturating_sub(1)
            }
            // Of the last record it cannot be told whether it was ever whole.
            Some(damage) => {
                bytes[at] ^= damage;
                spent.len().saturating_sub(1)
            }
        };
        if let Some(read) = parse_spent(&bytes) {
            prop_assert!(read.len() >= whole && spent.starts_with(&read));
        }
    }
}
