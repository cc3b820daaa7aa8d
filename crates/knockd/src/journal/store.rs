//! The journal's file and what is done to it, one small operation each, so that a test can let
//! each of them fail, or be the last one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::JournalError;

/// Damaged files that are kept beside a journal; later ones are not.
pub const MAX_DAMAGED: u32 = 8;

/// How often the file may be replaced between our open and our lock.
const MAX_TRIES: u32 = 16;

/// Where a journal is kept. What was written is sure to stay only once it is synced.
pub trait Store {
    /// All bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] if they are more than `most`.
    fn read(&mut self, most: u64) -> io::Result<Vec<u8>>;

    /// Writes `bytes` at the end, which is at `end`. If it fails, some may have been written.
    ///
    /// # Errors
    /// Those of write(2).
    fn append(&mut self, end: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until all that was written is where a loss of power leaves it.
    ///
    /// # Errors
    /// Those of fdatasync(2); then anything may be written, or nothing.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts off what comes after `length` bytes.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Writes and syncs `bytes` as what is to stand in place of all, without any change to it.
    ///
    /// # Errors
    /// Those of open(2), write(2) and fdatasync(2).
    fn prepare(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts what was prepared in place of all, at once and durably.
    ///
    /// # Errors
    /// Those of rename(2) and fsync(2); then either may be there.
    fn commit(&mut self) -> io::Result<()>;

    /// Keeps a copy of the file as it is, beside it. `None` if there are enough of them.
    ///
    /// # Errors
    /// Those of link(2).
    fn set_aside(&mut self) -> io::Result<Option<PathBuf>>;
}

/// A file that is ours alone: locked (flock(2)), and taken only if nobody else can have written
/// to it.
#[derive(Debug)]
pub struct Disk {
    /// Names are looked up in here, so it does not matter where the process is, and whether
    /// somebody moves the folder.
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
    file: File,
    prepared: Option<File>,
}

impl Disk {
    /// Opens and locks the file `path`, and makes it, and the folder that it is in, if missing.
    ///
    /// # Errors
    /// One for each reason not to use it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (folder, name, file) = open_own(path)?;
        Ok(Self {
            folder,
            name,
            path: path.to_owned(),
            file,
            prepared: None,
        })
    }

    fn beside(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    fn write_new(&self, name: &OsString, bytes: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FLAGS;
        let mut file = File::from(rustix::fs::openat(&self.folder, name, flags, PRIVATE)?);
        // Before it has the journal's name, so that nobody can be first.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(file)
    }

    fn unlink(&self, name: &OsString) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens and locks the file `path`, for us alone, and makes it, and the folder that it is in, if
/// missing. The folder, the file's name in it, and the file.
pub(crate) fn open_own(path: &Path) -> Result<(OwnedFd, OsString, File), JournalError> {
    let folder = open_folder(path)?;
    let name = path.file_name().ok_or(JournalError::NotAFile)?.to_owned();
    for _ in 0..MAX_TRIES {
        let flags = OFlags::RDWR | OFlags::CREATE | FLAGS;
        let file = rustix::fs::openat(&folder, &name, flags, PRIVATE).map_err(refused)?;
        let file = File::from(file);
        check(&file)?;
        lock(&file)?;
        // The one who held it may have replaced it between our open and our lock.
        if is_same(&file, &folder, &name) {
            return Ok((folder, name, file));
        }
    }
    Err(JournalError::InUse)
}

/// No link is followed, and a device or a pipe that waits for somebody is not waited for.
const FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What a rewrite is prepared in.
const NEW: &str = ".new";

impl Store for Disk {
    fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        let mut limited = (&self.file).take(most.saturating_add(1));
        limited.read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= most => Ok(bytes),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn append(&mut self, end: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, end)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn prepare(&mut self, bytes: &[u8]) -> io::Result<()> {
        let name = self.beside(NEW);
        self.prepared = None;
        self.unlink(&name)?;
        match self.write_new(&name, bytes) {
            Ok(file) => {
                self.prepared = Some(file);
                Ok(())
            }
            Err(error) => {
                // It is taken away at the next try, if not now.
                drop(self.unlink(&name));
                Err(error)
            }
        }
    }

    fn commit(&mut self) -> io::Result<()> {
        let new = self.prepared.take().ok_or(io::ErrorKind::NotFound)?;
        rustix::fs::renameat(&self.folder, self.beside(NEW), &self.folder, &self.name)?;
        self.file = new;
        Ok(rustix::fs::fsync(&self.folder)?)
    }

    fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        for number in 1..=MAX_DAMAGED {
            let name = self.beside(&format!(".damaged-{number}"));
            let flags = AtFlags::empty();
            match rustix::fs::linkat(&self.folder, &self.name, &self.folder, &name, flags) {
                Ok(()) => return Ok(Some(self.path.with_file_name(name))),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// The folder that `path` is in; made if it is missing, but not what it is in.
fn open_folder(path: &Path) -> Result<OwnedFd, JournalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::empty())
    };
    match open() {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(refused),
    }
    match rustix::fs::mkdir(folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(refused(error)),
    }
    let opened = open().map_err(refused)?;
    if let Ok(above) = rustix::fs::openat(
        &opened,
        "..",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        rustix::fs::fsync(above).map_err(refused)?;
    }
    Ok(opened)
}

/// A regular file of ours, to which nobody else can write.
fn check(file: &File) -> Result<(), JournalError> {
    let metadata = file.metadata().map_err(JournalError::Io)?;
    if !metadata.is_file() {
        return Err(JournalError::NotAFile);
    }
    let me = rustix::process::geteuid().as_raw();
    trust(metadata.uid(), metadata.mode(), me)
}

fn trust(owner: u32, mode: u32, me: u32) -> Result<(), JournalError> {
    if owner != me {
        Err(JournalError::Owner { uid: owner })
    } else if mode & 0o022 != 0 {
        let mode = mode & 0o7777;
        Err(JournalError::Writable { mode })
    } else {
        Ok(())
    }
}

fn lock(file: &File) -> Result<(), JournalError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(JournalError::InUse),
        locked => locked.map_err(refused),
    }
}

fn is_same(file: &File, folder: &impl AsFd, name: &OsString) -> bool {
    let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let ours = rustix::fs::fstat(file);
    let place = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    matches!((there, ours), (Ok(there), Ok(ours)) if place(there) == place(ours))
}

fn refused(error: Errno) -> JournalError {
    match error {
        Errno::LOOP => JournalError::Link,
        Errno::ROFS => JournalError::ReadOnly,
        Errno::ISDIR | Errno::NXIO => JournalError::NotAFile,
        error => JournalError::Io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_ours_that_nobody_else_can_write_to_is_trusted() {
        assert!(trust(0, 0o100_600, 0).is_ok());
        assert!(trust(7, 0o100_644, 7).is_ok());
        for (owner, me) in [(7, 0), (0, 7)] {
            let refused = trust(owner, 0o100_600, me).unwrap_err();
            assert!(matches!(refused, JournalError::Owner { uid } if uid == owner));
        }
        for mode in [0o620, 0o602, 0o666] {
            let refused = trust(7, 0o100_000 | mode, 7).unwrap_err();
            assert!(matches!(refused, JournalError::Writable { mode: m } if m == mode));
        }
    }
}
