//! How the socket comes and goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::net::{Net, exit_code, signal};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "a_daemon_that_was_killed_leaves_a_socket_that_the_next_one_replaces",
        stale,
    ),
    ("a_second_daemon_does_not_start_at_the_same_socket", second),
    (
        "at_the_usual_place_a_second_daemon_does_without_and_says_so",
        usual,
    ),
    ("in_the_background_it_can_be_asked_too", background),
    ("what_is_no_socket_is_left_alone", no_socket),
];

const DOOR: &str = "[A]\nsequence = 7000:udp\ncommand = true\n";

fn stale() -> Outcome {
    let net = Net::new(DOOR)?;
    let mut daemon = net.start()?;
    let mode = fs::metadata(net.path("sock"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let run = net.status()?.run;
    signal(&daemon, Signal::KILL)?;
    exit_code(&mut daemon)?;
    assert!(net.path("sock").exists());
    let next = net.start()?;
    let status = net.status()?;
    assert_eq!(status.keeper.pid, next.id());
    assert_ne!(status.run, run);
    assert_eq!(net.events()?.first().map(|event| event.seq), Some(1));
    Ok(())
}

fn second() -> Outcome {
    let net = Net::new(DOOR)?;
    let first = net.start()?;
    let mut second = net.server.spawn(&mut net.knockd()?)?;
    assert_eq!(exit_code(&mut second)?, Some(1));
    let said = net.read("stderr");
    let words = format!("sock: another daemon answers there: process {}", first.id());
    assert!(said.contains(&words), "{said}");
    assert_eq!(net.status()?.keeper.pid, first.id());
    Ok(())
}

/// `/run` is this test's own ([`knockd::lab::isolate`]); the other cases name their sockets.
fn usual() -> Outcome {
    let (net, other) = (Net::new(DOOR)?, Net::new(DOOR)?);
    for net in [&net, &other] {
        let usual = net
            .configuration()?
            .replace("control_socket", "# control_socket");
        net.configure(&usual)?;
    }
    let first = net.start()?;
    assert!(
        net.ctl(&["status"])?
            .contains(&format!("keeper {}, uid 0", first.id()))
    );
    let _second = other.start()?;
    let why = format!("another daemon answers there: process {}", first.id());
    other.await_log(&format!(
        "no control socket (/run/knockd/control.sock: {why})"
    ))?;
    net.ctl(&["reload"])?;
    assert!(!net.read("log").contains("stays as it is"));
    signal(&first, Signal::TERM)?;
    net.eventually("it goes with its daemon", || {
        !std::path::Path::new("/run/knockd/control.sock").exists()
    })
}

fn background() -> Outcome {
    let net = Net::new(DOOR)?;
    let mut command = net.knockd()?;
    command.args(["-d", "-p", "pid"]);
    let mut launcher = net.server.spawn(&mut command)?;
    assert_eq!(exit_code(&mut launcher)?, Some(0));
    let status = net.status()?;
    assert_eq!(net.read("pid").trim(), status.keeper.pid.to_string());
    let pid = rustix::process::Pid::from_raw(i32::try_from(status.keeper.pid)?);
    let pid = pid.ok_or("no process id")?;
    rustix::process::kill_process(pid, Signal::TERM)?;
    net.eventually("its end", || !net.path("sock").exists())
}

fn no_socket() -> Outcome {
    let net = Net::new(DOOR)?;
    fs::write(net.path("sock"), "mine")?;
    let mut daemon = net.server.spawn(&mut net.knockd()?)?;
    assert_eq!(exit_code(&mut daemon)?, Some(1));
    assert!(
        net.read("stderr")
            .contains("something is there that is no socket")
    );
    assert_eq!(net.read("sock"), "mine");
    fs::remove_file(net.path("sock"))?;
    drop(UnixListener::bind(net.path("sock"))?);
    let _daemon = net.start()?;
    net.status()?;
    Ok(())
}
