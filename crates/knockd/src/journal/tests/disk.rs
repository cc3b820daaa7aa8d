//! Real files.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("owed");
    (folder, path)
}

fn refused(path: &Path) -> JournalError {
    Journal::open(path, &NOW).unwrap_err()
}

#[test]
fn the_file_and_its_folder_are_made_and_are_for_nobody_else() {
    let (folder, _) = place();
    let path = folder.path().join("knockd/owed");
    drop(Journal::open(&path, &NOW).unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let deep = folder.path().join("not/there/owed");
    assert!(matches!(refused(&deep), JournalError::Io(_)));
    assert!(!folder.path().join("not").exists());
}

#[test]
fn what_is_owed_is_in_the_file_while_the_journal_still_lives() {
    let (_folder, path) = place();
    let (mut journal, _) = Journal::open(&path, &NOW).unwrap();
    journal.owe(&owed(0)).unwrap();
    journal.until(0, in_seconds(5)).unwrap();
    let store = Memory::of(&fs::read(&path).unwrap());
    let left = When::In(Duration::from_secs(5));
    assert_eq!(whens(&open(&store).1), [(0, left)]);
    drop(journal);
    let (_, opened) = Journal::open(&path, &NOW).unwrap();
    assert_eq!(whens(&opened), [(0, left)]);
}

#[test]
fn nobody_else_opens_it_also_after_it_was_rewritten() {
    let (folder, path) = place();
    let (mut journal, _) = Journal::open(&path, &NOW).unwrap();
    assert!(matches!(refused(&path), JournalError::InUse));
    // More than 200 KiB, if nothing were rewritten.
    for id in 0..2000 {
        journal.owe(&owed(id)).unwrap();
        journal.strike(id).unwrap();
    }
    assert_eq!(mode(&path), 0o600);
    assert!(fs::metadata(&path).unwrap().len() < 2 * Bounds::DEFAULT.slack);
    assert!(matches!(refused(&path), JournalError::InUse));
    drop(journal);
    assert_eq!(Journal::open(&path, &NOW).unwrap().0.next_id(), 2000);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_link_and_what_is_no_file_are_refused() {
    let (folder, path) = place();
    let target = folder.path().join("target");
    File::create(&target).unwrap();
    symlink(&target, &path).unwrap();
    assert!(matches!(refused(&path), JournalError::Link));
    assert_eq!(fs::metadata(&target).unwrap().len(), 0);
    assert!(matches!(refused(folder.path()), JournalError::NotAFile));
    assert!(matches!(refused(Path::new("/")), JournalError::NotAFile));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(refused(&pipe), JournalError::NotAFile));
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    let (_folder, path) = place();
    drop(Journal::open(&path, &NOW).unwrap());
    for bits in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let error = refused(&path);
        assert!(matches!(error, JournalError::Writable { mode } if mode == bits));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    Journal::open(&path, &NOW).unwrap();
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    // Only root can give files away; for others `store.rs` has a test of the rule itself.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (_folder, path) = place();
    drop(Journal::open(&path, &NOW).unwrap());
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    assert!(matches!(refused(&path), JournalError::Owner { uid: 1234 }));
}

#[test]
fn a_file_of_another_kind_or_of_a_later_version_stays_as_it_is() {
    let (folder, path) = place();
    fs::write(&path, "[options]\n\tlogfile = /var/log/knockd.log\n").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(refused(&path), JournalError::NotAJournal));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::remove_file(&path).unwrap();
    drop(Journal::open(&path, &NOW).unwrap());
    let mut later = fs::read(&path).unwrap();
    later[8] = 2;
    fs::write(&path, &later).unwrap();
    let error = refused(&path);
    assert!(matches!(error, JournalError::Future { version: 2 }));
    assert_eq!(
        error.to_string(),
        "it is of version 2, and this program knows version 1"
    );
    assert_eq!(fs::read(&path).unwrap(), later);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn damaged_files_are_kept_but_not_without_end() {
    let (folder, path) = place();
    for round in 1..=MAX_DAMAGED + 2 {
        drop(Journal::open(&path, &NOW).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(round.to_le_bytes().map(|byte| byte | 0x80));
        bytes.extend([0xff; 8]);
        fs::write(&path, &bytes).unwrap();
        let (_, opened) = Journal::open(&path, &NOW).unwrap();
        let [Note::Damaged { kept, .. }] = &opened.notes[..] else {
            panic!("{:?}", opened.notes);
        };
        let name = format!("owed.damaged-{round}");
        let expected = (round <= MAX_DAMAGED).then(|| folder.path().join(name));
        assert_eq!(kept, &expected);
        if let Some(kept) = kept {
            assert_eq!(fs::read(kept).unwrap(), bytes);
            assert_eq!(mode(kept), 0o600);
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 9);
}

#[test]
fn what_a_killed_rewrite_left_is_no_obstacle() {
    let (folder, path) = place();
    let outside = folder.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, folder.path().join("owed.new")).unwrap();
    let (mut journal, _) = Journal::open(&path, &NOW).unwrap();
    fs::write(folder.path().join("owed.new"), "half").unwrap();
    journal.rebase(&NOW).unwrap();
    assert!(!folder.path().join("owed.new").exists());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
}

#[test]
fn a_folder_that_is_moved_takes_its_journal_along() {
    let (folder, _) = place();
    let path = folder.path().join("a/owed");
    let (mut journal, _) = Journal::open(&path, &NOW).unwrap();
    fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
    journal.owe(&owed(0)).unwrap();
    journal.rebase(&NOW).unwrap();
    drop(journal);
    let (_, opened) = Journal::open(&folder.path().join("b/owed"), &NOW).unwrap();
    assert_eq!(opened.owed.len(), 1);
}
