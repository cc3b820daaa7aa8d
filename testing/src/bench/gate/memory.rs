//! What both of our processes hold in memory, without native doors, with one, and with many grants.

use super::crowd;
use crate::Result;
use crate::bench::daemon::Daemon;
use crate::bench::report::{Figure, to_f64};
use crate::bench::{Line, MEBIBYTE, Programs};

const GRANTS: u32 = 100_000;

const WITHOUT: &str = "[A]\nsequence = 7000\ntcpflags = syn\n";

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let without = resident(&Daemon::start(&programs.knockd, WITHOUT)?)?;
    // Never two at once: what they share would count as half.
    let mut side = crowd::start(programs)?;
    crowd::knock(&mut side, 10)?;
    side.daemon.settle()?;
    let before = resident(&side.daemon)?;
    crowd::knock(&mut side, GRANTS)?;
    side.daemon.settle()?;
    let after = resident(&side.daemon)?;
    let what = "resident memory, shared pages in part";
    Ok(vec![
        Line::new(format!("{what}, no native door"), " MiB", without).at_most(8.0),
        Line::new(format!("{what}, a native door"), " MiB", before),
        Line::new(format!("{what}, {GRANTS} grants alive"), " MiB", after),
    ])
}

fn resident(daemon: &Daemon) -> Result<Figure> {
    let bytes = usize::try_from(daemon.resident()?)?;
    Ok(Figure::single(to_f64(bytes) / MEBIBYTE))
}
