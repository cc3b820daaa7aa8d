//! The system calls that no well-kept crate wraps safely: a memory-mapped ring of packets.
//!
//! This is the only crate with `unsafe` code, and that stands in socket options, the memory mapping,
//! three calls about descriptors, Landlock and the processor, a hint to its caches, and advice about
//! pages and to the allocator alone. What walks the shared memory is safe code over atomic words: it
//! takes nothing in the mapping on trust, so it runs on plain memory too, in tests and under Miri.

mod allocator;
mod descriptors;
mod fetch;
mod frames;
mod huge_pages;
mod landlock;
mod mapping;
mod ring;
mod socket;
mod turns;

pub use allocator::give_back_large_pieces;
pub use descriptors::close_inherited_on_exec;
pub use fetch::fetch;
pub use frames::{Frame, Frames, PACKET_OUTGOING};
pub use huge_pages::use_huge_pages;
pub use landlock::landlock_version;
pub use ring::{Error, Ring, RingSocket, Size, SpareSocket, Statistics};
pub use socket::attach_filter;
pub use turns::take_turns;

/// What a system call that gives 0 or -1 has given, with the reason.
fn checked(result: impl Into<i64>) -> std::io::Result<()> {
    if result.into() == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
