//! Doors that are waited for, and profiles, at a real daemon.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::cases::{stderr, stdout};
use crate::daemon::Site;
use crate::net::{Case, Outcome, line};

pub(crate) const CASES: &[Case] = &[
    (
        "a_profile_opens_a_door_and_its_ports_are_on_no_command_line",
        profile,
    ),
    ("a_wait_ends_when_the_port_answers_or_with_the_limit", wait),
    ("what_opens_at_the_second_try_is_knocked_at_again", retry),
    (
        "the_answer_for_programs_says_what_was_sent_when_and_what_came_of_it",
        json,
    ),
    ("quiet_says_nothing_whatever_comes_of_it", quiet),
    ("a_spinner_turns_on_a_terminal_and_nowhere_else", spinner),
];

/// A door that the gate keeps shut.
const SHUT: &str = "
[ssh]
sequence = 7000,8000,9000
tcpflags = syn
open = tcp/22
open_for = 30s
";

fn profile() -> Outcome {
    let site = Site::new(SHUT)?;
    site.add_profile(
        "--host 10.77.0.2 --delay 400 --wait tcp/22 --timeout 5s web",
        "7000 8000\n9000\n",
    )?;
    let mut command = site.knock(&["web"]);
    command.stdout(Stdio::piped());
    let mut process = site.net.client.spawn(&mut command)?;
    assert_eq!(site.net.next()?.to.port(), 7000);
    let seen = fs::read_to_string(format!("/proc/{}/cmdline", process.id()))?;
    let words: Vec<_> = seen.split_terminator('\0').skip(1).collect();
    assert_eq!(words, ["web"]);
    let environment = fs::read(format!("/proc/{}/environ", process.id()))?;
    assert!(!environment.windows(4).any(|text| text == b"7000"));
    assert_eq!(process.wait()?.code(), Some(0));
    let mut said = String::new();
    process
        .stdout
        .take()
        .ok_or("no output")?
        .read_to_string(&mut said)?;
    assert!(
        said.starts_with("tcp 10.77.0.2:22 answers after "),
        "{said}"
    );
    site.await_log("10.77.0.1: ssh: tcp/22 open for 30s")?;
    // The environment names it as well, and options count for more.
    let mut command = site.knock(&["-6", "-q"]);
    command.env("KNOCK_PROFILE", "web");
    let output = crate::net::run_command(&site.net.client, &mut command)?;
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (
            Some(1),
            "knock: cannot resolve '10.77.0.2': it has no IPv6 address\n"
        )
    );
    Ok(())
}

fn wait() -> Outcome {
    let site = Site::new(SHUT)?;
    for address in ["10.77.0.2", "fd77::2"] {
        let begun = Instant::now();
        let output = site.run(&format!(
            "--wait tcp/22 --timeout 600ms {address} 7000 8000"
        ))?;
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(3), "")
        );
        assert!(
            stderr(&output).contains(":22 does not answer within "),
            "{}",
            stderr(&output)
        );
        assert!(begun.elapsed() >= Duration::from_millis(500));
        let output = site.run(&format!("{address} 7000 8000 9000 --wait tcp/22"))?;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        assert!(
            stdout(&output).contains(":22 answers after "),
            "{}",
            stdout(&output)
        );
    }
    Ok(())
}

/// The sequence is twice what is knocked.
fn retry() -> Outcome {
    let site = Site::new(
        "[twice]\nsequence = 7000,8000,7000,8000\nseq_timeout = 30\ntcpflags = syn\n\
         open = tcp/22\nopen_for = 30s\n",
    )?;
    let knock = |retry: &str| {
        site.run(&format!(
            "--wait tcp/22 --timeout 500ms{retry} 10.77.0.2 7000 8000"
        ))
    };
    assert_eq!(knock(" --retry 3")?.status.code(), Some(0));
    let steps = site.net.sent("10.77.0.2:0")?;
    let steps = steps.iter().filter(|packet| packet.to.port() != 22).count();
    assert_eq!(steps, 4, "and not once more");
    // From another address one round is not enough.
    let output = knock(" --source 10.77.0.5")?;
    assert_eq!(output.status.code(), Some(3));
    let output = knock(" --source 10.77.0.5 --retry 1")?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        !stdout(&output).contains("after 2 knocks"),
        "the first completed it"
    );
    Ok(())
}

fn json() -> Outcome {
    let site = Site::new(SHUT)?;
    let output = site.run("--json -v --wait tcp/22 10.77.0.2 7000 8000 9000")?;
    let said: Value = serde_json::from_str(&stdout(&output))?;
    assert_eq!(at(&said, "/host"), "10.77.0.2");
    assert_eq!(at(&said, "/address"), "10.77.0.2");
    assert_eq!(at(&said, "/exit"), 0);
    assert_eq!(at(&said, "/wait/to"), "10.77.0.2:22");
    assert_eq!(at(&said, "/wait/answers"), true);
    assert!(at(&said, "/wait/after_ms").is_u64());
    let knocks = at(&said, "/knocks").as_array().ok_or("no knocks")?;
    let ports: Vec<_> = knocks.iter().map(|knock| at(knock, "/port")).collect();
    assert_eq!(ports, [7000, 8000, 9000]);
    for knock in knocks {
        assert_eq!(at(knock, "/protocol"), "tcp");
        assert_eq!(
            (at(knock, "/sent"), at(knock, "/round")),
            (&true.into(), &1.into())
        );
        let at = at(knock, "/at").as_str().ok_or("no time")?;
        assert!(
            at.len() == 24 && at.ends_with('Z') && at.starts_with("20"),
            "{at}"
        );
    }
    site.net.filter_output(&["udp dport 8000 drop"])?;
    let output = site.run("--json 10.77.0.2 icmp:9 8000:udp")?;
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(1), String::new())
    );
    let said: Value = serde_json::from_str(&stdout(&output))?;
    assert_eq!(
        (at(&said, "/exit"), at(&said, "/wait")),
        (&1.into(), &Value::Null)
    );
    assert_eq!(
        (at(&said, "/knocks/0/size"), at(&said, "/knocks/0/port")),
        (&9.into(), &Value::Null)
    );
    assert_eq!(at(&said, "/knocks/1/sent"), false);
    assert_eq!(at(&said, "/knocks/1/reason"), "Operation not permitted");
    Ok(())
}

fn at<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or(&Value::Null)
}

fn quiet() -> Outcome {
    let site = Site::new(SHUT)?;
    site.net.filter_output(&["udp dport 8000 drop"])?;
    for (arguments, code) in [
        ("-q -v 10.77.0.2 7000", 0),
        ("-q 10.77.0.2 7000 8000:udp", 1),
        ("-q --wait tcp/22 --timeout 300ms 10.77.0.2 7000", 3),
        ("-q --wait tcp/22 10.77.0.2 7000 8000 9000", 0),
    ] {
        let output = site.run(arguments)?;
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert_eq!(
            (stdout(&output), stderr(&output)),
            (String::new(), String::new())
        );
    }
    Ok(())
}

fn spinner() -> Outcome {
    let site = Site::new(SHUT)?;
    let waiting = "--wait tcp/22 --timeout 900ms 10.77.0.2 7000";
    let output = site.run(waiting)?;
    assert!(
        !stderr(&output).contains("waiting for"),
        "{}",
        stderr(&output)
    );
    for (option, turns) in [("", true), ("-q ", false), ("--json ", false)] {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let slave = fs::OpenOptions::new().read(true).write(true).open(name)?;
        let arguments = format!("{option}{waiting}");
        let words: Vec<_> = arguments.split(' ').collect();
        let mut command = site.knock(&words);
        command
            .env("TERM", "xterm")
            .stdout(Stdio::null())
            .stderr(slave);
        let mut process = site.net.client.spawn(&mut command)?;
        // Only the program itself still has the other end.
        drop(command);
        let mut seen = Vec::new();
        // The end of a terminal is an error (EIO).
        fs::File::from(master).read_to_end(&mut seen).ok();
        assert_eq!(process.wait()?.code(), Some(3));
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert_eq!(
            seen.contains("waiting for tcp 10.77.0.2:22"),
            turns,
            "{option}: {seen}"
        );
        let said = seen.contains("knock: tcp 10.77.0.2:22 does not answer");
        assert_eq!(said, turns, "{seen}");
    }
    assert!(line(&site.net.sent("10.77.0.2:0")?).contains("7000 tcp S"));
    Ok(())
}
