//! The budgets that need a running daemon: ours beside the distribution's, in one run.
//!
//! Each measurement lets both sides take turns, in network namespaces of their own, and gives
//! [`Line`]s: the figures of both, the ratio, and whether the budget is held.

mod accounts;
mod ask;
mod bare;
mod daemon;
mod doors;
mod flood;
mod gate;
mod hostile;
mod idle;
mod latency;
mod memory;
mod processors;
mod report;
mod ring;
mod scans;
mod sizes;
mod spa;

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;

pub use bare::count_packets;
pub use report::Line;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Our daemon, as it is shipped.
    pub knockd: PathBuf,
    /// Our client, as it is shipped.
    pub knock: PathBuf,
    /// The distribution's daemon.
    pub theirs: PathBuf,
}

/// One measurement.
#[derive(Copy, Clone, Debug)]
pub struct Bench {
    /// Its name, to choose it by.
    pub name: &'static str,
    /// How long the daemons are to be idle; the others do not need it.
    run: fn(&Programs, Duration) -> Result<Vec<Line>>,
}

impl Bench {
    /// Measures, with both daemons idle for `rest` where that is what is measured.
    ///
    /// # Errors
    /// If there is nothing to judge: a daemon does not start, or does not open a door.
    pub fn run(&self, programs: &Programs, rest: Duration) -> Result<Vec<Line>> {
        (self.run)(programs, rest)
    }
}

/// All of them, the quickest first.
pub const ALL: [Bench; 11] = [
    Bench {
        name: "sizes",
        run: |programs, _| sizes::run(programs),
    },
    Bench {
        name: "latency",
        run: |programs, _| latency::run(programs),
    },
    Bench {
        name: "gate",
        run: |programs, _| gate::run(programs),
    },
    Bench {
        name: "spa",
        run: |programs, _| spa::run(programs),
    },
    Bench {
        name: "flood",
        run: |programs, _| flood::run(programs),
    },
    Bench {
        name: "ring",
        run: |programs, _| ring::run(programs),
    },
    Bench {
        name: "doors",
        run: |programs, _| doors::run(programs),
    },
    Bench {
        name: "scans",
        run: |programs, _| scans::run(programs),
    },
    Bench {
        name: "hostile",
        run: |programs, _| hostile::run(programs),
    },
    Bench {
        name: "memory",
        run: |programs, _| memory::run(programs),
    },
    Bench {
        name: "idle",
        run: idle::run,
    },
];

/// How often the sides take turns.
const TURNS: usize = 5;

/// As tools show memory.
const MEBIBYTE: f64 = 1024.0 * 1024.0;
