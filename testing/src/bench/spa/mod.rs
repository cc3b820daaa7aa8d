//! Sealed packets: what junk costs, who gets in under it, and what a good one takes.
//!
//! The peers are not run beside it. Where a figure of theirs is told, it was measured once on two
//! processors, and is there for the order of magnitude.

mod flood;
mod junk;
mod latency;
mod memory;
mod people;
mod rate;
mod side;
mod ssh;

use super::{Line, Programs};
use crate::Result;

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut lines = junk::run(programs)?;
    lines.extend(flood::run(programs)?);
    lines.extend(latency::run(programs)?);
    lines.extend(rate::run(programs)?);
    lines.extend(memory::run(programs)?);
    lines.extend(ssh::run(programs)?);
    Ok(lines)
}
