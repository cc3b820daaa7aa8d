//! Another configuration, or another log level, for a daemon that runs.

use knockd::control::LogLevel;
use knockd::events::{Kind, Reason};

use crate::net::{CLIENT, KNOCKCTL, Net, OTHER};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_reload_tells_its_mistakes_and_what_runs_goes_on", reload),
    (
        "log_level_debug_shows_wrong_knocks_until_the_next_reload",
        log_level,
    ),
    (
        "a_reload_without_the_door_says_that_its_grants_are_gone",
        reload_away,
    ),
];

const SSH: &str = "[ssh]\nsequence = 7000:udp,8000:udp\nopen = tcp/22\nopen_for = 30\n";
const GAME: &str = "[game]\nsequence = 9000:udp\ncommand = true\n";

fn reload() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let before = net.configuration()?;
    net.configure(&before.replace("sequence", "sequense"))?;
    let said = net.ctl_fails(&["reload"])?;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[0],
        "knockctl: the configuration that was running stays in force"
    );
    assert!(lines[1].contains("knockd.conf:6:1: error:"), "{said}");
    // The log has the same line.
    assert!(net.read("log").contains(lines[1]));
    assert_eq!(net.await_events(Kind::ReloadFailed, 1)?.len(), 1);
    assert_eq!(net.status()?.doors.len(), 1);
    net.configure(&format!("{before}{GAME}"))?;
    assert!(
        net.ctl(&["reload"])?
            .ends_with("the configuration is in force\n")
    );
    assert_eq!(net.status()?.doors.len(), 2);
    assert_eq!(net.await_events(Kind::Reload, 1)?.len(), 1);
    let stays = "the control socket stays as it is until the daemon is started anew";
    assert!(!net.read("log").contains(stays));
    // The socket is the same one after it, and another place is said to need a restart.
    net.configure(&before.replace("/sock", "/other"))?;
    let sock = net.path("sock");
    let mut command = std::process::Command::new(KNOCKCTL);
    command.arg("reload").arg("-s").arg(&sock);
    assert!(command.output()?.status.success());
    net.await_log(stays)?;
    net.status()?;
    Ok(())
}

fn log_level() -> Outcome {
    let net = Net::new(SSH)?;
    let _daemon = net.start()?;
    let wrong = |count: usize| -> Outcome {
        net.knock(CLIENT, &[7000, 7000, 8000, 8000])?;
        net.knock(OTHER, &[7000])?;
        net.await_events(Kind::Open, count)?;
        Ok(())
    };
    let doors = format!(
        "{}[b]\nsequence = 1000:udp,2000:udp\ncommand = true\n",
        net.configuration()?
    );
    net.configure(&doors)?;
    net.ctl(&["reload"])?;
    net.knock(CLIENT, &[7000, 1000])?;
    net.await_events(Kind::Broken, 1)?;
    assert!(!net.read("log").contains("wrong knock"));
    net.ctl(&["log-level", "debug"])?;
    assert_eq!(net.status()?.log_level, LogLevel::Debug);
    net.knock(OTHER, &[7000, 1000])?;
    net.await_log("10.77.0.3: ssh: wrong knock 1000:udp (stage 1)")?;
    net.await_log("log level debug, by operator uid 0")?;
    net.ctl(&["reload"])?;
    assert_eq!(net.status()?.log_level, LogLevel::Info);
    wrong(1)
}

fn reload_away() -> Outcome {
    let net = Net::new(&format!("{SSH}{GAME}"))?;
    let _daemon = net.start()?;
    net.ctl(&["open", "ssh", CLIENT])?;
    let without = net.configuration()?.replace(SSH, "");
    net.configure(&without)?;
    net.ctl(&["reload"])?;
    let closed = net.await_events(Kind::Close, 1)?;
    assert_eq!(closed[0].reason, Some(Reason::GateDown));
    assert!(net.ssh(CLIENT)?.is_some(), "nothing is guarded");
    assert_eq!(net.status()?.grants.total, 0);
    Ok(())
}
