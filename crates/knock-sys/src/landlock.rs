//! What the kernel has of Landlock.

use std::io;
use std::ptr;

use libc::{c_uint, c_void};

/// The version of Landlock's interface that the running kernel has (landlock(7)).
///
/// # Errors
/// `ENOSYS` if it was not built in, `EOPNOTSUPP` if it was switched off at the start.
pub fn landlock_version() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: c_uint = 1;
    let (nothing, length) = (ptr::null::<c_void>(), 0_usize);
    // SAFETY: with this flag the call takes no memory, and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, length, VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_a_version_or_says_that_it_has_none() {
        match landlock_version() {
            Ok(version) => assert!(version >= 1),
            Err(error) => assert!(matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EOPNOTSUPP)
            )),
        }
    }
}
