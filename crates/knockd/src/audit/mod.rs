//! The audit trail: who was let in, when, until when and by whom, in a file whose lines are chained.
//!
//! A line is a JSON object with its number (`seq`), and with the SHA-256 of the line before it
//! (`prev`). A line that is missing, altered, doubled or out of its place therefore shows: see
//! [`Verifier`]. What the chain alone cannot show is that its end was cut off or its last line was
//! altered; for that the daemon keeps the number and the hash of the last line in another file
//! ([`HEAD`]), and says the hash in its log. Whoever is root can write all of it anew: against them
//! only a hash counts that was noted elsewhere.
//!
//! A line is written after what it tells of has been done, with one write(2), so that no kill loses
//! it; a thread of its own lets the disk follow, and nobody waits for that. What cannot be written
//! is counted, and the next line that can be says how many there were.

mod entry;
mod head;
mod read;
mod report;
mod trail;
mod verify;

#[cfg(test)]
mod tests;

pub use entry::{Change, Digest, Entry, Fault, Link, MAX_LINE, NewFile, What};
pub use head::{HEAD, Head};
pub use read::{Files, ReadError, lines, rotated};
pub(crate) use report::word;
pub use report::{Access, End, Filter, PortFilter, Report};
pub use trail::Trail;
pub use verify::{Break, Place, Verifier};
