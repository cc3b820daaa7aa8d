//! The log file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    failing: bool,
}

impl LogFile {
    /// The log file `path`, not open yet.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            failing: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it; makes it for the owner's eyes only, because it tells who knocks. A file that
    /// cannot be opened is tried again by each line.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            // A terminal as log file must not become ours, and a pipe without a reader not block.
            .custom_flags((OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits())
            .open(&self.path);
        self.failing = opened.is_err();
        self.file = Some(opened?);
        Ok(())
    }

    /// Appends `text`. Fails only the first time in a row, so that one trouble is one complaint.
    pub(super) fn append(&mut self, text: &str) -> io::Result<()> {
        let result = self.try_append(text);
        let known = std::mem::replace(&mut self.failing, result.is_err());
        if known { Ok(()) } else { result }
    }

    fn try_append(&mut self, text: &str) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        self.file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(text.as_bytes()))
    }
}
