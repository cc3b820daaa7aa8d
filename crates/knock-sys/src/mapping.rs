//! Memory that is shared with the kernel, as atomic words.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU32;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A mapping, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only read and written
// through atomic words.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`: all that a shared reference gives are atomic words.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first `bytes` bytes behind `fd`, shared.
    pub(crate) fn new(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is the kernel's choice, so no memory in use is replaced.
        let start = unsafe { mmap(ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// The memory. The kernel may change any word at any time.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        let words = self.bytes / size_of::<AtomicU32>();
        // SAFETY: the mapping is that long, page-aligned, readable and writable, lives until
        // `self` is dropped, and any bits are an `AtomicU32`, which others may change.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that `new` made; the references that `words` lent are gone.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
