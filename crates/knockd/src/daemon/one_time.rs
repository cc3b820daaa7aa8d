//! One-time sequences on the disk: which line is the current one, and striking it off.
//!
//! A line is struck off, and that is on the disk, before anything else happens for it. The file
//! may have been edited meanwhile: what is struck off is the line that was knocked, wherever it
//! stands now, and never another one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knock_core::door::{Door, DoorId, SequenceSource};
use knock_core::one_time::{self, OneTime};
use knock_core::sequence::Sequence;

use crate::config_file::{MAX_BYTES, reason};
use crate::log::{Level, Line};

/// Why a door's file cannot be used at the start.
#[derive(Debug)]
pub(super) struct Failure {
    door: String,
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Io(io::Error),
    /// No line is left.
    Empty,
}

/// Where a line is struck off that was used.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Striking {
    /// In the file.
    #[default]
    OnDisk,
    /// Nowhere: another daemon may do so.
    InMemory,
}

/// The one-time doors of a configuration, and their current sequences.
#[derive(Debug, Default)]
pub(super) struct OneTimeDoors {
    doors: BTreeMap<DoorId, File>,
    striking: Striking,
}

#[derive(Debug)]
struct File {
    name: String,
    /// The path as the configuration has it.
    written: String,
    path: PathBuf,
    current: Option<Sequence>,
}

impl OneTimeDoors {
    /// Reads the files of all one-time doors, which are in `folder` if their path is relative.
    /// The lines are about what was skipped in them.
    ///
    /// # Errors
    /// If a file cannot be read and written, or has no sequence left.
    pub(super) fn open(
        doors: &Arc<[Door]>,
        folder: &Path,
        striking: Striking,
    ) -> Result<(Self, Vec<Line>), Failure> {
        let (opened, lines) = Self::reopen(doors, folder, striking)?;
        match opened.doors.values().find(|file| file.current.is_none()) {
            Some(file) => Err(Failure {
                door: file.name.clone(),
                path: file.path.clone(),
                why: Why::Empty,
            }),
            None => Ok((opened, lines)),
        }
    }

    /// As [`OneTimeDoors::open`], but a file without a sequence only shuts its door: it may well
    /// be that the last line was used, and that must not stand in the way of a reload.
    pub(super) fn reopen(
        doors: &Arc<[Door]>,
        folder: &Path,
        striking: Striking,
    ) -> Result<(Self, Vec<Line>), Failure> {
        let mut opened = Self {
            striking,
            ..Self::default()
        };
        let mut lines = Vec::new();
        for (id, door) in (0..=u16::MAX).zip(doors.iter()) {
            let SequenceSource::OneTime(path) = &door.trigger.source else {
                continue;
            };
            let mut file = File {
                name: door.name.clone(),
                written: path.clone(),
                path: folder.join(path),
                current: None,
            };
            let read = open_file(&file.path, striking).and_then(|mut file| read_all(&mut file));
            let bytes = read.map_err(|error| Failure {
                door: file.name.clone(),
                path: file.path.clone(),
                why: Why::Io(error),
            })?;
            let read = one_time::parse(&bytes);
            lines.extend(complaints(&door.name, &file.path, &read));
            file.current = read.current.map(|line| line.sequence);
            if file.current.is_none() {
                lines.push(no_more(&file.name));
            }
            opened.doors.insert(DoorId(id), file);
        }
        Ok((opened, lines))
    }

    /// The current sequence of every one-time door.
    pub(super) fn sequences(&self) -> Vec<(DoorId, Option<Sequence>)> {
        let of = |(id, file): (&DoorId, &File)| (*id, file.current.clone());
        self.doors.iter().map(of).collect()
    }

    /// The current sequence of `door` was knocked: strikes it off, and gives the door's next one
    /// and what the log is to say. `None` if no such door is there (any more).
    pub(super) fn spend(&mut self, door: &Door) -> Option<Spent> {
        let SequenceSource::OneTime(path) = &door.trigger.source else {
            return None;
        };
        let is_it = |file: &File| file.name == door.name && file.written == *path;
        let (id, file) = self.doors.iter_mut().find(|(_, file)| is_it(file))?;
        let id = *id;
        let spent = file.current.take();
        let struck = spent.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let next = struck.and_then(|spent| match self.striking {
            Striking::OnDisk => strike(&file.path, &spent),
            Striking::InMemory => follow(&file.path, &spent),
        });
        Some(match next {
            Ok(next) => {
                let mut lines = Vec::new();
                if next.is_none() {
                    lines.push(no_more(&file.name));
                }
                file.current.clone_from(&next);
                Spent {
                    door: id,
                    is_struck: true,
                    next,
                    lines,
                }
            }
            Err(error) => {
                let text = format!(
                    "error while disabling used one time sequence for door {} \
                     --> disabling the door",
                    file.name
                );
                let why = format!("{}: {}", file.path.display(), reason(&error));
                Spent {
                    door: id,
                    is_struck: false,
                    next: None,
                    lines: vec![
                        Line::new(Level::Error, "one-time", text),
                        Line::new(Level::Error, "one-time", why),
                    ],
                }
            }
        })
    }
}

/// What came of a one-time opening.
#[derive(Debug)]
pub(super) struct Spent {
    /// The door's number now.
    pub(super) door: DoorId,
    /// Whether the line is struck off.
    pub(super) is_struck: bool,
    /// What the door wants next; `None` shuts it.
    pub(super) next: Option<Sequence>,
    pub(super) lines: Vec<Line>,
}

/// Strikes off the first line that is not spent and has the sequence `spent`, durably, and gives
/// the first sequence after that.
fn strike(path: &Path, spent: &Sequence) -> io::Result<Option<Sequence>> {
    let mut file = open_file(path, Striking::OnDisk)?;
    let bytes = read_all(&mut file)?;
    let (offset, _) = find(&bytes, spent).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "the line that was used is no longer there",
        )
    })?;
    file.write_all_at(b"#", u64::try_from(offset).map_err(io::Error::other)?)?;
    file.sync_data()?;
    let bytes = read_all(&mut file)?;
    Ok(one_time::parse(&bytes).current.map(|line| line.sequence))
}

/// The first sequence after the line that has the sequence `spent`; if there is none such, another
/// daemon has struck it off, and the first one is in force.
fn follow(path: &Path, spent: &Sequence) -> io::Result<Option<Sequence>> {
    let bytes = read_all(&mut open_file(path, Striking::InMemory)?)?;
    let rest = find(&bytes, spent).map(|(_, rest)| rest);
    let read = one_time::parse(&rest.unwrap_or(bytes));
    Ok(read.current.map(|line| line.sequence))
}

fn open_file(path: &Path, striking: Striking) -> io::Result<fs::File> {
    let write = striking == Striking::OnDisk;
    OpenOptions::new().read(true).write(write).open(path)
}

/// The whole file, of which there is a bound.
fn read_all(file: &mut fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_BYTES => Ok(bytes),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

fn no_more(door: &str) -> Line {
    let text = format!(
        "no more sequences left in the one time sequences file for door {door} \
         --> disabling the door"
    );
    Line::new(Level::Warning, "one-time", text)
}

/// Where the first usable line with this sequence begins, and the bytes with all up to it struck off.
/// Lines before it may have been added since; they stay.
fn find(bytes: &[u8], spent: &Sequence) -> Option<(usize, Vec<u8>)> {
    let mut rest = bytes.to_vec();
    loop {
        let line = one_time::parse(&rest).current?;
        *rest.get_mut(line.offset)? = b'#';
        if line.sequence == *spent {
            return Some((line.offset, rest));
        }
    }
}

fn complaints(door: &str, path: &Path, read: &OneTime) -> Vec<Line> {
    let complain = |bad: &one_time::BadLine| {
        let text = format!(
            "{}:{}: {}; the line is skipped (door {door})",
            path.display(),
            bad.number,
            bad.problem
        );
        Line::new(Level::Warning, "one-time", text)
    };
    read.bad.iter().map(complain).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { door, path, why } = self;
        write!(f, "door {door}: {}: ", path.display())?;
        match why {
            Why::Io(error) => f.write_str(&reason(error)),
            Why::Empty => f.write_str("no one-time sequence is left in the file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config;

    fn doors(path: &Path) -> Arc<[Door]> {
        let path = path.display();
        let text = format!("[A]\none_time_sequences = {path}\ntcpflags = syn\ncommand = x\n");
        let parsed = config::parse(text.as_bytes(), &|_, _| None);
        parsed.config.expect("a configuration").doors.into()
    }

    fn open(doors: &Arc<[Door]>) -> Result<(OneTimeDoors, Vec<Line>), Failure> {
        OneTimeDoors::open(doors, Path::new("/nonexistent"), Striking::OnDisk)
    }

    fn text(sequence: &Option<Sequence>) -> Option<String> {
        sequence.as_ref().map(ToString::to_string)
    }

    #[test]
    fn each_line_is_struck_off_in_its_turn_and_the_last_shuts_the_door() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, " 7000,8000\n# a comment\n7100,8100:udp\n").unwrap();
        let doors = doors(&path);
        let (mut opened, lines) = open(&doors).unwrap();
        assert!(lines.is_empty());
        let current = opened.sequences();
        assert_eq!(text(&current[0].1).as_deref(), Some("7000,8000"));
        let spent = opened.spend(&doors[0]).unwrap();
        assert_eq!(text(&spent.next).as_deref(), Some("7100,8100:udp"));
        let spent = opened.spend(&doors[0]).unwrap();
        assert_eq!((spent.is_struck, spent.next), (true, None));
        assert!(
            spent.lines[0]
                .message(None)
                .starts_with("no more sequences left")
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "#7000,8000\n# a comment\n#100,8100:udp\n");
        let shut = opened.spend(&doors[0]).unwrap();
        assert!(!shut.is_struck);
    }

    #[test]
    fn a_bad_line_is_reported_and_never_struck_off_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "nonsense\n7000,8000\n7100\n").unwrap();
        let doors = doors(&path);
        let (mut opened, lines) = open(&doors).unwrap();
        assert!(lines[0].message(None).contains("lines:1: "));
        assert!(opened.spend(&doors[0]).unwrap().is_struck);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "nonsense\n#000,8000\n7100\n");
    }

    #[test]
    fn lines_that_were_added_meanwhile_are_not_spent_instead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "7000,8000\n").unwrap();
        let doors = doors(&path);
        let (mut opened, _) = open(&doors).unwrap();
        fs::write(&path, "7100,8100\n7000,8000\n").unwrap();
        let spent = opened.spend(&doors[0]).unwrap();
        assert_eq!(text(&spent.next).as_deref(), Some("7100,8100"));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "7100,8100\n#000,8000\n");
    }

    #[test]
    fn a_line_that_cannot_be_struck_off_shuts_the_door() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "7000,8000\n7100\n").unwrap();
        let doors = doors(&path);
        let (mut opened, _) = open(&doors).unwrap();
        fs::remove_file(&path).unwrap();
        let spent = opened.spend(&doors[0]).unwrap();
        assert_eq!((spent.is_struck, spent.next), (false, None));
        assert!(
            spent.lines[0]
                .message(None)
                .starts_with("error while disabling")
        );
    }

    #[test]
    fn a_file_without_a_sequence_keeps_the_daemon_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        assert!(open(&doors(&path)).is_err());
        fs::write(&path, "# all spent\n#7000\n").unwrap();
        let failure = open(&doors(&path)).unwrap_err().to_string();
        assert!(
            failure.ends_with("no one-time sequence is left in the file"),
            "{failure}"
        );
    }

    #[test]
    fn at_a_reload_a_file_without_a_sequence_only_shuts_its_door() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "#7000\n").unwrap();
        let (opened, lines) =
            OneTimeDoors::reopen(&doors(&path), folder.path(), Striking::OnDisk).unwrap();
        assert_eq!(opened.sequences(), [(DoorId(0), None)]);
        assert!(lines[0].message(None).starts_with("no more sequences left"));
    }

    #[test]
    fn a_relative_path_begins_in_the_folder_that_is_given() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lines"), "7000\n7100\n").unwrap();
        let doors = doors(Path::new("lines"));
        let (mut opened, _) = OneTimeDoors::open(&doors, folder.path(), Striking::OnDisk).unwrap();
        assert!(opened.spend(&doors[0]).unwrap().is_struck);
        let text = fs::read_to_string(folder.path().join("lines")).unwrap();
        assert_eq!(text, "#000\n7100\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_keeps_the_daemon_from_starting() {
        // The kernel lets nobody write to a program that runs.
        let program = std::env::current_exe().unwrap();
        let failure = open(&doors(&program)).unwrap_err().to_string();
        assert!(failure.ends_with(": Text file busy"), "{failure}");
    }

    #[test]
    fn a_shadow_goes_through_the_lines_and_strikes_none_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let lines = "7000\n7100\n7200\n7300\n";
        fs::write(&path, lines).unwrap();
        let doors = doors(&path);
        let (mut opened, _) =
            OneTimeDoors::open(&doors, folder.path(), Striking::InMemory).unwrap();
        for next in ["7100", "7200"] {
            let spent = opened.spend(&doors[0]).unwrap();
            assert_eq!(text(&spent.next).as_deref(), Some(next));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        // The other daemon has struck off the line that was knocked.
        fs::write(&path, "#000\n#100\n#200\n7300\n").unwrap();
        let spent = opened.spend(&doors[0]).unwrap();
        assert_eq!(text(&spent.next).as_deref(), Some("7300"));
        assert_eq!(opened.spend(&doors[0]).unwrap().next, None);
    }
}
