//! From the last packet of a knock to the grant that can be read in the kernel.
//!
//! The thread that has sent the packet then asks the kernel for the very element (for theirs with
//! iptables: how many rules there are) in a tight loop, over netlink. It is held on one processor,
//! which it keeps busy, and has its turn there as soon as our daemon has, so that it is not itself what
//! is late on a busy machine. The daemons are held on the other processors: on the same one, the end
//! of their work would be seen, not its result. The kernel answers without the lock that a change
//! takes, so it is in nobody's way. What is there is found out by the next question: a figure is too
//! long by the time of one question at most. That time is measured and told.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::side::{By, Side};
use crate::Result;
use crate::bench::processors::Processors;
use crate::bench::report::Samples;
use crate::bench::{Line, Programs, TURNS};

/// Knocks in a turn: enough in all that one in a hundred can be told; fewer of theirs, which are
/// slow.
const OURS: u32 = 100;
const THEIRS: u32 = 20;

/// The original hands over packets at intervals of 50 ms.
const INTERVAL: Duration = Duration::from_millis(50);

/// So that a packet is not seen along with the one before.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let processors = Processors::divide(usize::MAX)?;
    let mut all = Vec::new();
    for by in [By::Iptables, By::Nft, By::Gate] {
        all.push((Side::start(programs, by)?, Samples::default()));
    }
    processors.take_last()?;
    // What a first time costs is no matter of a knock.
    for (side, _) in &mut all {
        knock(side, 5, &mut Samples::default())?;
    }
    for _ in 0..TURNS {
        for (side, times) in &mut all {
            let count = if side.by == By::Gate { OURS } else { THEIRS };
            knock(side, count, times)?;
        }
    }
    let [(_, iptables), (_, nft), (ours, times)] = all.as_mut_slice() else {
        return Err("three sides".into());
    };
    let question = question(ours)?;
    drop(processors);
    let what = "last packet to grant readable in the kernel";
    let note = format!(
        "theirs with nft add element, {} and {} knocks; with iptables -I median {:.1} ms; \
         one question takes {:.1} µs",
        times.len(),
        nft.len(),
        iptables.median().value,
        question.median().value,
    );
    Ok(vec![
        Line::new(format!("{what}, median"), " ms", times.median())
            .at_most(0.2)
            .theirs(nft.median())
            .note(note),
        Line::new(
            format!("{what}, 99th percentile"),
            " ms",
            times.percentile_99(),
        )
        .at_most(1.0)
        .theirs(nft.percentile_99()),
    ])
}

/// Knocks `count` times; milliseconds from the last packet until its source is let in.
///
/// A knock may fall on any point of the original's interval, and its median is where the knocks
/// happen to fall; so they are spread over it evenly, in random order.
fn knock(side: &mut Side, count: u32, times: &mut Samples) -> Result<()> {
    side.forget()?;
    let mut begins: Vec<Duration> = (0..count).map(|n| INTERVAL * n / count).collect();
    Rng::with_seed(11).shuffle(&mut begins);
    for begin in begins {
        sleep(begin);
        let (source, before) = (side.next_source(), side.asker.rules()?);
        let sent = side.knock(source, PAUSE)?;
        side.wait(source, before)?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Microseconds of a question about who has not knocked.
fn question(side: &mut Side) -> Result<Samples> {
    let ask = |_| {
        let begun = Instant::now();
        side.asker.lets_in(Ipv4Addr::LOCALHOST, 0)?;
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    };
    (0..1000).map(ask).collect()
}
