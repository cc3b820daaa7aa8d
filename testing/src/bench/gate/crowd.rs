//! Many sources that all have a grant.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::side::{By, Side};
use crate::Result;
use crate::bench::Programs;

/// One packet is enough.
const CONFIG: &str = "journal = {dir}/journal\n[A]\nsequence = 7000\ntcpflags = syn\nopen = tcp/22\n\
                      open_for = 1h\n";

/// Knocks that are on their way at once: what finds room everywhere.
const AT_ONCE: usize = 64;

/// The listener reports one opening in half a millisecond, over any longer time.
const PERIOD: Duration = Duration::from_micros(550);

/// Our daemon, at whose door one packet is enough.
pub(super) fn start(programs: &Programs) -> Result<Side> {
    Side::start_with(programs, By::Gate, CONFIG, &[7000])
}

/// So many sources knock; they have their grants when this returns.
pub(super) fn knock(side: &mut Side, count: u32) -> Result<Vec<Ipv4Addr>> {
    let sources: Vec<_> = (0..count).map(|_| side.next_source()).collect();
    let (begun, mut knocked) = (Instant::now(), 0_u32);
    for sources in sources.chunks(AT_ONCE) {
        sleep((PERIOD * knocked).saturating_sub(begun.elapsed()));
        knocked += u32::try_from(sources.len())?;
        for source in sources {
            side.knock(*source, Duration::ZERO)?;
        }
        for source in sources {
            side.wait(*source, 0)?;
        }
    }
    Ok(sources)
}
