//! What Prometheus makes of them, and whether they say what the status says.

use std::io::Write;
use std::process::{Command, Stdio};

use knockd::control::Status;

use crate::http::{GET, ask, net, samples, tcp, unix};
use crate::net::{CLIENT, Net};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("real_parsers_read_both_formats", parsers),
    (
        "they_say_what_status_says_after_many_random_events",
        agreement,
    ),
];

const DOORS: &str = "[ssh]\nsequence = 7000:udp,8000:udp\nopen = tcp/22\nopen_for = 1h\n\
    [a \"strange\" \\ door]\nsequence = 7001:udp\nopen = tcp/80\nopen_for = 1h\n\
    [game]\nsequence = 9000:udp\nstart_command = true\ncmd_timeout = 1000\nstop_command = true\n";

/// Counts the samples of each type, or fails as the library does.
const PYTHON: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
assert all(f.documentation and f.type in ('counter', 'gauge') for f in families)
print(sum(len(f.samples) for f in families))
";

/// What a program prints that gets `input`; it must succeed.
fn pipe(program: &str, args: &[&str], input: &str) -> Outcome<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}: see `cargo xtask setup`"))?;
    let stdin = child.stdin.take();
    stdin.ok_or("no pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{program}: {output:?}\n{input}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn parsers() -> Outcome {
    let net = net(DOORS)?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", "10.9.8.7"])?;
    net.knock(CLIENT, &[7001, 9000])?;
    net.eventually("both are open", || {
        net.status().is_ok_and(|status| status.grants.total == 3)
    })?;
    let (head, body) = ask(&mut tcp(&net)?, GET)?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"));
    // Debian's own Python has the package of its parser.
    let counted = pipe("/usr/bin/python3", &["-c", PYTHON], &body)?;
    let counted: usize = counted.trim().parse()?;
    assert_eq!(counted, samples(&body)?.len());
    let old = b"GET /metrics HTTP/1.1\r\nAccept: text/plain\r\n\r\n";
    let (head, body) = ask(&mut unix(&net)?, old)?;
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    pipe("promtool", &["check", "metrics"], &body)?;
    pipe("promtool", &["check", "metrics"], &net.ctl(&["metrics"])?)?;
    let open = net.ctl(&["metrics", "--openmetrics"])?;
    pipe("/usr/bin/python3", &["-c", PYTHON], &open)?;
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/alerts/knockd.rules.yml"
    );
    pipe("promtool", &["check", "rules", rules], "").map(drop)
}

fn agreement() -> Outcome {
    let net = net(DOORS)?;
    let _daemon = net.start()?;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    };
    let mut operator = net.connect()?;
    for turn in 0..600 {
        let [.., last] = below(20).to_be_bytes();
        let source = [10, 9, 0, last].into();
        let door = match below(3) {
            0 => "ssh",
            1 => "a \"strange\" \\ door",
            _ => "game",
        };
        let door = door.to_owned();
        let request = match below(7) {
            0 => {
                net.knock(CLIENT, &[7000])?;
                continue;
            }
            // Right after the first step, or in vain.
            1 => {
                net.knock(CLIENT, &[8000])?;
                continue;
            }
            2 => {
                net.knock(CLIENT, &[7001, 9000])?;
                continue;
            }
            3 => knockd::control::Request::Close {
                door: Some(door),
                source: Some(source),
                all: false,
                kill: false,
            },
            _ => knockd::control::Request::Open {
                door,
                source,
                for_ms: None,
            },
        };
        match operator.ask(&request) {
            Ok(_) | Err(knockd::control::client::ClientError::Refused(..)) => {}
            Err(error) => return Err(error.into()),
        }
        if turn % 200 == 0 {
            agrees(&net)?;
        }
    }
    agrees(&net)?;
    let counters = net.status()?.counters;
    for kind in ["open", "close", "knocked", "step"] {
        assert!(counters.events.contains_key(kind), "{kind} never happened");
    }
    Ok(())
}

/// Looks at both until nothing happened in between.
fn agrees(net: &Net) -> Outcome {
    net.eventually("metrics and status say the same", || {
        let both = || -> Outcome<_> {
            let before = net.status()?;
            let (_, body) = ask(&mut tcp(net)?, GET)?;
            Ok((before, samples(&body)?, net.status()?))
        };
        let Ok((before, told, after)) = both() else {
            return false;
        };
        let is_quiet = before.last_event == after.last_event && before.counters == after.counters;
        if is_quiet {
            compare(&after, &told);
        }
        is_quiet
    })
}

fn compare(status: &Status, told: &std::collections::BTreeMap<String, u64>) {
    let of = |name: &str| told.get(name).copied();
    let counters = &status.counters;
    for (name, value) in [
        ("knockd_packets_total", counters.packets),
        ("knockd_knocks_total", counters.knocks),
        ("knockd_wrong_knocks_total", counters.wrong),
        ("knockd_sequences_completed_total", counters.openings),
        ("knockd_log_lines_left_out_total", counters.lines_left_out),
        ("knockd_grants", status.grants.total),
        ("knockd_attempts", status.attempts.total),
        ("knockd_gate_up", 1),
    ] {
        assert_eq!(of(name), Some(value), "{name}");
    }
    let gate = status.gate.as_ref().map(|gate| gate.elements.total);
    assert_eq!(of("knockd_gate_elements"), gate);
    for (metric, label, counts) in [
        ("knockd_events_total", "kind", &counters.events),
        ("knockd_closings_total", "reason", &counters.closings),
        ("knockd_refusals_total", "reason", &counters.refusals),
    ] {
        let there = told.iter().filter(|(name, _)| name.starts_with(metric));
        assert_eq!(there.count(), counts.len(), "{metric}");
        for (word, count) in counts {
            let name = format!("{metric}{{{label}=\"{word}\"}}");
            assert_eq!(of(&name), Some(*count), "{name}");
        }
    }
    let by_door = told
        .iter()
        .filter(|(name, _)| name.starts_with("knockd_door_openings_total"));
    let opened: u64 = by_door.map(|(_, count)| count).sum();
    assert_eq!(Some(opened), counters.events.get("open").copied());
    let first = status.doors.first().map(|door| door.openings);
    assert_eq!(of("knockd_door_openings_total{door=\"ssh\"}"), first);
}
