//! What operators ask for, and get.

use std::io::Read;

use knockd::control::{GateState, GrantState};
use knockd::events::{Event, Grant, Kind, Reason, Who};
use rustix::process::Signal;

use crate::net::{CLIENT, Net, OTHER, exit_code, signal};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("an_operator_opens_and_closes_a_native_door", native),
    ("an_operator_opens_and_closes_a_door_of_commands", commands),
    ("a_door_that_closes_nothing_is_opened_without_a_time", bell),
    ("kill_ends_the_connections_that_came_in", kill),
    ("close_by_time_is_one_event", closed_by_time),
    ("knocks_that_open_and_close_are_events_with_reasons", knocks),
    ("what_is_kept_open_at_a_stop_is_not_told_as_closed", kept),
    (
        "close_needs_to_know_what_and_takes_a_door_an_address_or_all",
        what_to_close,
    ),
    ("what_cannot_be_opened_is_refused_with_a_reason", refused),
    ("status_tells_who_has_what_and_for_how_long", status),
    ("the_table_of_the_status_fits_80_columns", table),
    ("events_are_followed_as_they_happen", follow),
    ("no_daemon_and_no_socket_are_told_apart_from_others", nobody),
];

const SSH: &str = "[ssh]\nsequence = 7000:udp,8000:udp\nopen = tcp/22\nopen_for = 30\n";
const GAME: &str = "[game]\nsequence = 9000:udp\n\
    start_command = echo start %IP% $KNOCK_DOOR >> %F%/ran\ncmd_timeout = 40\n\
    stop_command = echo stop %IP% >> %F%/ran\n";

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

fn native() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    assert!(net.ssh(CLIENT)?.is_none());
    let said = net.ctl(&["open", "ssh", CLIENT])?;
    // At once: the answer says that the kernel has it.
    assert!(net.ssh(CLIENT)?.is_some(), "{said}");
    assert_eq!(said, "ssh is open for 10.77.0.1: tcp/22, for 30s\n");
    assert!(net.ssh(OTHER)?.is_none());
    net.await_log("10.77.0.1: ssh: opened by operator uid 0 for 30s")?;
    let again = net.ctl(&["open", "ssh", CLIENT, "--for", "2m"])?;
    assert_eq!(again, "ssh is open for 10.77.0.1: tcp/22, for 2m more\n");
    let closed = net.ctl(&["close", "ssh", CLIENT])?;
    assert_eq!(closed, "10.77.0.1: ssh: closed\n");
    assert!(net.ssh(CLIENT)?.is_none());
    net.await_log("10.77.0.1: ssh: closed by operator uid 0")?;
    assert_eq!(net.ctl(&["close", "ssh"])?, "nothing was open\n");
    let mut events = net.events()?;
    events.retain(|event| event.door.as_deref() == Some("ssh"));
    let told = [
        "operator", "open", "knocked", "operator", "extend", "knocked", "operator", "close",
    ];
    assert_eq!(kinds(&events).get(..8), Some(&told[..]), "{events:#?}");
    for event in &events {
        assert_eq!(event.who, Some(Who::Operator(0)), "{event:?}");
    }
    let open = &events[1];
    assert_eq!(
        (open.grant, open.to.as_deref()),
        (Some(Grant::Gate), Some(CLIENT))
    );
    assert_eq!(open.services, ["tcp/22"]);
    assert_eq!(events[7].reason, Some(Reason::Operator));
    Ok(())
}

fn commands() -> Outcome {
    let net = Net::new(GAME)?;
    let mut daemon = net.start()?;
    let said = net.ctl(&["open", "game", "fd77::1", "--for", "1h"])?;
    assert_eq!(
        said,
        "game is open for fd77::1, for 1h; its command was started\n"
    );
    net.eventually("the start command", || {
        net.read("ran") == "start fd77::1 game\n"
    })?;
    net.eventually("it is open", || {
        let status = net.status().ok();
        status.is_some_and(|s| s.grants.shown.iter().all(|g| g.state == GrantState::Open))
    })?;
    let status = net.status()?;
    let grant = status.grants.shown.first().ok_or("no grant")?;
    assert_eq!(grant.who, Some(Who::Operator(0)));
    assert!(
        grant.left_ms.is_some_and(|left| left > 3_590_000),
        "{grant:?}"
    );
    // What it owes is in the journal before it runs, as after a knock.
    let journal = std::fs::read(net.path("journal"))?;
    let owed = String::from_utf8_lossy(&journal).contains("echo stop fd77::1");
    assert!(owed, "{journal:?}");
    let closed = net.ctl(&["close", "fd77::1"])?;
    assert_eq!(closed, "fd77::1: game: its stop command runs\n");
    net.eventually("the stop command", || {
        net.read("ran").ends_with("stop fd77::1\n")
    })?;
    net.await_log("fd77::1: game: closed by operator uid 0")?;
    let close = net.await_events(Kind::Close, 1)?;
    assert_eq!(close[0].grant, grant.grant.into());
    signal(&daemon, Signal::TERM)?;
    assert_eq!(exit_code(&mut daemon)?, Some(15));
    assert!(!net.path("sock").exists());
    Ok(())
}

/// A door that closes nothing has no time.
fn bell() -> Outcome {
    let net = Net::new("[bell]\nsequence = 7\ncommand = echo %IP% >> %F%/rang\n")?;
    let _daemon = net.start()?;
    let said = net.ctl(&["open", "bell", CLIENT])?;
    assert_eq!(
        said,
        "bell is open for 10.77.0.1; its command was started\n"
    );
    net.eventually("it rings", || net.read("rang") == "10.77.0.1\n")?;
    assert!(
        net.read("log")
            .contains("10.77.0.1: bell: opened by operator uid 0\n")
    );
    let open = net.await_events(Kind::Open, 1)?;
    assert_eq!(open[0].until, None);
    net.eventually("there is nothing left of it", || {
        net.status().is_ok_and(|status| status.grants.total == 0)
    })
}

fn kill() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", CLIENT])?;
    let mut session = net.ssh(CLIENT)?.ok_or("no connection")?;
    let said = net.ctl(&["close", CLIENT, "--kill"])?;
    assert_eq!(said, "10.77.0.1: ssh: closed\n1 connections ended\n");
    net.await_log("1 connections ended")?;
    // Nothing of it passes any more: what is sent is not acknowledged.
    session.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
    assert!(session.read(&mut [0]).is_err());
    Ok(())
}

fn closed_by_time() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", CLIENT, "--for", "1s"])?;
    let closed = net.await_events(Kind::Close, 1)?;
    let [close] = closed.as_slice() else {
        return Err(format!("{closed:?}").into());
    };
    assert_eq!(close.reason, Some(Reason::Time));
    assert_eq!(
        (close.door.as_deref(), close.to.as_deref()),
        (Some("ssh"), Some(CLIENT))
    );
    assert_eq!(close.text, "10.77.0.1: ssh: closed");
    let open = net.await_events(Kind::Open, 1)?;
    let until = open[0].until.ok_or("no end")?;
    let late = close.time.duration_since(until).as_millis();
    assert!((-50..5_000).contains(&late), "{late} ms late");
    Ok(())
}

fn knocks() -> Outcome {
    let shut = "[shut]\nsequence = 7009:udp\nclose = ssh\n";
    let net = Net::new(&format!("{SSH}{GAME}{shut}"))?;
    let _daemon = net.start()?;
    net.knock(CLIENT, &[7000, 8000])?;
    net.await_events(Kind::Open, 1)?;
    net.knock(CLIENT, &[7009])?;
    let closed = net.await_events(Kind::Close, 1)?;
    assert_eq!(closed[0].reason, Some(Reason::CloseKnock));
    assert_eq!(
        (closed[0].door.as_deref(), closed[0].who.as_ref()),
        (Some("ssh"), None)
    );
    assert_eq!(closed[0].text, "10.77.0.1: ssh: closed by shut");
    net.knock(CLIENT, &[7000, 9000])?;
    let broken = net.await_events(Kind::Broken, 1)?;
    assert_eq!(
        (broken[0].stage, broken[0].source),
        (Some(1), CLIENT.parse().ok())
    );
    let knocked = net.await_events(Kind::Knocked, 3)?;
    assert!(knocked.iter().all(|event| event.who.is_none()));
    let counters = net.status()?.counters;
    assert_eq!((counters.openings, counters.wrong), (3, 1));
    assert_eq!(counters.closings.get("close-knock"), Some(&1));
    Ok(())
}

fn kept() -> Outcome {
    let net = Net::new(SSH)?;
    let keep = net
        .configuration()?
        .replace("[options]\n", "[options]\non_stop = keep\n");
    net.configure(&keep)?;
    let mut daemon = net.start()?;
    net.ctl(&["open", "ssh", CLIENT])?;
    let mut follower = net.connect()?;
    follower.send(&knockd::control::Request::Events {
        since: None,
        follow: true,
    })?;
    signal(&daemon, Signal::TERM)?;
    exit_code(&mut daemon)?;
    let mut last = None;
    while let Ok(knockd::control::Answer::Event(event)) = follower.hear() {
        last = Some(event.kind);
    }
    assert_eq!(last, Some(Kind::Stop));
    let _next = net.start()?;
    let status = net.status()?;
    let grant = status.grants.shown.first().ok_or("no grant")?;
    assert_eq!((grant.to.as_str(), &grant.who), (CLIENT, &None));
    Ok(())
}

fn what_to_close() -> Outcome {
    let net = Net::new(&format!("{SSH}[web]\nsequence = 7001\nopen = tcp/80\n"))?;
    let _daemon = net.start()?;
    let open = || -> Outcome {
        for (door, address) in [
            ("ssh", CLIENT),
            ("ssh", OTHER),
            ("web", CLIENT),
            ("web", OTHER),
        ] {
            net.ctl(&["open", door, address])?;
        }
        Ok(())
    };
    open()?;
    assert_eq!(net.knockctl(&["close"])?.status.code(), Some(2));
    assert_eq!(
        net.knockctl(&["close", "ssh", "web"])?.status.code(),
        Some(2)
    );
    assert_eq!(net.ctl(&["close", "ssh", CLIENT])?.lines().count(), 1);
    assert_eq!(net.ctl(&["close", CLIENT])?, "10.77.0.1: web: closed\n");
    assert_eq!(net.ctl(&["close", "ssh"])?, "10.77.0.3: ssh: closed\n");
    open()?;
    assert_eq!(net.ctl(&["close", "--all"])?.lines().count(), 4);
    assert_eq!(net.status()?.grants.total, 0);
    Ok(())
}

fn refused() -> Outcome {
    let net = Net::new(&format!(
        "{SSH}[six]\nsequence = 7\ncommand_6 = true\n[other]\nsequence = 8\n"
    ))?;
    let _daemon = net.start()?;
    let said = net.ctl_fails(&["open", "shh", CLIENT])?;
    assert_eq!(
        said,
        "knockctl: there is no door 'shh' (there are: ssh, six, other)\n"
    );
    let said = net.ctl_fails(&["open", "ssh", CLIENT, "--for", "9000h"])?;
    assert!(
        said.contains("a door can be opened for 1s to 8784h"),
        "{said}"
    );
    let said = net.ctl_fails(&["open", "other", CLIENT])?;
    assert!(
        said.contains("opens nothing for an address of IPv4"),
        "{said}"
    );
    assert_eq!(
        net.knockctl(&["open", "ssh", "example.org"])?.status.code(),
        Some(2)
    );
    net.ctl(&["gate", "down"])?;
    net.await_log("the gate is down")?;
    let said = net.ctl_fails(&["open", "ssh", CLIENT])?;
    assert!(
        said.contains("it was not opened; the log says why"),
        "{said}"
    );
    let refusal = net.await_events(Kind::Refuse, 1)?;
    assert_eq!(refusal[0].reason, Some(Reason::GateDown));
    assert_eq!(
        net.status()?.gate.map(|gate| gate.state),
        Some(GateState::Down)
    );
    Ok(())
}

fn status() -> Outcome {
    let net = Net::new(&format!("{SSH}{GAME}"))?;
    let daemon = net.start()?;
    net.knock(CLIENT, &[7000])?;
    net.await_events(Kind::Step, 1)?;
    net.ctl(&["open", "ssh", OTHER])?;
    let status = net.status()?;
    assert_eq!(status.keeper.pid, daemon.id());
    let listener = status.listener.ok_or("no listener")?;
    assert!(listener.pid != daemon.id() && !listener.layers.is_empty());
    let interface = status.interfaces.first().ok_or("no interface")?;
    assert!(interface.name == "server0" && interface.up);
    assert!(interface.addresses.contains(&"10.77.0.2".parse()?));
    let names: Vec<_> = status.doors.iter().map(|door| door.name.as_str()).collect();
    assert_eq!(names, ["ssh", "game"]);
    assert_eq!((status.doors[0].steps, status.doors[1].steps), (2, 1));
    let attempt = status.attempts.shown.first().ok_or("no attempt")?;
    assert_eq!(
        (attempt.stage, attempt.steps, status.attempts.total),
        (1, 2, 1)
    );
    assert!((1..=25_000).contains(&attempt.left_ms));
    let grant = status.grants.shown.first().ok_or("no grant")?;
    assert_eq!(
        (grant.to.as_str(), grant.services.as_slice()),
        (OTHER, &["tcp/22".to_owned()][..])
    );
    let gate = status.gate.ok_or("no gate")?;
    assert_eq!((gate.state, gate.elements.total), (GateState::Up, 1));
    assert_eq!(gate.elements.shown[0].to, OTHER);
    assert_eq!(status.counters.knocks, 1);
    // As the kernel has it, not as we believe.
    net.nft("flush ruleset")?;
    net.await_events(Kind::Gate, 2)?;
    net.eventually("it is mended", || {
        let gate = net.status().ok().and_then(|status| status.gate);
        gate.is_some_and(|gate| gate.state == GateState::Up && gate.elements.total == 1)
    })
}

fn table() -> Outcome {
    let net = Net::new(&format!("{SSH}{GAME}"))?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", CLIENT])?;
    net.ctl(&["open", "game", "fd77::1"])?;
    net.knock(OTHER, &[7000])?;
    net.await_events(Kind::Step, 1)?;
    let text = net.ctl(&["status"])?;
    for line in text
        .lines()
        .filter(|line| !line.starts_with("configuration"))
    {
        assert!(line.chars().count() <= 80, "{line:?}\n{text}");
    }
    for words in [
        "keeper ",
        "held by: ",
        "server0  up  10.77.0.2, ",
        "ssh   2 knocks  opens tcp/22 for 30s",
        "game  1 knock   commands, 40s apart",
        "attempts: 1\n  10.77.0.3  ssh  1 of 2",
        "grants: 2",
        "operator uid 0",
        "gate, as the kernel has it: up",
        "1 ways open",
        "counters",
    ] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&net.ctl(&["status", "--json"])?)?;
    assert_eq!(json["grants"]["total"], 2);
    Ok(())
}

fn follow() -> Outcome {
    let net = Net::new(SSH)?;
    let mut daemon = net.start()?;
    let last = net.status()?.last_event;
    let mut command = std::process::Command::new(crate::net::KNOCKCTL);
    command
        .args(["events", "--json", "--follow", "--since"])
        .arg((last + 1).to_string())
        .arg("-s")
        .arg(net.path("sock"))
        .stdout(std::fs::File::create(net.path("followed"))?);
    let mut follower = net.server.spawn(&mut command)?;
    net.knock(CLIENT, &[7000, 8000])?;
    net.eventually("all of it", || {
        net.read("followed").contains("\"kind\":\"open\"")
    })?;
    signal(&daemon, Signal::TERM)?;
    exit_code(&mut daemon)?;
    assert_eq!(exit_code(&mut follower)?, Some(1));
    let text = net.read("followed");
    let events: Result<Vec<Event>, _> = text.lines().map(serde_json::from_str).collect();
    let events = events?;
    let told = ["step", "step", "knocked", "open", "stop", "close"];
    assert_eq!(kinds(&events), told, "{text}");
    let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (last + 1..=last + 6).collect::<Vec<_>>());
    assert_eq!(events[5].reason, Some(Reason::Stop));
    Ok(())
}

fn nobody() -> Outcome {
    let net = Net::new(SSH)?;
    for command in [&["status"][..], &["reload"], &["events"], &["close", "ssh"]] {
        let said = net.ctl_fails(command)?;
        assert!(
            said.starts_with("knockctl: knockd does not run, or does not answer at"),
            "{said}"
        );
    }
    let none = net
        .configuration()?
        .replace("control_socket = ", "control_socket = none\n#");
    net.configure(&none)?;
    let _daemon = net.start()?;
    assert!(!net.path("sock").exists());
    let said = net.ctl_fails(&["status"])?;
    assert!(said.contains("`control_socket = none`"), "{said}");
    Ok(())
}
