//! Tells when something in a folder was replaced, so that codes that were made count at once: without
//! them the kernel drops what is as long as one, and nobody would look.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::read;

/// See the [module](self). Readable when there is something to look at (inotify(7)).
#[derive(Debug)]
pub(crate) struct FolderWatch(OwnedFd);

impl FolderWatch {
    /// Of the files in `folder`.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE;
        add_watch(&inotify, folder, changes)?;
        Ok(Self(inotify))
    }

    /// Whether anything has happened since this was last asked. Never waits.
    pub(crate) fn take(&self) -> bool {
        let mut some = false;
        // Room for the longest event.
        let mut events = [0_u8; 4096];
        while read(&self.0, &mut events).is_ok_and(|length| length > 0) {
            some = true;
        }
        some
    }
}

impl AsFd for FolderWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_removed_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let watch = FolderWatch::new(folder.path()).unwrap();
        assert!(!watch.take());
        std::fs::write(folder.path().join("a"), "1").unwrap();
        assert!(watch.take() && !watch.take());
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert!(watch.take());
        std::fs::remove_file(folder.path().join("b")).unwrap();
        assert!(watch.take() && !watch.take());
        assert!(FolderWatch::new(&folder.path().join("none")).is_err());
    }
}
