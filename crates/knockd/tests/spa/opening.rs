//! Who has a key.

use std::net::UdpSocket;

use knock_spa::{Outcome as Answer, Purpose, Refusal};
use knockd::control::client::Connection;
use knockd::control::{Answer as Told, Request};
use knockd::events::Who;
use rustix::process::Signal;

use crate::net::{
    CLIENT, CLIENT_6, Net, OTHER, SERVER, SERVER_6, Wish, alice, line, mallory, opened, receive,
    send,
};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_knock_opens_for_its_source_and_is_answered", opens),
    ("operators_are_told_whose_key_it_was", told),
    ("over_ipv6_too", over_ipv6),
    ("the_time_asked_for_counts_up_to_the_most", time),
    ("it_can_be_asked_and_closed", asked_and_closed),
    ("commands_run_for_it", commands),
    (
        "an_address_is_confirmed_where_the_door_wants_it",
        confirmation,
    ),
    ("a_claim_can_be_asked_for_and_must_be_true", claims),
    ("who_has_a_key_is_told_why_not", refusals),
    ("keys_of_people_count_from_the_next_knock_on", people),
    ("who_is_revoked_is_told_so_from_the_next_knock_on", revoked),
    ("keys_of_the_site_are_rotated", rotation),
    ("a_door_has_a_sequence_and_sealed_packets", both),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

fn wish() -> Wish {
    Wish::of(alice(), "ssh")
}

fn opens() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    net.eventually("the port is guarded", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    let reply = net.knock(CLIENT, &wish())?;
    let (until, what) = opened(&reply)?;
    assert_eq!(what, "tcp/22");
    assert_eq!(reply.seen.to_string(), CLIENT);
    let left = until.ok_or("for ever")?.since(reply.time);
    assert!((29_000..=30_000).contains(&left), "{left}");
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    net.await_log("10.77.0.1: ssh: opened by SHA256:")?;
    net.await_log("(alice@laptop)")
}

fn told() -> Outcome {
    let net = Net::new(SSH)?;
    let socket = net.path("sock");
    net.set_option(&format!("control_socket = {}", socket.display()))?;
    let _daemon = net.start()?;
    net.knock(CLIENT, &wish())?;
    // The clock of this one is not ours: a key that may open, and does not.
    let late = Wish {
        off: -3_600_000,
        ..wish()
    };
    net.knock(OTHER, &late)?;
    let mut operator = Connection::open(&socket)?;
    let Told::Status(status) = operator.ask(&Request::Status {})? else {
        return Err("no status".into());
    };
    let grant = status.grants.shown.first().ok_or("no grant")?;
    let Some(Who::Key(name)) = &grant.who else {
        return Err(format!("{grant:?}").into());
    };
    let is_alice = name.starts_with("SHA256:") && name.ends_with("(alice@laptop)");
    assert!(is_alice && grant.to == CLIENT, "{grant:?}");
    assert_eq!(status.counters.refusals.get("clock-off"), Some(&1));
    Ok(())
}

fn over_ipv6() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    net.eventually("an answer", || net.knock(CLIENT_6, &wish()).is_ok())?;
    assert!(net.reaches(CLIENT_6, SERVER_6, 22)?);
    Ok(())
}

fn time() -> Outcome {
    let net = Net::new(&format!("{SSH}ttl_max = 5m\n"))?;
    let _daemon = net.start()?;
    for (asked, given) in [(100, 100), (1000, 300), (2, 2)] {
        let wish = Wish {
            open_for: Some(asked),
            ..wish()
        };
        let reply = net.knock(CLIENT, &wish)?;
        let left = opened(&reply)?.0.ok_or("for ever")?.since(reply.time);
        let given = given * 1000;
        assert!((given - 1000..=given).contains(&left), "{asked}: {left}");
    }
    net.eventually("it is closed in its time", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })
}

fn asked_and_closed() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let of = |purpose| Wish { purpose, ..wish() };
    let reply = net.knock(CLIENT, &of(Purpose::Ask))?;
    assert!(matches!(reply.outcome, Answer::WouldOpen { .. }));
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    opened(&net.knock(CLIENT, &wish())?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    let reply = net.knock(CLIENT, &of(Purpose::Close))?;
    assert_eq!(reply.outcome, Answer::Closed);
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

fn commands() -> Outcome {
    let doors = "[ssh]\nauthorized_keys = %K%\nstart_command = echo start %IP% >> hits\n\
                 cmd_timeout = 1\nstop_command = echo stop %IP% >> hits\n";
    let net = Net::new(doors)?;
    let _daemon = net.start()?;
    opened(&net.knock(CLIENT, &wish())?)?;
    let hits = || std::fs::read_to_string(net.path("hits")).unwrap_or_default();
    net.eventually("both commands", || {
        hits() == "start 10.77.0.1\nstop 10.77.0.1\n"
    })
}

fn confirmation() -> Outcome {
    let net = Net::new(&format!("{SSH}confirm = yes\n"))?;
    let _daemon = net.start()?;
    let (datagram, pending) = wish().seal(&net.profile()?)?;
    let socket = net.socket(CLIENT)?;
    let ask = |datagram: &[u8]| -> Outcome<_> {
        send(&socket, CLIENT, datagram)?;
        Ok(receive(&socket)?.ok_or("no answer")?)
    };
    let reply = pending.open(&ask(&datagram)?)?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    let confirmed = pending.confirm(&reply, &mut knockd::spa::SystemRng);
    let (datagram, pending) = confirmed.ok_or("no question")?;
    // Whoever has heard it is somewhere else.
    let elsewhere = net.socket(OTHER)?;
    send(&elsewhere, OTHER, &datagram)?;
    receive(&elsewhere)?;
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    opened(&pending.open(&ask(&datagram)?)?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    let claims = Wish {
        claimed: Some(CLIENT),
        ..wish()
    };
    opened(&net.knock(CLIENT, &claims)?).map(drop)
}

fn claims() -> Outcome {
    let net = Net::new(&format!("{SSH}require_claim = yes\n"))?;
    let _daemon = net.start()?;
    let claims = |claimed| Wish { claimed, ..wish() };
    for wrong in [None, Some(OTHER), Some(CLIENT_6)] {
        let reply = net.knock(CLIENT, &claims(wrong))?;
        assert_eq!(reply.outcome, Answer::Refused(Refusal::AddressMismatch));
    }
    opened(&net.knock(CLIENT, &claims(Some(CLIENT)))?).map(drop)
}

fn refusals() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let late = Wish {
        off: -100_000,
        ..wish()
    };
    let outcome = net.knock(CLIENT, &late)?.outcome;
    assert!(
        matches!(
            outcome,
            Answer::Refused(Refusal::ClockOff(-110_000..=-100_000))
        ),
        "{outcome:?}"
    );
    let other = Wish::of(alice(), "web");
    let outcome = net.knock(CLIENT, &other)?.outcome;
    assert_eq!(outcome, Answer::Refused(Refusal::UnknownDoor));
    net.await_log("10.77.0.1: web: refused: no such door for this key: SHA256:")
}

fn people() -> Outcome {
    let net = Net::new(&format!(
        "{SSH}[web]\nauthorized_keys = %K%.web\nopen = tcp/80\n"
    ))?;
    net.write("keys.web", "")?;
    let _daemon = net.start()?;
    let mallory = Wish::of(mallory(), "ssh");
    assert!(net.knock(CLIENT, &mallory).is_err());
    net.write("keys", &line(&mallory.key, "not so bad"))?;
    opened(&net.knock(CLIENT, &mallory)?)?;
    assert!(net.knock(CLIENT, &wish()).is_err(), "no longer");
    let web = Wish {
        door: "web",
        ..mallory
    };
    let outcome = net.knock(CLIENT, &web)?.outcome;
    assert_eq!(outcome, Answer::Refused(Refusal::UnknownDoor));
    Ok(())
}

fn revoked() -> Outcome {
    let net = Net::new(SSH)?;
    let list = net.path("revoked");
    net.set_option(&format!("RevokedKeys = {}", list.display()))?;
    let _daemon = net.start()?;
    net.await_log("revoked: No such file or directory: no sealed packet is taken")?;
    assert!(net.knock(CLIENT, &wish()).is_err(), "closed, and silent");
    net.write("revoked", "# nobody yet\n")?;
    opened(&net.knock(CLIENT, &wish())?)?;
    net.write("revoked", &line(&alice(), ""))?;
    let outcome = net.knock(CLIENT, &wish())?.outcome;
    assert_eq!(outcome, Answer::Refused(Refusal::Revoked));
    net.await_log("10.77.0.1: ssh: refused: the key or its certificate is revoked: SHA256:")?;
    net.write("revoked", "SHA256:nonsense\n")?;
    assert!(net.knock(CLIENT, &wish()).is_err());
    net.await_log("revoked:1:1: not a fingerprint")
}

fn rotation() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let old = net.profile()?;
    net.knockctl(&["keys", "rotate"])?;
    assert!(
        net.knockctl(&["keys", "show"])?
            .contains("epoch 1 (previous)")
    );
    net.signal(&daemon, Signal::HUP)?;
    net.await_log("(epoch 2)")?;
    net.eventually("the new keys", || net.knock(CLIENT, &wish()).is_ok())?;
    let (datagram, pending) = wish().seal(&old)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, &datagram)?;
    opened(&pending.open(&receive(&socket)?.ok_or("no answer")?)?)?;
    Ok(())
}

fn both() -> Outcome {
    let net = Net::new(&format!(
        "{SSH}sequence = 7000:udp,8000:udp\nopen_for = 2s\n"
    ))?;
    let _daemon = net.start()?;
    let socket: UdpSocket = net.socket(OTHER)?;
    for port in [7000, 8000] {
        socket.send_to(&[0], (SERVER, port))?;
    }
    net.await_log("10.77.0.3: ssh: OPEN SESAME")?;
    net.eventually("it is open", || {
        net.reaches(OTHER, SERVER, 22).unwrap_or(false)
    })?;
    opened(&net.knock(CLIENT, &wish())?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}
