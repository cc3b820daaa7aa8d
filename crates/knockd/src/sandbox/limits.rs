//! Resource limits (getrlimit(2)).

use std::os::fd::RawFd;

use nix::sys::resource::{Resource, setrlimit};
use rustix::io::Errno;

/// No process, no core, no growing file, no queue, no locked memory, and no descriptor above
/// `highest`. Memory has a bound of its own: the attempt table's (`max_attempts`).
pub(super) fn set(highest: RawFd) -> Result<(), Errno> {
    // poll(2) takes no more descriptors than there may be, so it cannot be zero.
    let descriptors = u64::try_from(highest).unwrap_or(0).saturating_add(1);
    for (resource, most) in [
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_NOFILE, descriptors),
    ] {
        setrlimit(resource, most, most)
            .map_err(|error| Errno::from_io_error(&error.into()).unwrap_or(Errno::INVAL))?;
    }
    Ok(())
}
