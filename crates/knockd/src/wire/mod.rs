//! What the keeper and the listener say to each other, and nothing else crosses between them.
//!
//! From the listener, which reads hostile bytes, come [`Report`]s: of one size, of numbers only, in
//! the one encoding that each has; and, of one size too, what was in sealed packets ([`Knock`]).
//! From the keeper, which the listener trusts, come [`Order`]s.

pub(crate) mod bytes;
mod counter;
mod knock;
mod order;
mod report;
mod site;

#[cfg(test)]
mod tests;

pub use counter::Counter;
pub use knock::{KNOCK_LENGTH, Knock, NotAKnock};
pub use order::{Checksum, Doors, NotAnOrder, Order, Reach, Settings};
pub use report::{CodeBytes, LENGTH, NotAReport, Report, ReportKind};
pub use site::{Keys, Site};
