//! How soon all grants are back after somebody has flushed the kernel's rules.
//!
//! The time begins before nft(8) is started, and ends when the kernel has told of every single grant
//! that it is there again; to ask for all of them one by one is in it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::side::Side;
use crate::Result;
use crate::bench::report::Samples;
use crate::bench::{Line, Programs, TURNS};

const GRANTS: u32 = 10_000;

/// The daemon leaves the gate alone for a moment after it has mended it.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut side = super::crowd::start(programs)?;
    let sources = super::crowd::knock(&mut side, GRANTS)?;
    let mut times = Samples::default();
    for _ in 0..TURNS {
        std::thread::sleep(PAUSE);
        times.push(flush(&mut side, &sources)?);
    }
    let what = format!("{GRANTS} grants are back after flush ruleset");
    let note = "theirs: nothing comes back";
    let line = Line::new(what, " ms", times.median());
    Ok(vec![line.at_most(1_000.0).note(note)])
}

/// Milliseconds.
fn flush(side: &mut Side, sources: &[Ipv4Addr]) -> Result<f64> {
    let begun = Instant::now();
    let server = &side.daemon.network;
    if !server.server_shell("exec nft flush ruleset")?.success() {
        return Err("nft does not flush".into());
    }
    for source in sources {
        side.wait(*source, 0)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
