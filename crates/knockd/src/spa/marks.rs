//! What was accepted, in the file `spa-marks`: each mark is on the disk before anything is done for
//! its request.
//!
//! Records of 32 bytes: a kind, its place among those that were written with it, two zeros, CRC-32
//! of the rest, and a [`Mark`]. Room for more is written beforehand, as zeros: a disk that has only
//! to replace bytes is done sooner than one that has to make a file longer. Marks of requests that
//! came together are written together, and waited for once. Whatever a crash has left of the last
//! ones that were written counts as far as it is there; whatever else is not as it was written
//! counts as lost, and then nothing of before the start is accepted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_spa::window::MAX_KEYS;
use knock_spa::{KeyId, Mark, UnixMillis, Window};
use rustix::process::geteuid;

use super::replace::replace_in;

/// The file's name, in `state_dir`.
pub const FILE: &str = "spa-marks";

const RECORD: usize = 8 + Mark::LENGTH;
const MARK: u8 = 1;
/// The floor for all keys, as the mark of no key.
const FLOOR: u8 = 2;

/// Room for so many records more than there are keys; when it is used up, the file is written anew.
const SPARE: usize = 4_096;

/// The most marks that are written together.
pub const AT_ONCE: usize = 32;

/// The window, and its file.
#[derive(Debug)]
pub struct Marks {
    pub(crate) window: Window,
    folder: PathBuf,
    /// `None` if nothing is to be written.
    file: Option<File>,
    records: usize,
    /// For so many records there is room in the file.
    room: usize,
    /// The floor that is on the disk.
    floor: UnixMillis,
    /// After a failure the file is written anew before anything is accepted.
    broken: bool,
}

impl Marks {
    /// The marks in `folder`, at the time `now`; whether some that were there could not be read.
    ///
    /// # Errors
    /// If the file cannot be read or written, or others can write it.
    pub fn open(folder: &Path, tolerance: Duration, now: UnixMillis) -> io::Result<(Self, bool)> {
        let (window, lost) = restore(folder, tolerance, now)?;
        let (file, records) = write(folder, &window)?;
        let marks = Self {
            floor: window.floor(),
            window,
            folder: folder.to_path_buf(),
            file: Some(file),
            records,
            room: records + SPARE,
            broken: false,
        };
        Ok((marks, lost))
    }

    /// The same, but nothing is ever written: what is accepted is remembered by this alone.
    ///
    /// # Errors
    /// If the file cannot be read, or others can write it.
    pub fn look(folder: &Path, tolerance: Duration, now: UnixMillis) -> io::Result<(Self, bool)> {
        let (window, lost) = restore(folder, tolerance, now)?;
        let marks = Self {
            floor: window.floor(),
            window,
            folder: folder.to_path_buf(),
            file: None,
            records: 0,
            room: 0,
            broken: false,
        };
        Ok((marks, lost))
    }

    /// Puts down what the window has accepted. When this returns, all of it is on the disk.
    ///
    /// # Errors
    /// If it is not: nothing may be done for the requests.
    pub fn put(&mut self, marks: &[Mark]) -> io::Result<()> {
        for together in marks.chunks(AT_ONCE) {
            self.put_together(together)?;
        }
        Ok(())
    }

    fn put_together(&mut self, marks: &[Mark]) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let end = self.records + marks.len();
        if end > self.room || self.broken || self.window.floor() != self.floor {
            self.broken = true;
            let (file, records) = write(&self.folder, &self.window)?;
            (self.file, self.records) = (Some(file), records);
            self.room = self.records + SPARE;
            self.floor = self.window.floor();
            self.broken = false;
            return Ok(());
        }
        let records = (0_u8..).zip(marks);
        let bytes: Vec<u8> = records
            .flat_map(|(place, mark)| record(MARK, place, *mark))
            .collect();
        let at = u64::try_from(self.records * RECORD).unwrap_or(u64::MAX);
        let written = file.write_all_at(&bytes, at);
        let written = written.and_then(|()| file.sync_data());
        self.records = end;
        self.broken = written.is_err();
        written
    }

    /// Another tolerance, from now on.
    pub fn set_tolerance(&mut self, tolerance: Duration) {
        if tolerance != self.window.tolerance() {
            let marks: Vec<_> = self.window.marks().collect();
            self.window = Window::restore(tolerance, self.window.floor(), marks);
        }
    }
}

/// What was accepted before, in `folder`; whether some that was there could not be read.
fn restore(folder: &Path, tolerance: Duration, now: UnixMillis) -> io::Result<(Window, bool)> {
    let path = folder.join(FILE);
    let most = u64::try_from((MAX_KEYS + SPARE + 2) * RECORD * 2).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let is_there = match fs::symlink_metadata(&path) {
        Ok(metadata) => {
            trust(metadata.is_file(), metadata.uid(), metadata.mode())?;
            File::open(&path)?.take(most).read_to_end(&mut bytes)?;
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let read = read(&bytes);
    let lost = is_there && read.is_none();
    let window = match read {
        Some((floor, marks)) => Window::restore(tolerance, floor, marks),
        None => Window::new(tolerance, now),
    };
    Ok((window, lost))
}

/// Whoever could write to the file could have a request accepted again.
fn trust(is_file: bool, owner: u32, mode: u32) -> io::Result<()> {
    let (me, mode) = (geteuid().as_raw(), mode & 0o7777);
    if !is_file {
        Err(io::Error::other("it is no regular file"))
    } else if owner != me {
        let text = format!("it belongs to user {owner}, not to {me} as whom this runs");
        Err(io::Error::other(text))
    } else if mode & 0o022 != 0 {
        let text = format!("others can write to it (mode {mode:04o}): chmod 600");
        Err(io::Error::other(text))
    } else {
        Ok(())
    }
}

fn record(kind: u8, place: u8, mark: Mark) -> [u8; RECORD] {
    let mark = mark.to_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind, place]);
    hasher.update(&mark);
    let head = [kind, place, 0, 0].into_iter();
    let parts = head.chain(hasher.finalize().to_le_bytes()).chain(mark);
    let mut bytes = [0; RECORD];
    bytes
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = from);
    bytes
}

/// Kind, place and mark of a record that is as it was written.
fn parse(bytes: &[u8; RECORD]) -> Option<(u8, u8, Mark)> {
    let [kind, place, ..] = *bytes;
    let mark = Mark::from_bytes(bytes.last_chunk()?);
    (record(kind, place, mark) == *bytes).then_some((kind, place, mark))
}

/// The floor and the marks of a file; `None` if it was damaged.
fn read(bytes: &[u8]) -> Option<(UnixMillis, Vec<Mark>)> {
    let (records, _half) = bytes.as_chunks::<RECORD>();
    let (first, rest) = records.split_first()?;
    let (FLOOR, _, floor) = parse(first)? else {
        return None;
    };
    let mut marks = Vec::new();
    let mut gap: Option<usize> = None;
    for (n, bytes) in rest.iter().enumerate() {
        match (parse(bytes), gap) {
            (Some((MARK, place, mark)), gap) => {
                // Written together with what is missing, and not yet on the disk as a whole when the
                // power went: nothing was done for it. What was written later says that the disk had
                // it, and has lost it.
                let begun = n.checked_sub(place.into())?;
                if gap.is_some_and(|gap| gap < begun) {
                    return None;
                }
                marks.push(mark);
            }
            (Some(_), _) => return None,
            (None, None) => gap = Some(n),
            (None, Some(gap)) => {
                let is_used = bytes.iter().any(|byte| *byte != 0);
                if is_used && n >= gap.saturating_add(AT_ONCE) {
                    return None;
                }
            }
        }
    }
    Some((floor.last, marks))
}

/// Writes the file anew, durably and at once, with room for more. How many records there are.
fn write(folder: &Path, window: &Window) -> io::Result<(File, usize)> {
    let floor = Mark {
        key: KeyId([0; 16]),
        last: window.floor(),
    };
    let mut bytes = record(FLOOR, 0, floor).to_vec();
    let mut records = 1;
    for mark in window.marks() {
        bytes.extend(record(MARK, 0, mark));
        records += 1;
    }
    bytes.resize((records + SPARE) * RECORD, 0);
    let file = replace_in(folder, FILE, &bytes)?;
    Ok((file, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn open(folder: &Path) -> (Marks, bool) {
        Marks::open(folder, Window::TOLERANCE, NOW).unwrap()
    }

    fn accept(marks: &mut Marks, time: u64) -> bool {
        accept_together(marks, &[time])
    }

    /// Whether all of these times were accepted; they are written together.
    fn accept_together(marks: &mut Marks, times: &[u64]) -> bool {
        let accept = |time: &u64| {
            let time = UnixMillis(NOW.0 + time);
            marks.window.accept(KeyId([1; 16]), time, NOW).ok()
        };
        let accepted: Vec<_> = times.iter().filter_map(accept).collect();
        marks.put(&accepted).unwrap();
        accepted.len() == times.len()
    }

    /// Changes the record with this number, that of the floor not counted.
    fn damage(folder: &Path, number: usize, change: impl Fn(&mut [u8])) {
        let path = folder.join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        change(bytes.chunks_mut(RECORD).nth(number + 1).unwrap());
        fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn what_was_accepted_is_not_accepted_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (mut marks, _) = open(folder.path());
        assert!(accept(&mut marks, 5));
        drop(marks);
        let (mut marks, lost) = open(folder.path());
        assert!(!lost && !accept(&mut marks, 5) && accept(&mut marks, 6));
    }

    #[test]
    fn a_record_that_was_half_written_does_not_spoil_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (mut marks, _) = open(folder.path());
        assert!(accept(&mut marks, 5) && accept(&mut marks, 9));
        damage(folder.path(), 1, |record| record[29..].fill(0));
        let (mut marks, lost) = open(folder.path());
        assert!(!lost && !accept(&mut marks, 5) && accept(&mut marks, 6));
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..RECORD + 3]).unwrap();
        let (_, lost) = open(folder.path());
        assert!(!lost, "an end in the middle of a record is none of one");
    }

    #[test]
    fn of_those_that_were_written_together_any_may_be_missing() {
        for missing in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let (mut marks, _) = open(folder.path());
            assert!(accept(&mut marks, 1) && accept_together(&mut marks, &[5, 6, 7]));
            damage(folder.path(), 1 + missing, |record| record.fill(0));
            let (mut marks, lost) = open(folder.path());
            assert!(!lost, "{missing}");
            let last = if missing == 2 { 6 } else { 7 };
            assert!(!accept(&mut marks, last) && accept(&mut marks, last + 1));
        }
    }

    #[test]
    fn what_is_missing_before_later_ones_was_lost() {
        let wreck: [fn(&mut [u8]); 2] = [|record| record.fill(0), |record| record[20] ^= 1];
        for change in wreck {
            for number in 0..3 {
                let folder = tempfile::tempdir().unwrap();
                let (mut marks, _) = open(folder.path());
                assert!(accept(&mut marks, 1) && accept_together(&mut marks, &[5, 6]));
                assert!(accept(&mut marks, 7));
                damage(folder.path(), number, change);
                assert!(open(folder.path()).1, "{number}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()));
        damage(folder.path(), AT_ONCE + 1, |record| record.fill(7));
        assert!(
            open(folder.path()).1,
            "nothing is written as far from the last"
        );
    }

    #[test]
    fn of_a_damaged_file_nothing_from_before_the_start_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, [7; 96]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let (mut marks, lost) = open(folder.path());
        assert!(lost && !accept(&mut marks, 0) && accept(&mut marks, 1));
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (mut marks, _) = open(folder.path());
        let length = || fs::metadata(folder.path().join(FILE)).unwrap().len();
        let with = |records: usize| u64::try_from((records + SPARE) * RECORD).unwrap();
        assert_eq!(length(), with(1));
        assert!(accept(&mut marks, 1) && accept_together(&mut marks, &[2, 3]));
        assert_eq!((marks.records, length()), (4, with(1)), "there was room");
        marks.records = marks.room - 1;
        assert!(accept_together(&mut marks, &[4, 5]));
        assert_eq!((marks.records, length()), (2, with(2)), "one key, one mark");
        drop(marks);
        let (mut marks, lost) = open(folder.path());
        assert!(!lost && !accept(&mut marks, 5) && accept(&mut marks, 6));
    }

    #[test]
    fn a_file_of_marks_that_others_could_have_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()));
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        let refused = |folder: &Path| Marks::open(folder, Window::TOLERANCE, NOW).unwrap_err();
        let text = refused(folder.path()).to_string();
        assert_eq!(text, "others can write to it (mode 0620): chmod 600");
        let elsewhere = folder.path().join("elsewhere");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(refused(folder.path()).to_string(), "it is no regular file");
        assert!(trust(true, geteuid().as_raw() + 1, 0o100_600).is_err());
    }

    fn key(number: usize) -> KeyId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        KeyId(id)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn whatever_a_crash_leaves_of_the_last_ones_all_before_them_count(
            batches in proptest::collection::vec(1_usize..=9, 1..12),
            on_the_disk: u16,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut marks, _) = open(folder.path());
            let time = UnixMillis(NOW.0 + 1);
            let (mut all, mut durable) = (0, 0);
            for count in batches {
                durable = all;
                all += count;
                let accept = |n| marks.window.accept(key(n), time, NOW).unwrap();
                let batch: Vec<_> = (durable..all).map(accept).collect();
                marks.put(&batch).unwrap();
            }
            drop(marks);
            let is_there = |n: usize| n < durable || on_the_disk >> (n - durable) & 1 == 1;
            for n in (0..all).filter(|n| !is_there(*n)) {
                damage(folder.path(), n, |record| record.fill(0));
            }
            let (marks, lost) = open(folder.path());
            prop_assert!(!lost);
            for n in 0..all {
                prop_assert_eq!(marks.window.check(key(n), time, NOW).is_err(), is_there(n));
            }
        }
    }
}
