//! Whose signatures count: the files that `authorized_keys` of the doors names, all in one ring,
//! each line with the doors that it opens.
//!
//! They are looked at anew before a knock is verified, if one of them has changed: to add or to
//! remove a person is to add or to remove a line. So is the list of what is revoked; as long as it
//! cannot be read, nobody's signature counts, as with sshd (`RevokedKeys` of sshd_config(5)).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use knock_core::door::Door;
use knock_core::spa::{KeySource, matches};
use knock_spa::keys::{Civil, read};
use knock_spa::{DoorName, KeyId, KeyRing, Revoked};
use nix::unistd::{User, geteuid};

use super::base64::fingerprint;
use crate::config_file::reason;
use crate::log::{Level, Line};

/// The most files in all.
const MAX_FILES: usize = 4_096;

/// The most bytes of a file.
const MAX_BYTES: u64 = 16 << 20;

/// The most mistakes of a file that are told.
const MAX_TOLD: usize = 8;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct People {
    wanted: Vec<(KeySource, Vec<DoorName>)>,
    revoked: Option<PathBuf>,
    /// What was read, and how it looked then.
    seen: BTreeMap<PathBuf, Option<Look>>,
    revoked_seen: Option<Look>,
    pub(crate) ring: KeyRing,
    names: BTreeMap<KeyId, String>,
}

/// What tells that a file has changed: device, inode, size, modification, status change, mode,
/// owner.
pub(super) type Look = (u64, u64, u64, (i64, i64), (i64, i64), u32, u32);

impl People {
    /// Those of these doors, without those in the list of what is revoked, if there is one. What is
    /// worth saying.
    pub(crate) fn new(doors: &[Door], revoked: Option<&Path>) -> (Self, Vec<Line>) {
        let mut wanted: Vec<(KeySource, Vec<DoorName>)> = Vec::new();
        for door in doors {
            let (Some(spa), Ok(name)) = (&door.spa, DoorName::new(&door.name)) else {
                continue;
            };
            for source in &spa.keys {
                match wanted.iter_mut().find(|(known, _)| known == source) {
                    Some((_, names)) => names.push(name.clone()),
                    None => wanted.push((source.clone(), vec![name.clone()])),
                }
            }
        }
        let mut people = Self {
            wanted,
            revoked: revoked.map(Path::to_owned),
            ..Self::default()
        };
        let lines = people.load();
        (people, lines)
    }

    /// Reads the files anew, if any has changed. What is worth saying if so.
    pub(crate) fn follow(&mut self) -> Option<Vec<Line>> {
        let now = self.looks();
        let same = now
            .iter()
            .map(|(path, _, _, look)| (path, look))
            .eq(&self.seen);
        if same && self.revoked_look() == self.revoked_seen {
            return None;
        }
        Some(self.load())
    }

    /// How a key is called in the log: its fingerprint, and the comment of its line.
    pub(crate) fn name(&self, key: KeyId) -> String {
        let known = self.names.get(&key).cloned();
        known.unwrap_or_else(|| format!("key {key}"))
    }

    fn looks(&self) -> Vec<(PathBuf, Vec<DoorName>, u32, Option<Look>)> {
        let mut all: BTreeMap<PathBuf, (Vec<DoorName>, u32)> = BTreeMap::new();
        for (source, doors) in &self.wanted {
            let (owner, paths) = paths_of(source);
            for path in paths {
                if all.len() < MAX_FILES || all.contains_key(&path) {
                    let (names, _) = all.entry(path).or_insert((Vec::new(), owner));
                    names.extend(doors.iter().cloned());
                }
            }
        }
        let look = |(path, (names, owner)): (PathBuf, (Vec<DoorName>, u32))| {
            let look = look(&path);
            (path, names, owner, look)
        };
        all.into_iter().map(look).collect()
    }

    fn revoked_look(&self) -> Option<Look> {
        self.revoked.as_deref().and_then(look)
    }

    /// What is revoked; `None` if that is not known.
    fn read_revoked(&self, lines: &mut Vec<Line>) -> Option<Revoked> {
        let Some(path) = &self.revoked else {
            return Some(Revoked::default());
        };
        let shown = path.display();
        let why = match read_file(path, geteuid().as_raw()) {
            Ok(bytes) => match Revoked::read(&bytes) {
                Ok(revoked) => return Some(revoked),
                Err(mistakes) => {
                    for mistake in mistakes.iter().take(MAX_TOLD) {
                        let text = format!("{shown}:{mistake}");
                        lines.push(Line::new(Level::Error, "keys", text));
                    }
                    "what is revoked is not certain".to_owned()
                }
            },
            Err(why) => why,
        };
        let text = format!("{shown}: {why}: no sealed packet is taken until that is mended");
        lines.push(Line::new(Level::Error, "keys", text));
        None
    }

    fn load(&mut self) -> Vec<Line> {
        let (mut lines, mut keys) = (Vec::new(), Vec::new());
        let looks = self.looks();
        // Before it is read: what changes meanwhile is seen the next time.
        self.revoked_seen = self.revoked_look();
        let revoked = self.read_revoked(&mut lines);
        self.names.clear();
        for (file, (path, doors, owner, _)) in (0_u16..).zip(&looks) {
            let bytes = match read_file(path, *owner) {
                Ok(bytes) => bytes,
                Err(why) => {
                    let text = format!("{}: {why}: nobody in it can knock", path.display());
                    lines.push(Line::new(Level::Warning, "keys", text));
                    continue;
                }
            };
            let read = read(&bytes, file, &local_time);
            for mistake in read.mistakes.iter().take(MAX_TOLD) {
                let text = format!("{}:{mistake}", path.display());
                lines.push(Line::new(Level::Warning, "keys", text));
            }
            for mut key in read.keys {
                let theirs = key.options.doors.take();
                let gives = |door: &DoorName| theirs.as_ref().is_none_or(|all| all.contains(door));
                let given = doors.iter().filter(|door| gives(door)).cloned();
                key.options.doors = Some(given.collect());
                let mut name = fingerprint(&key.key.sha256());
                if !key.comment.is_empty() {
                    name = format!("{name} ({})", key.comment);
                }
                self.names.entry(key.key.id()).or_insert(name);
                keys.push(key);
            }
        }
        self.seen = looks
            .into_iter()
            .map(|(path, _, _, look)| (path, look))
            .collect();
        self.ring = revoked.map_or_else(KeyRing::default, |list| KeyRing::new(keys, list));
        lines
    }
}

/// How a file looks; `None` if it is not there, or not for us.
pub(super) fn look(path: &Path) -> Option<Look> {
    fs::metadata(path).ok().map(|metadata| look_of(&metadata))
}

fn look_of(metadata: &Metadata) -> Look {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
        metadata.mode(),
        metadata.uid(),
    )
}

/// The files that a source stands for, and whose they may be besides root's.
fn paths_of(source: &KeySource) -> (u32, Vec<PathBuf>) {
    let (owner, home) = match source.account() {
        None => (geteuid().as_raw(), PathBuf::from("/")),
        Some(name) => match User::from_name(name) {
            Ok(Some(user)) => (user.uid.as_raw(), user.dir),
            _ => return (0, Vec::new()),
        },
    };
    let mut paths = vec![home];
    for name in source.names() {
        if name.contains(['*', '?']) {
            let in_folder = |folder: &PathBuf| {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                let fits = entries.filter(|entry| {
                    let there = entry.file_name();
                    there.to_str().is_some_and(|there| matches(name, there))
                });
                fits.map(|entry| entry.path()).take(MAX_FILES).collect()
            };
            paths = paths.iter().flat_map::<Vec<_>, _>(in_folder).collect();
            paths.sort();
            paths.truncate(MAX_FILES);
        } else {
            paths.iter_mut().for_each(|path| path.push(name));
        }
    }
    (owner, paths)
}

/// A file that nobody but root, ourselves and `owner` can change, as sshd asks (`StrictModes`).
pub(crate) fn read_file(path: &Path, owner: u32) -> Result<Vec<u8>, String> {
    let real = fs::canonicalize(path).map_err(|error| reason(&error))?;
    let file = File::open(&real).map_err(|error| reason(&error))?;
    let metadata = file.metadata().map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err("no file".into());
    }
    check(&real, &metadata, owner)?;
    for folder in real.ancestors().skip(1) {
        let metadata = fs::metadata(folder).map_err(|error| reason(&error))?;
        check(folder, &metadata, owner)?;
    }
    // Half of a list is another list.
    if metadata.size() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    Ok(bytes)
}

fn check(path: &Path, metadata: &Metadata, owner: u32) -> Result<(), String> {
    let (mode, uid) = (metadata.mode() & 0o7777, metadata.uid());
    let ours = [0, owner, geteuid().as_raw()].contains(&uid);
    // In a folder with this bit, as /tmp, others cannot replace what is not theirs.
    let sticky = metadata.is_dir() && mode & 0o1000 != 0;
    if !ours && !sticky {
        return Err(format!("{} belongs to user {uid}", path.display()));
    }
    if mode & 0o022 != 0 && !sticky {
        let shown = path.display();
        return Err(format!("others can change {shown} (mode {mode:04o})"));
    }
    Ok(())
}

/// A time of this machine's zone.
fn local_time(civil: Civil) -> Option<u64> {
    let small = |number: u8| i8::try_from(number).ok();
    let time = jiff::civil::DateTime::new(
        i16::try_from(civil.year).ok()?,
        small(civil.month)?,
        small(civil.day)?,
        small(civil.hour)?,
        small(civil.minute)?,
        small(civil.second)?,
        0,
    );
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    u64::try_from(zoned.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests;
