//! Clients that misbehave, and those that may not ask.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use knockd::control::{Answer, MAX_REQUEST};
use knockd::events::Kind;

use crate::net::{CLIENT, KNOCKCTL, Net};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("clients_that_ask_nothing_wake_nobody", idle),
    ("garbage_and_half_lines_keep_nobody_from_anything", garbage),
    (
        "of_a_hundred_clients_some_are_served_and_the_others_told",
        hundred,
    ),
    (
        "a_reader_that_sleeps_through_ten_thousand_events_is_told_so",
        slow,
    ),
];

pub(crate) const OTHER_ACCOUNTS: &[Case] = &[("another_account_is_refused", other_account)];

const DOOR: &str = "[A]\nsequence = 7000:udp\ncommand = true\n";

fn connect(net: &Net) -> Outcome<UnixStream> {
    let client = UnixStream::connect(net.path("sock"))?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(client)
}

/// A line of the answer.
fn line(client: &mut BufReader<UnixStream>) -> Outcome<String> {
    let mut line = String::new();
    client.read_line(&mut line)?;
    Ok(line)
}

fn garbage() -> Outcome {
    let net = Net::new(DOOR)?;
    let daemon = net.start()?;
    // One that never ends its line, and stays.
    let mut half = connect(&net)?;
    half.write_all(b"{\"version\":1,\"requ")?;
    let mut client = BufReader::new(connect(&net)?);
    client.get_mut().write_all(b"\0\xff\xfe\n")?;
    assert!(line(&mut client)?.contains("\"code\":\"bad-request\""));
    client
        .get_mut()
        .write_all(b"{\"version\":7,\"request\":\"status\"}\n")?;
    let said = line(&mut client)?;
    assert!(
        said.contains("version 7 is not spoken here, but 1"),
        "{said}"
    );
    client
        .get_mut()
        .write_all(b"{\"version\":1,\"request\":\"status\"}\n")?;
    assert!(line(&mut client)?.starts_with("{\"answer\":\"status\""));
    client
        .get_mut()
        .write_all(b"{\"request\":\"close\",\"doors\":\"A\"}\n")?;
    let said = line(&mut client)?;
    assert!(said.contains("unknown field `doors`"), "{said}");
    let deep = format!("{}\n", "[".repeat(MAX_REQUEST));
    client.get_mut().write_all(deep.as_bytes())?;
    assert!(line(&mut client)?.contains("\"code\":\"bad-request\""));
    client
        .get_mut()
        .write_all(&vec![b'x'; 3 * MAX_REQUEST])
        .ok();
    assert!(line(&mut client)?.contains("\"code\":\"too-long\""));
    // It is shown out.
    let rest = client.read(&mut [0; 8]);
    assert!(rest.is_err() || rest.is_ok_and(|count| count == 0));
    half.write_all(b"est\":\"status\"}\n")?;
    assert!(line(&mut BufReader::new(half))?.starts_with("{\"answer\":\"status\""));
    net.knock(CLIENT, &[7000])?;
    net.await_events(Kind::Open, 1)?;
    assert_eq!(net.status()?.keeper.pid, daemon.id());
    Ok(())
}

fn hundred() -> Outcome {
    let net = Net::new(DOOR)?;
    let _daemon = net.start()?;
    let request = b"{\"version\":1,\"request\":\"status\"}\n";
    let all: Result<Vec<_>, _> = (0..100).map(|_| connect(&net)).collect();
    let (mut served, mut told) = (0, 0);
    let mut kept = Vec::new();
    for client in all? {
        let mut client = BufReader::new(client);
        client.get_mut().write_all(request).ok();
        match serde_json::from_str(&line(&mut client)?)? {
            Answer::Status(_) => served += 1,
            Answer::Error { message, .. } => {
                assert_eq!(message, "16 clients are connected already");
                told += 1;
            }
            other => return Err(format!("{other:?}").into()),
        }
        kept.push(client);
    }
    assert_eq!((served, told), (16, 84));
    drop(kept);
    net.eventually("there is room again", || net.status().is_ok())
}

fn idle() -> Outcome {
    let net = Net::new(DOOR)?;
    let daemon = net.start()?;
    let mut follower = connect(&net)?;
    follower.write_all(b"{\"version\":1,\"request\":\"events\",\"follow\":true}\n")?;
    let mut half = connect(&net)?;
    half.write_all(b"{\"version\":1,")?;
    half.shutdown(std::net::Shutdown::Write)?;
    let mut follower = BufReader::new(follower);
    assert!(line(&mut follower)?.contains("\"seq\":1,"));
    net.knock(CLIENT, &[7000])?;
    net.await_events(Kind::Open, 1)?;
    net.is_idle(&daemon)
}

fn slow() -> Outcome {
    let net = Net::new(DOOR)?;
    let _daemon = net.start()?;
    let mut sleeper = BufReader::new(connect(&net)?);
    let request = b"{\"version\":1,\"request\":\"events\",\"since\":1,\"follow\":true}\n";
    sleeper.get_mut().write_all(request)?;
    // Each is one event, and is answered at once: the sleeper holds nobody up.
    let mut busy = BufReader::new(connect(&net)?);
    busy.get_mut()
        .write_all(b"{\"version\":1,\"request\":\"log-level\",\"level\":\"info\"}\n")?;
    line(&mut busy)?;
    let before = net.status()?.last_event;
    for _ in 0..11_999 {
        busy.get_mut()
            .write_all(b"{\"request\":\"log-level\",\"level\":\"info\"}\n")?;
        let said = line(&mut busy)?;
        assert_eq!(said, "{\"answer\":\"log-level\",\"level\":\"info\"}\n");
    }
    let last = net.status()?.last_event;
    assert_eq!(last, before + 11_999);
    let (mut next, mut missed) = (1, 0);
    while next <= last {
        match serde_json::from_str(&line(&mut sleeper)?)? {
            Answer::Event(event) => {
                assert_eq!(event.seq, next);
                next += 1;
            }
            Answer::Missed { count } => {
                missed += count;
                next += count;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert!(missed > 0);
    Ok(())
}

fn other_account() -> Outcome {
    let net = Net::new(DOOR)?;
    let _daemon = net.start()?;
    let program = net.path("knockctl");
    fs::copy(KNOCKCTL, &program)?;
    fs::set_permissions(net.path(""), fs::Permissions::from_mode(0o755))?;
    let ask = || -> Outcome<String> {
        let mut command = Command::new(&program);
        command.args(["status", "-s"]).arg(net.path("sock"));
        command.uid(65534).gid(65534).current_dir("/");
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(1));
        Ok(String::from_utf8(output.stderr)?)
    };
    let said = ask()?;
    assert!(said.contains("permission denied: only root"), "{said}");
    // Even where somebody has opened the file for all, the kernel says who asks.
    fs::set_permissions(net.path("sock"), fs::Permissions::from_mode(0o666))?;
    let said = ask()?;
    assert_eq!(
        said,
        "knockctl: only root and the daemon's own user may ask\n"
    );
    net.status()?;
    Ok(())
}
