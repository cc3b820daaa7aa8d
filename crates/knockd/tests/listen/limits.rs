//! What a stranger can cause, and how many doors there can be.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use knockd::listen::{Notice, Problem, ReportKind};

use crate::bench::Bench;
use crate::knocks::A;
use crate::net::{Knock, Net};
use crate::{Case, Outcome};

pub(crate) const CASES: &[(&str, Case)] = &[
    (
        "what_strangers_cause_is_limited_and_the_rest_is_counted",
        flood,
    ),
    ("a_flood_is_read_in_batches", batches),
    ("ten_thousand_doors_start_and_open", many_doors),
];

const STRANGERS: u32 = 10_000;

/// First knocks of so many sources; in the midst of them somebody knows the sequence.
fn flood(net: &Net) -> Outcome {
    let start = Instant::now();
    let mut bench = Bench::new(A, &["server0"])?;
    let first = Knock::new("10.78.0.0", "10.77.0.2", "7000")?;
    for n in 0..STRANGERS {
        let from = IpAddr::from((0x0a4e_0000 + n).to_be_bytes());
        net.cable.send(&Knock { from, ..first })?;
        let step = match n {
            4_000 => "7000",
            5_000 => "8000",
            6_000 => "9000",
            _ => continue,
        };
        net.cable
            .send(&Knock::new("10.77.0.1", "10.77.0.2", step)?)?;
    }
    let (mut opened, mut later, mut first, mut left_out) = (0, 0, 0, 0);
    while first + left_out <= STRANGERS {
        for notice in bench.until(|_| true)? {
            match notice {
                Notice::Report(report) => match report.kind {
                    ReportKind::Stage(1) => first += 1,
                    ReportKind::Stage(_) => later += 1,
                    ReportKind::Opening => opened += 1,
                    ReportKind::LeftOut { lines } => left_out += lines,
                    _ => return Err(format!("{report:?}").into()),
                },
                Notice::Ready { .. } => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    let seconds = u32::try_from(start.elapsed().as_secs())?;
    println!("{STRANGERS} first knocks: {first} reports, {left_out} left out");
    assert_eq!((later, opened), (2, 1), "who knows the sequence gets in");
    assert!(first >= 40, "{first}");
    assert!(first <= 40 + 2 * (seconds + 1), "{first} in {seconds} s");
    assert_eq!(first + left_out, STRANGERS + 1);
    let counters = bench.side.counters();
    assert_eq!(counters.dropped, 0);
    assert_eq!(counters.lines_left_out, u64::from(left_out));
    Ok(())
}

/// Packets so far apart that each of them alone would wake the listener.
fn batches(net: &Net) -> Outcome {
    let mut bench = Bench::new(A, &["server0"])?;
    bench.reports(&net.cable)?;
    let first = Knock::new("10.78.0.0", "10.77.0.2", "7000")?;
    let (start, before) = (Instant::now(), listener_waits(&bench)?);
    for n in 0..STRANGERS {
        let from = IpAddr::from((0x0a4e_0000 + n).to_be_bytes());
        net.cable.send(&Knock { from, ..first })?;
        sleep(Duration::from_micros(100));
    }
    bench.reports(&net.cable)?;
    let waits = f64::from(listener_waits(&bench)? - before);
    let seconds = start.elapsed().as_secs_f64();
    println!("{STRANGERS} first knocks in {seconds:.1} s: {waits} waits");
    assert!(waits <= 400.0 + 800.0 * seconds, "{waits} in {seconds} s");
    Ok(())
}

/// How often the listener has waited so far.
fn listener_waits(bench: &Bench) -> Outcome<u32> {
    let id = bench.side.listener().ok_or("no listener")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(count.ok_or("no count of switches")?.trim().parse()?)
}

fn many_doors(net: &Net) -> Outcome {
    let mut text = String::new();
    for n in 0..10_000 {
        let (a, b) = (10_000 + n, 30_000 + n);
        write!(text, "[D{n}]\nsequence = {a},{b}\ntcpflags = syn\n")?;
    }
    let start = Instant::now();
    let mut bench = Bench::new(&text, &["server0"])?;
    println!("10,000 doors: {:?} with reading them", start.elapsed());
    while let Some(notice) = bench.side.poll_notice() {
        let too_large = matches!(notice, Notice::Problem(Problem::FilterTooLarge(_)));
        assert!(!too_large, "{notice:?}");
    }
    assert_eq!(
        bench.knock(&net.cable, "19999 39999")?,
        "D9999.1 D9999.2 D9999!"
    );
    assert_eq!(bench.knock(&net.cable, "10000 30000")?, "D0.1 D0.2 D0!");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}
