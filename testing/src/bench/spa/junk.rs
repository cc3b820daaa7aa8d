//! CPU time of a datagram that the kernel's filter lets through, from somebody without the site's
//! key: with one key in `authorized_keys`, and with ten thousand.
//!
//! The tag is all that is looked at, so neither who could knock nor the length makes a difference.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;
use knock_spa::site::{CONFIRM_LENGTH, LENGTHS};

use super::people::Person;
use super::side::Side;
use crate::Result;
use crate::bench::accounts::Usage;
use crate::bench::report::Samples;
use crate::bench::{Line, Programs, TURNS};
use crate::torrent::{Hostile, Pace, Sources, during};

const MANY: u32 = 10_000;

/// How long a turn is.
const TURN: Duration = Duration::from_millis(600);

/// A flood, and what comes on top of it where packets are few enough to wake the listener often.
const FLOOD: Pace = Pace::PerSecond(150_000);
const TRICKLE: Pace = Pace::PerSecond(10_000);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut few = Target::new(programs, 1)?;
    let mut many = Target::new(programs, MANY)?;
    for _ in 0..TURNS {
        few.turn(FLOOD)?;
        many.turn(FLOOD)?;
        few.turn(TRICKLE)?;
        many.turn(TRICKLE)?;
    }
    let what = "CPU a junk datagram without the site key";
    let slow = |target: &Target| target.slow.median().value;
    let (at_few, at_many) = (few.fast.median(), many.fast.median());
    Ok(vec![
        Line::new(format!("{what}, 1 key"), " us", at_few)
            .at_most(1.0)
            .note(format!(
                "user and system time; {:.2} us at 10,000 a second; fwknopd was measured at 37 to 49 \
                 with one client, 2,000 with a hundred",
                slow(&few)
            )),
        Line::new(format!("{what}, {MANY} keys"), " us", at_many)
            .at_most(1.0)
            .beside("1 key", at_few)
            .bare_ratio_at_most(1.2)
            .note(format!("{:.2} us at 10,000 a second", slow(&many))),
    ])
}

struct Target {
    side: Side,
    junk: Vec<Hostile>,
    fast: Samples,
    slow: Samples,
}

impl Target {
    fn new(programs: &Programs, keys: u32) -> Result<Self> {
        let people: Vec<_> = (0..keys).map(Person::new).collect();
        let side = Side::start(programs, &people)?;
        side.daemon.settle()?;
        let mut random = Rng::with_seed(5);
        let mut junk = Vec::new();
        for length in [CONFIRM_LENGTH].into_iter().chain(LENGTHS).cycle().take(60) {
            let datagram: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect();
            let frame = side.hostile_frame(Ipv4Addr::LOCALHOST, &datagram)?;
            junk.push(Hostile::raw(frame, Sources::Anybody));
        }
        Ok(Self {
            side,
            junk,
            fast: Samples::default(),
            slow: Samples::default(),
        })
    }

    fn turn(&mut self, pace: Pace) -> Result<()> {
        let daemon = &self.side.daemon;
        daemon.settle()?;
        let (before, seen): (Usage, u64) = (daemon.usage()?, daemon.status()?.seen);
        let wait = || {
            sleep(TURN);
            Ok(())
        };
        let ((), sent) = during(&daemon.network, &self.junk, pace, wait)?;
        daemon.settle()?;
        let (after, seen) = (daemon.usage()?, daemon.status()?.seen - seen);
        if seen * 10 < sent.packets * 9 {
            return Err(format!("of {} packets it has seen {seen}", sent.packets).into());
        }
        let cpu = after.since(&before).cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(seen)?);
        match pace {
            FLOOD => self.fast.push(cpu),
            _ => self.slow.push(cpu),
        }
        Ok(())
    }
}
