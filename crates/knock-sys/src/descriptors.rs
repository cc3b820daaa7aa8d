//! Descriptors that a program was started with.

use std::io;

use libc::{c_int, c_uint};

use crate::checked;

/// Marks every descriptor from 3 on close-on-exec, so that what whoever started us left open is
/// not handed on to the commands that we start (`close_range(2)` with `CLOSE_RANGE_CLOEXEC`).
///
/// # Errors
/// What the system says; `ENOSYS` or `EINVAL` before Linux 5.11.
pub fn close_inherited_on_exec() -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC` of `linux/close_range.h`.
    const CLOEXEC: c_int = 4;
    // SAFETY: the call reads no memory, and a descriptor that is marked stays open and valid for
    // whoever holds it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, CLOEXEC) };
    checked(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn a_descriptor_that_would_be_inherited_is_no_longer() {
        let file = File::open("/dev/null").unwrap();
        fcntl_setfd(file.as_fd(), FdFlags::empty()).unwrap();
        close_inherited_on_exec().unwrap();
        assert_eq!(fcntl_getfd(file.as_fd()).unwrap(), FdFlags::CLOEXEC);
    }
}
