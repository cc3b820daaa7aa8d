//! What a native door costs and how soon it is open, beside what administrators do without one.

mod connect;
mod cost;
mod crowd;
mod latency;
mod memory;
mod restore;
mod side;
mod traffic;

use knock_core::config;
use knock_core::door::Door;

use super::{Line, Programs};
use crate::Result;

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut lines = latency::run(programs)?;
    lines.extend(connect::run(programs)?);
    lines.extend(cost::run()?);
    lines.extend(restore::run(programs)?);
    lines.extend(traffic::run()?);
    lines.extend(memory::run(programs)?);
    Ok(lines)
}

/// The only door of a configuration.
fn door(text: &str) -> Result<Door> {
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    let doors = parsed.config.map(|config| config.doors);
    let door = doors.and_then(|doors| doors.into_iter().next());
    door.ok_or_else(|| "no door".into())
}
