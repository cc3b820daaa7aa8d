//! What was accepted, in the file `spa-marks`: each mark is on the disk before anything is done for
//! its request.
//!
//! Records of 32 bytes: a kind, three zeros, CRC-32 of the rest, and a [`Mark`]. What a crash has
//! left half written at the end is cut off; whatever else is not as it was written counts as lost,
//! and then nothing of before the start is accepted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_spa::window::MAX_KEYS;
use knock_spa::{KeyId, Mark, UnixMillis, Window};

/// The file's name, in `state_dir`.
pub const FILE: &str = "spa-marks";

const RECORD: usize = 8 + Mark::LENGTH;
const MARK: u8 = 1;
/// The floor for all keys, as the mark of no key.
const FLOOR: u8 = 2;

/// So many records more than there are keys, and it is written anew.
const SPARE: usize = 4_096;

/// The window, and its file.
#[derive(Debug)]
pub struct Marks {
    pub(crate) window: Window,
    path: PathBuf,
    file: File,
    records: usize,
    /// The floor that is on the disk.
    floor: UnixMillis,
    /// After a failure the file is written anew before anything is accepted.
    broken: bool,
}

impl Marks {
    /// The marks in `folder`, at the time `now`; whether some that were there could not be read.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(folder: &Path, tolerance: Duration, now: UnixMillis) -> io::Result<(Self, bool)> {
        let path = folder.join(FILE);
        let most = u64::try_from((MAX_KEYS + SPARE + 2) * RECORD * 2).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let is_there = match File::open(&path) {
            Ok(file) => file.take(most).read_to_end(&mut bytes).map(|_| true)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let read = read(&bytes);
        let lost = is_there && read.is_none();
        let window = match read {
            Some((floor, marks)) => Window::restore(tolerance, floor, marks),
            None => Window::new(tolerance, now),
        };
        let (file, records) = write(&path, &window)?;
        let marks = Self {
            floor: window.floor(),
            window,
            path,
            file,
            records,
            broken: false,
        };
        Ok((marks, lost))
    }

    /// Puts down what the window has accepted. When this returns, it is on the disk.
    ///
    /// # Errors
    /// If it is not: nothing may be done for the request.
    pub fn put(&mut self, mark: Mark) -> io::Result<()> {
        let full = self.records > self.window.len() + SPARE;
        if full || self.broken || self.window.floor() != self.floor {
            self.broken = true;
            (self.file, self.records) = write(&self.path, &self.window)?;
            self.floor = self.window.floor();
            self.broken = false;
            return Ok(());
        }
        let written = self.file.write_all(&record(MARK, mark));
        let written = written.and_then(|()| self.file.sync_data());
        self.records += 1;
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

fn record(kind: u8, mark: Mark) -> [u8; RECORD] {
    let mark = mark.to_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&mark);
    let head = [kind, 0, 0, 0].into_iter();
    let parts = head.chain(hasher.finalize().to_le_bytes()).chain(mark);
    let mut bytes = [0; RECORD];
    bytes
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = from);
    bytes
}

fn read(bytes: &[u8]) -> Option<(UnixMillis, Vec<Mark>)> {
    let (records, _half) = bytes.as_chunks::<RECORD>();
    let of = |bytes: &[u8; RECORD]| {
        let mark = Mark::from_bytes(bytes.last_chunk()?);
        let kind = *bytes.first()?;
        (record(kind, mark) == *bytes).then_some((kind, mark))
    };
    let (first, rest) = records.split_first()?;
    let (FLOOR, floor) = of(first)? else {
        return None;
    };
    let mut marks = Vec::new();
    for (n, bytes) in rest.iter().enumerate() {
        match of(bytes) {
            Some((MARK, mark)) => marks.push(mark),
            // Written, and not yet on the disk when the power went: nothing was done for it.
            None if n + 1 == rest.len() => {}
            _ => return None,
        }
    }
    Some((floor.last, marks))
}

/// Writes the file anew, durably and at once.
fn write(path: &Path, window: &Window) -> io::Result<(File, usize)> {
    let floor = Mark {
        key: KeyId([0; 16]),
        last: window.floor(),
    };
    let mut bytes = record(FLOOR, floor).to_vec();
    let mut records = 1;
    for mark in window.marks() {
        bytes.extend(record(MARK, mark));
        records += 1;
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn open(folder: &Path) -> (Marks, bool) {
        Marks::open(folder, Window::TOLERANCE, NOW).unwrap()
    }

    fn accept(marks: &mut Marks, time: u64) -> bool {
        let time = UnixMillis(NOW.0 + time);
        let mark = marks.window.accept(KeyId([1; 16]), time, NOW);
        mark.map(|mark| marks.put(mark).unwrap()).is_ok()
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
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let (mut marks, lost) = open(folder.path());
        assert!(!lost && !accept(&mut marks, 5) && accept(&mut marks, 6));
    }

    #[test]
    fn of_a_damaged_file_nothing_from_before_the_start_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), [7; 96]).unwrap();
        let (mut marks, lost) = open(folder.path());
        assert!(lost && !accept(&mut marks, 0) && accept(&mut marks, 1));
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (mut marks, _) = open(folder.path());
        marks.records = SPARE + 1;
        assert!(accept(&mut marks, 1) && accept(&mut marks, 2));
        assert_eq!(marks.records, 2);
        let length = fs::metadata(folder.path().join(FILE)).unwrap().len();
        assert_eq!(length, 2 * 32);
    }
}
