//! The pidfile: who runs, and a lock so that nobody else does.
//!
//! The original has no lock: a second instance starts, every command runs twice, and whichever
//! ends first removes the other's pidfile. Here the file is locked (`flock(2)`) as long as the
//! daemon lives, so a stale file after a crash is no obstacle and a live one always is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A pidfile that is ours; removed when dropped.
#[derive(Debug)]
pub(super) struct Pidfile {
    path: PathBuf,
    file: File,
}

/// Why there is no pidfile.
#[derive(Debug)]
pub(super) enum PidfileError {
    /// Another process holds the lock: the process id that the file names, if it does.
    Running(Option<u32>),
    /// The file cannot be written.
    Io(io::Error),
}

impl From<io::Error> for PidfileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Pidfile {
    /// Locks `path` and writes our process id and a newline to it.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be written.
    pub(super) fn create(path: &Path) -> Result<Self, PidfileError> {
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(PidfileError::Running(named_in(&mut file)));
                }
                Err(error) => return Err(io::Error::from(error).into()),
            }
            // The one who held it may have removed it between our open and our lock.
            if is_same(&file, path) {
                file.set_len(0)?;
                file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
                return Ok(Self {
                    path: path.to_owned(),
                    file,
                });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if is_same(&self.file, &self.path) {
            // Nobody is left to be told; a file that stays is harmless without its lock.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Whether `path` still leads to the open `file`.
fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The process id in `file`.
fn named_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_our_id_and_a_newline_and_goes_when_we_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        std::fs::write(&path, "999999 a longer stale text\n").unwrap();
        let pidfile = Pidfile::create(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, format!("{}\n", std::process::id()));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_one_is_refused_and_told_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let _first = Pidfile::create(&path).unwrap();
        match Pidfile::create(&path) {
            Err(PidfileError::Running(pid)) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        assert!(path.exists(), "the refusal left the first one's file alone");
    }

    #[test]
    fn somebody_elses_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let pidfile = Pidfile::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn where_nothing_can_be_written_the_error_says_why() {
        match Pidfile::create(Path::new("/nonexistent/pid")) {
            Err(PidfileError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            other => panic!("{other:?}"),
        }
    }
}
