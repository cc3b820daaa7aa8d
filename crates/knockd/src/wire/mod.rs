//! What the keeper and the listener say to each other, and nothing else crosses between them.
//!
//! From the listener, which reads hostile bytes, come [`Report`]s: of one size, of numbers only, in
//! the one encoding that each has. From the keeper, which the listener trusts, come [`Order`]s.

pub(crate) mod bytes;
mod order;
mod report;

#[cfg(test)]
mod tests;

pub use order::{Checksum, Doors, NotAnOrder, Order, Reach, Settings};
pub use report::{Counter, LENGTH, NotAReport, Report, ReportKind};
