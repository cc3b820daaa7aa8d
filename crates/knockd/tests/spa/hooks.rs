//! Hooks and the audit trail say who has opened a door, or was refused.

use std::fs;
use std::process::Command;

use knock_spa::Outcome as Answer;

use super::codes::{codes, type_in};
use super::net::{CLIENT, Net, SERVER, Wish, alice, opened};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "hooks_and_the_trail_name_the_key_of_a_sealed_packet",
        sealed,
    ),
    ("hooks_and_the_trail_name_a_code_on_paper", paper),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n\
    on_open = echo $KNOCK_EVENT by $KNOCK_WHO for $KNOCK_SERVICES >> told\n\
    on_refuse = echo $KNOCK_EVENT by $KNOCK_WHO: $KNOCK_REASON >> told\n";

fn net() -> Outcome<Net> {
    let net = Net::new(SSH)?;
    net.set_option(&format!("audit_file = {}", net.path("audit").display()))?;
    Ok(net)
}

fn told(net: &Net, line: &str) -> Outcome {
    let read = |file| fs::read_to_string(net.path(file)).unwrap_or_default();
    net.eventually(&format!("told: {line}"), || {
        read("told").lines().any(|told| told.ends_with(line))
    })
    .map_err(|error| format!("{error}\n{}", read("told")).into())
}

/// What `knockctl audit report` says.
fn report(net: &Net, options: &[&str]) -> Outcome<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command
        .args(["audit", "report", "-c"])
        .arg(net.path("knockd.conf"))
        .args(options);
    let output = net.server.run(|| command.output())??;
    Ok(String::from_utf8(output.stdout)?)
}

fn sealed() -> Outcome {
    let net = net()?;
    let _daemon = net.start()?;
    let wish = Wish::of(alice(), "ssh");
    opened(&net.knock(CLIENT, &wish)?)?;
    told(&net, " (alice@laptop) for tcp/22")?;
    let late = Wish {
        off: -3_600_000,
        ..wish
    };
    let reply = net.knock(CLIENT, &late)?;
    assert!(matches!(reply.outcome, Answer::Refused(_)));
    told(&net, " (alice@laptop): clock-off")?;
    let text = report(&net, &["--port", "22", "--who", "alice"])?;
    for line in [
        "still open",
        "    ssh: tcp/22, to 10.77.0.1",
        "(alice@laptop)",
    ] {
        assert!(text.lines().any(|told| told.ends_with(line)), "{text}");
    }
    assert!(text.contains("refused: 1 clock-off"), "{text}");
    assert!(report(&net, &["--who", "bob"])?.contains("nobody was let in"));
    net.knockctl(&["audit", "verify"])?;
    Ok(())
}

fn paper() -> Outcome {
    let net = net()?;
    let _daemon = net.start()?;
    let [code] = codes(&net, "ssh")?;
    type_in(&net, &code, SERVER)?;
    told(&net, "open by a code on paper for tcp/22")?;
    type_in(&net, &code, SERVER)?;
    told(&net, "refuse by a code on paper: spent")?;
    // Of what a stranger makes up there is neither.
    type_in(&net, "AAAAA-AAAAA-AAAAA-AAAAA", SERVER)?;
    let text = report(&net, &[])?;
    assert!(text.contains("    who: a code on paper\n"), "{text}");
    assert!(text.contains("refused: 1 spent"), "{text}");
    Ok(())
}
