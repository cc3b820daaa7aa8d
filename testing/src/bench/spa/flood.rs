//! Who knocks gets in while others send junk: those without the site's key, and those who have it.
//!
//! Each knock is one datagram, never sent again as `knock` would, from the very network that the
//! flood comes from, whose share of the public-key work it has to do with.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use knock_spa::{Outcome, Profile, Purpose, ServerKey};
use knockd::spa::SystemRng;

use super::people::Person;
use super::side::Side;
use crate::Result;
use crate::bench::report::{Figure, Samples, to_f64};
use crate::bench::{Line, Programs};
use crate::torrent::{Hostile, Pace, Sources, during};

/// Knocks in each flood.
const KNOCKS: usize = 20;

/// A client's patience with one packet.
const PATIENCE: Duration = Duration::from_secs(1);

/// Before the first knock, and between two.
const PAUSE: Duration = Duration::from_millis(100);

/// Packets of a kind that are different.
const EACH: u32 = 64;

/// Where the client knocks from: in 10.77.0.0/24, as all of the flood.
const HOME: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let mut alice = Person::new(1);
    let side = Side::start(programs, [&alice])?;
    let strangers = strangers(&side)?;
    let insiders = insiders(&side, &alice)?;
    let without = "10,000 junk datagrams a second without the site key";
    let with = "2,000 a second with it: junk behind the tag, unknown keys, forged signatures";
    Ok(vec![
        judge(&side, &mut alice, without, &strangers, 10_000)?,
        judge(&side, &mut alice, with, &insiders, 2_000)?,
    ])
}

fn judge(
    side: &Side,
    alice: &mut Person,
    name: &str,
    hostile: &[Hostile],
    rate: u32,
) -> Result<Line> {
    side.daemon.settle()?;
    let before = side.daemon.usage()?;
    let mut times = Samples::default();
    let knocks = || knock(side, alice, &mut times);
    let network = &side.daemon.network;
    let (opened, sent) = during(network, hostile, Pace::PerSecond(rate), knocks)?;
    let cpu = side.daemon.usage()?.since(&before).cpu;
    let share = cpu.as_secs_f64() / sent.time.as_secs_f64() * 100.0;
    let note = format!(
        "from the same network, each sent once; {:.0} a second were sent, {share:.0} % of one \
         processor; packet to answer median {:.2} ms",
        sent.rate(),
        times.median().value,
    );
    let what = format!("of {KNOCKS} knocks that open under {name}");
    Ok(Line::new(what, "", Figure::single(to_f64(opened)))
        .at_least(to_f64(KNOCKS))
        .note(note))
}

/// How many of [`KNOCKS`] open; how many milliseconds each took to be answered.
fn knock(side: &Side, alice: &mut Person, times: &mut Samples) -> Result<usize> {
    let mut opened = 0;
    for _ in 0..KNOCKS {
        // It is a flood before the first knock, and its share is used up.
        sleep(PAUSE);
        let (datagram, pending) = alice.seal(&side.profile, Purpose::Open)?;
        let sent = Instant::now();
        side.send(&side.frame(HOME, &datagram)?)?;
        if let Some(Outcome::Opened { .. }) = side.outcome(&pending, PATIENCE)? {
            opened += 1;
            times.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(opened)
}

/// What strangers send.
fn strangers(side: &Side) -> Result<Vec<Hostile>> {
    let mut random = Rng::with_seed(9);
    let mut datagram = || std::iter::repeat_with(|| random.u8(..)).take(256).collect();
    let datagrams: Vec<Vec<u8>> = (0..EACH).map(|_| datagram()).collect();
    datagrams.iter().map(|each| hostile(side, each)).collect()
}

/// What somebody with a stolen profile can send.
fn insiders(side: &Side, alice: &Person) -> Result<Vec<Hostile>> {
    let mut mallory = Person::new(666);
    let elsewhere = Profile {
        server: ServerKey::generate(&mut SystemRng).public(),
        ..side.profile.clone()
    };
    let mut all = Vec::new();
    for _ in 0..EACH {
        // A good tag, and what is behind it is for another server.
        let (junk, _) = mallory.seal(&elsewhere, Purpose::Open)?;
        let (unknown, _) = mallory.seal(&side.profile, Purpose::Open)?;
        let (forged, _) = mallory.seal_as(&side.profile, Purpose::Open, alice.id()?)?;
        for datagram in [junk, unknown, forged] {
            all.push(hostile(side, &datagram)?);
        }
    }
    Ok(all)
}

fn hostile(side: &Side, datagram: &[u8]) -> Result<Hostile> {
    let frame = side.hostile_frame(HOME, datagram)?;
    Ok(Hostile::raw(frame, Sources::Neighbours))
}
