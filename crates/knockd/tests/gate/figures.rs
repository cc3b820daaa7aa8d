//! How long it takes. The bounds are generous: machines are busy.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use knockd::gate::{Gate, Opening, Plan, Trial};
use rustix::time::{ClockId, clock_gettime};

use crate::net::{Net, after, door, nft, now, tcp_ports, until};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("ten_thousand_grants_are_back_within_a_second", restore),
    ("a_grant_costs_the_same_however_many_are_alive", scale),
];

fn source(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + number).into()
}

fn restore(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    gate.up(&plan, &Trial::new(), now())?;
    for number in 0..10_000 {
        let opening = Opening::of(&ssh, source(number)).ok_or("nothing")?;
        gate.grant(&opening, after(600), now())?;
    }
    nft("flush ruleset")?;
    let begun = Instant::now();
    gate.up(&plan, &Trial::new(), now())?;
    let flushed = begun.elapsed();
    let begun = Instant::now();
    gate.up(&plan, &Trial::new(), now())?;
    let replaced = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(gate.check(now())?, None);
    let checked = begun.elapsed();
    println!(
        "10,000 grants: restored in {flushed:?}, replaced in {replaced:?}, checked in {checked:?}"
    );
    // The kernel's list of a set has gaps while it grows.
    until(|| Ok(gate.read(&plan)?.ok_or("gone")?.granted.len() == 10_000))?;
    assert!(flushed < Duration::from_secs(1), "{flushed:?}");
    Ok(())
}

fn scale(_net: &Net) -> Outcome {
    let ssh = door("ssh", &[], &[tcp_ports(22, 22)]);
    let plan = Plan::of(std::slice::from_ref(&ssh));
    let mut gate = Gate::new()?;
    gate.up(&plan, &Trial::new(), now())?;
    let mut alive = 0;
    let mut medians: Vec<Duration> = Vec::new();
    for target in [10, 1_000, 100_000] {
        while alive < target {
            let opening = Opening::of(&ssh, source(alive)).ok_or("nothing")?;
            gate.grant(&opening, after(3_600), now())?;
            alive += 1;
        }
        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for number in 0..2_000 {
            let opening = Opening::of(&ssh, source(1_000_000 + number)).ok_or("nothing")?;
            let begun = cpu();
            gate.grant(&opening, after(3_600), now())?;
            let given = cpu();
            gate.revoke(opening.key(), now())?;
            opened.push(given - begun);
            closed.push(cpu() - given);
        }
        let (opened, closed) = (median(opened), median(closed));
        println!("{alive} alive: {opened:?} of CPU to open, {closed:?} to close");
        medians.push(opened + closed);
    }
    let begun = Instant::now();
    gate.up(&plan, &Trial::new(), now())?;
    println!("100,000 grants: replaced in {:?}", begun.elapsed());
    assert_eq!(gate.check(now())?, None);
    let [few, _, many]: [Duration; 3] = medians.try_into().map_err(|_| "not three")?;
    assert!(many < few * 3, "{few:?} {many:?}");
    Ok(())
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    let middle = samples.get(samples.len() / 2);
    middle.copied().unwrap_or_default()
}

/// The thread's CPU time: the kernel does its part in our call.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
