//! Crowds, floods, and signals at bad moments.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::Result;
use crate::script::{Knock, address, packet};
use crate::site::Site;
use crate::trace::{self, What};

use super::{Programs, Scenario};

const DOOR: &str = "
[A]
	sequence = 7000,8000,9000
	tcpflags = syn
	command = echo A %IP% >> {hits}
";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "10,000 first knocks a second from other sources disturb nobody",
            &[],
            flood_of_first_knocks,
        )
        .alone(),
        Scenario::new("a hundred clients in lockstep all get in", &[], lockstep),
        Scenario::new(
            "SIGTERM at any moment leaves no stop command unserved",
            &[],
            term_at_any_moment,
        ),
        Scenario::new(
            "SIGHUP again and again, while knocks come in, loses none",
            &[],
            reloads_under_load,
        ),
        Scenario::new(
            "an ordinary user with CAP_NET_RAW alone runs it, as containers do",
            &["setpriv"],
            only_net_raw,
        )
        .for_root(),
        Scenario::new(
            "an ordinary user without CAP_NET_RAW is told so in one line",
            &["setpriv"],
            without_net_raw,
        )
        .for_root(),
    ]
}

fn knock_from(source: IpAddr, port: u16) -> Result<Knock> {
    Ok(Knock {
        source,
        ..packet(&port.to_string())?
    })
}

/// How many different sources have opened the door.
fn openings(site: &Site) -> usize {
    let mut sources: Vec<_> = site
        .marks()
        .into_iter()
        .filter(|mark| mark.what == What::Opening)
        .map(|mark| mark.source)
        .collect();
    sources.sort();
    sources.dedup();
    sources.len()
}

fn flood_of_first_knocks(programs: &Programs) -> Result<()> {
    const RATE: u64 = 10_000;
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let flood = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let due = u64::try_from(started.elapsed().as_millis())? * RATE / 1000;
            while sent.load(Ordering::Relaxed) < due {
                let n = u32::try_from(sent.fetch_add(1, Ordering::Relaxed))?;
                let source = Ipv4Addr::from_bits(0x0b00_0000 + n);
                site.network.send(&knock_from(source.into(), 7000)?)?;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let flooding = scope.spawn(flood);
        let knocking = (20..40).try_for_each(|n| {
            for port in [7000, 8000, 9000] {
                site.network
                    .send(&knock_from(address::number(n, false), port)?)?;
                sleep(Duration::from_millis(30));
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        flooding.join().map_err(|_| "the flood panicked")??;
        knocking
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let sent = sent.into_inner();
    site.wait_until("20 clients get in", Duration::from_secs(10), || {
        openings(&site) == 20
    })?;
    let lines = site.read("log").lines().count();
    println!("      {sent} first knocks in {seconds:.1} s, {lines} lines in the log");
    let bound = 20 * 10 + 1000;
    if lines > bound {
        return Err(format!("{lines} lines in the log, more than {bound}").into());
    }
    Ok(())
}

fn lockstep(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    for port in [7000, 8000, 9000] {
        for n in 100..200 {
            site.network
                .send(&knock_from(address::number(n, false), port)?)?;
        }
    }
    site.wait_until("100 clients get in", Duration::from_secs(10), || {
        openings(&site) == 100
    })
}

fn term_at_any_moment(programs: &Programs) -> Result<()> {
    let doors = "
[A]
	sequence = 7000
	tcpflags = syn
	start_command = echo start >> {dir}/starts
	cmd_timeout = 1
	stop_command = echo stop >> {dir}/stops
[B]
	sequence = 7001
	tcpflags = syn
	start_command = sleep .05; echo start >> {dir}/starts
	cmd_timeout = 30
	stop_command = sleep .02; echo stop >> {dir}/stops
";
    let mut slowest = Duration::ZERO;
    let mut opened = 0;
    for round in 0..40_u64 {
        let mut site = Site::new(&programs.knockd, doors, &[])?;
        for n in 20..23 {
            site.network
                .send(&knock_from(address::number(n, false), 7000)?)?;
            site.network
                .send(&knock_from(address::number(n, false), 7001)?)?;
        }
        // From before the first packet is seen to after the first stop command is due.
        sleep(Duration::from_micros(round * round * 800));
        site.signal(Signal::SIGTERM)?;
        slowest = slowest.max(site.wait_for_end()?.1);
        let count = |name: &str| site.read(name).lines().count();
        let (starts, stops) = (count("starts"), count("stops"));
        opened += starts;
        if starts != stops {
            let log = site.end_of_log();
            return Err(format!("round {round}: {starts} starts, {stops} stops\n{log}").into());
        }
    }
    println!("      {opened} doors were open, the slowest end took {slowest:?}");
    if opened == 0 {
        return Err("no door was ever open".into());
    }
    Ok(())
}

fn reloads_under_load(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    let config = site.read("conf");
    for n in 20..60 {
        for port in [7000, 8000, 9000] {
            site.network
                .send(&knock_from(address::number(n, false), port)?)?;
            // Another door each time, so that each time there is something new to read.
            let text = format!("{config}[N]\nsequence = {}\n", port + u16::from(n));
            std::fs::write(site.path("new"), text)?;
            std::fs::rename(site.path("new"), site.path("conf"))?;
            site.signal(Signal::SIGHUP)?;
            sleep(Duration::from_millis(5));
        }
    }
    let all_in = site.wait_until("40 clients get in", Duration::from_secs(10), || {
        openings(&site) == 40
    });
    all_in.map_err(|error| {
        let marks = site.marks();
        let missing: Vec<_> = (20..60)
            .map(|n| address::number(n, false))
            .filter(|a| {
                !marks
                    .iter()
                    .any(|m| m.source == *a && m.what == What::Opening)
            })
            .collect();
        let seen: Vec<_> = marks
            .into_iter()
            .filter(|mark| missing.contains(&mark.source))
            .collect();
        let seen = trace::write(&seen, false);
        format!("{error}\nmissing: {missing:?}, of which it saw {seen}").into()
    })
}

/// A directory that an ordinary user may write to, with a configuration and a script.
const CONTAINER: &str = "set -e
mkdir box; chmod 777 box .
cp \"$KNOCKD\" box/knockd; chmod 755 box/knockd
printf '#!/bin/sh\\necho \"$1 $(id -u)\" >> %s/box/hits\\n' \"$PWD\" > box/script; chmod 755 box/script
printf '[options]\\nlogfile = %s/box/log\\n[unpause]\\nsequence = 25565\\nseq_timeout = 1\\n\
command = %s/box/script %%IP%%\\ntcpflags = syn\\n' \"$PWD\" \"$PWD\" > box/conf
chmod 644 box/conf";

fn prepare(site: &Site, programs: &Programs) -> Result<()> {
    let program = format!("KNOCKD={}\n", programs.knockd.display());
    site.server_must(&(program + CONTAINER))
}

fn only_net_raw(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    prepare(&site, programs)?;
    site.server_must(
        "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all,+net_raw \
         --inh-caps -all,+net_raw --ambient-caps -all,+net_raw \
         box/knockd -c $PWD/box/conf -d -i server0 -D -p $PWD/box/pid",
    )?;
    let log = || site.read("box/log");
    let limit = Duration::from_secs(10);
    site.wait_until("it starts", limit, || log().contains("starting up"))?;
    site.network.send(&packet("25565")?)?;
    site.wait_until("the script runs as nobody", limit, || {
        site.read("box/hits") == "10.77.0.1 65534\n"
    })?;
    site.server_must("kill $(cat box/pid)")
}

fn without_net_raw(programs: &Programs) -> Result<()> {
    let site = Site::new(&programs.knockd, DOOR, &[])?;
    prepare(&site, programs)?;
    let output = site.server(
        "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --bounding-set -all \
         box/knockd -c $PWD/box/conf -i server0",
    )?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(1)
        && stderr.contains("CAP_NET_RAW")
        && stderr.lines().count() == 1
    {
        return Ok(());
    }
    Err(format!("{}\n{stderr}", output.status).into())
}
