//! The number and the hash of the last line, kept apart from the trail, so that a cut end shows.
//!
//! One line of text, written over the one before in one write: `1`, the number, the hash, how many
//! lines were lost since, and the trail's path.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::entry::Digest;

/// The file's name, in `state_dir`.
pub const HEAD: &str = "audit-head";

/// More than the longest path takes.
const MOST: u64 = 8192;

/// Where a trail ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub digest: Digest,
    /// How many lines could not be written since.
    pub lost: u64,
    /// Of which trail.
    pub path: String,
}

impl Head {
    /// That of a trail without a line.
    #[must_use]
    pub fn none(path: &Path) -> Self {
        Self {
            seq: 0,
            digest: Digest::NONE,
            lost: 0,
            path: path.display().to_string(),
        }
    }

    /// The one in `folder`. `None` if there is none; so it is with one that cannot be understood.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(folder: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(folder.join(HEAD)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::read(&file)
    }

    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(str::from_utf8(&bytes).ok().and_then(Self::parse))
    }

    fn parse(text: &str) -> Option<Self> {
        let (line, _) = text.split_once('\n')?;
        let mut parts = line.splitn(5, ' ');
        let version = parts.next()?;
        let head = Self {
            seq: parts.next()?.parse().ok()?,
            digest: parts.next()?.parse().ok()?,
            lost: parts.next()?.parse().ok()?,
            path: parts.next()?.to_owned(),
        };
        (version == "1").then_some(head)
    }

    /// As long for every number, so that what is written covers what was there.
    fn text(&self) -> String {
        let Self {
            seq,
            digest,
            lost,
            path,
        } = self;
        format!("1 {seq:020} {digest} {lost:020} {path}\n")
    }
}

/// The file of a head.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    /// The one in `folder`, made if it is missing, for us alone; and what it says.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Head>)> {
        crate::spa::make_folder(folder)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(folder.join(HEAD))?;
        // Two daemons must not write their heads over each other's.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("another process uses it")),
            locked => locked?,
        }
        let head = Head::read(&file)?;
        Ok((Self(file), head))
    }

    /// Writes `head`; a shorter path than before leaves nothing behind.
    pub(super) fn write(&self, head: &Head) -> io::Result<()> {
        let text = head.text();
        self.0.write_all_at(text.as_bytes(), 0)?;
        let length = u64::try_from(text.len()).unwrap_or(MOST);
        if self.0.metadata()?.len() > length {
            self.0.set_len(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_damage_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Head::load(folder.path()).unwrap(), None);
        let (file, none) = HeadFile::open(folder.path()).unwrap();
        assert_eq!(none, None);
        for (seq, lost, path) in [(u64::MAX, 0, "/a longer path"), (7, u64::MAX, "/x y")] {
            let head = Head {
                seq,
                digest: Digest::of(b"x"),
                lost,
                path: path.to_owned(),
            };
            file.write(&head).unwrap();
            assert_eq!(Head::load(folder.path()).unwrap(), Some(head));
        }
        let path = folder.path().join(HEAD);
        for damaged in ["", "1 7", "2 7 x 0 /\n", "1 7 00 0 /x\n", "\u{fffd}"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Head::load(folder.path()).unwrap(), None, "{damaged}");
        }
    }
}
