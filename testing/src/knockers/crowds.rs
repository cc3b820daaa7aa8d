//! Real clients in a crowd: in lockstep, and among first knocks that push each other out.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::network::{CLIENT_INTERFACE, Network};
use crate::script::packet;
use crate::site::Site;

use super::{Programs, Scenario};

const DOOR: &str = "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	command = echo A %IP% >> {hits}
";

const DROP: &str = "iptables -P INPUT DROP";

/// First knocks a second.
const RATE: u32 = 10_000;
/// The flood ends by itself after this many packets, whatever happens.
const MOST: u64 = 600_000;
/// Knocks that must get through, and from each to the next.
const KNOCKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "10,000 first knocks a second, twice as many as the table holds, disturb no client",
            &["iptables"],
            flood,
        )
        .alone(),
        Scenario::new(
            "ten clients that each knock the same port in turn all get in",
            &["iptables"],
            |programs| {
                let script = "for p in 7000 8000 9000; do for a in {11..20}; do
                    $KNOCK --source 10.77.0.$a 10.77.0.2 $p; done; done";
                crowd(programs, script)
            },
        ),
        Scenario::new(
            "ten clients that knock at the same time all get in",
            &["iptables"],
            |programs| {
                let script = "for a in {11..20}; do
                    $KNOCK -d 50 --source 10.77.0.$a 10.77.0.2 7000 8000 9000 & done; wait";
                crowd(programs, script)
            },
        ),
    ]
}

/// Ten addresses knock by `script`.
fn crowd(programs: &Programs, script: &str) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[DROP])?;
    for n in 11..=20 {
        let address = format!("10.77.0.{n}/24");
        site.network
            .client
            .add_address(CLIENT_INTERFACE, &address)?;
    }
    site.client(&script.replace("$KNOCK", &programs.knock.to_string_lossy()))?;
    site.settle("10.77.0.2")?;
    site.wait_until("ten commands", PATIENCE, || {
        site.read("hits").lines().count() >= 10
    })?;
    let hits = site.read("hits");
    let mut hits: Vec<_> = hits.lines().collect();
    hits.sort_unstable();
    let wanted: Vec<_> = (11..=20).map(|n| format!("A 10.77.0.{n}")).collect();
    site.require(hits == wanted, || format!("commands: {hits:?}"))
}

/// Half a second of the flood fills the table.
fn flood(programs: &Programs) -> Result<()> {
    let config = format!("max_attempts = {}\n{DOOR}", RATE / 2);
    let site = Site::new(&programs.knockd, &config, &[DROP])?;
    let (end, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let opened = thread::scope(|scope| {
        let flood = scope.spawn(|| send_flood(&site.network, &end, &sent));
        let opened = knock_often(&site, programs, &sent);
        end.store(true, Ordering::Relaxed);
        flood.join().map_err(|_| "the flood panicked")??;
        opened
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let packets = u32::try_from(sent.into_inner())?;
    println!("      {opened} of {KNOCKS} knocks opened, {packets} first knocks in {seconds:.1} s");
    // How many packets the kernel has dropped belongs to what is told of a failure.
    site.signal(Signal::SIGUSR1)?;
    site.wait_for_line("dropped by the kernel")?;
    site.require(opened == usize::try_from(KNOCKS)?, || {
        format!("{opened} of {KNOCKS} knocks opened")
    })?;
    if f64::from(packets) < 0.9 * f64::from(RATE) * seconds {
        return Err("this machine did not send as much as it should".into());
    }
    Ok(())
}

/// Knocks with our client, again and again; how often the door has opened.
fn knock_often(site: &Site, programs: &Programs, sent: &AtomicU64) -> Result<usize> {
    site.wait_until("the table is full", PATIENCE, || {
        sent.load(Ordering::Relaxed) > u64::from(RATE)
    })?;
    let knock = format!("{} 10.77.0.2 7000 8000 9000", programs.knock.display());
    for _ in 0..KNOCKS {
        site.client(&knock)?;
        thread::sleep(PAUSE);
    }
    site.settle("10.77.0.2")?;
    Ok(site.openings("A"))
}

/// First knocks, evenly over time, from four million addresses that nobody has (RFC 6598).
fn send_flood(network: &Network, end: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut knock = packet("7000")?;
    let start = Instant::now();
    let mut count = 0;
    while count < MOST && !end.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_micros())? * u64::from(RATE) / 1_000_000;
        while count < due {
            let source = 0x6440_0000 | random.u32(..0x0040_0000);
            knock.source = IpAddr::V4(Ipv4Addr::from_bits(source));
            network.send(&knock)?;
            count += 1;
        }
        sent.store(count, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
