//! Commands beside doors, and those that run once.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::site::{Site, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("hooks_are_told_what_has_happened", told),
    ("a_door_has_its_own_hooks_or_none", own),
    ("hooks_that_hang_keep_no_command_waiting", hanging),
    ("a_hook_that_fails_is_said", failing),
    ("what_runs_once_frames_the_run", once),
    (
        "an_on_start_that_fails_keeps_nothing_from_starting",
        bad_start,
    ),
];

/// Writes what a hook is told into a file of its own.
const TELL: &str = "env | grep ^KNOCK_ > tmp.$$; mv tmp.$$ told.$KNOCK_EVENT";

/// What a hook was told at the event `event`.
fn told_at(site: &Site, event: &str) -> Outcome<BTreeMap<String, String>> {
    let file = format!("told.{event}");
    eventually(&file, || site.path(&file).exists())
        .map_err(|error| format!("{error}:\n{}", site.read("log")))?;
    let text = site.read(&file);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

fn stop(mut process: knockd::lab::Process) -> Outcome {
    process.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    Ok(())
}

fn told() -> Outcome {
    let site = Site::new(&format!(
        "on_open = {TELL}\non_close = {TELL}\n\
         [ssh]\nsequence = 7000:udp\nopen = tcp/22, icmp\nopen_for = 1s\ncommand = touch ran\n"
    ))?;
    let process = site.start(&[])?;
    site.knock(&[7000])?;
    let open = told_at(&site, "open")?;
    let close = told_at(&site, "close")?;
    let of =
        |told: &BTreeMap<String, String>, key: &str| told.get(key).cloned().unwrap_or_default();
    for (key, value) in [
        ("KNOCK_IP", "127.0.0.1"),
        ("KNOCK_TO", "127.0.0.1"),
        ("KNOCK_DOOR", "ssh"),
        ("KNOCK_FAMILY", "inet"),
        ("KNOCK_SERVICES", "tcp/22, icmp"),
        ("KNOCK_WHO", ""),
        ("KNOCK_REASON", ""),
    ] {
        assert_eq!(of(&open, key), value, "{key}");
    }
    let until: jiff::Timestamp = of(&open, "KNOCK_UNTIL").parse()?;
    let time: jiff::Timestamp = of(&open, "KNOCK_TIME").parse()?;
    let open_for = until.duration_since(time).as_millis();
    assert!((900..=1_100).contains(&open_for), "{open_for}");
    assert_eq!(
        (of(&close, "KNOCK_REASON"), of(&close, "KNOCK_IP")),
        ("time".into(), "127.0.0.1".into())
    );
    eventually("the door's own command", || site.path("ran").exists())?;
    stop(process)
}

fn own() -> Outcome {
    let site = Site::new(
        "on_open = echo all $KNOCK_DOOR >> hits\n\
         [A]\nsequence = 7000:udp\non_open = echo own %IP% %DOOR% >> hits\n\
         [B]\nsequence = 7100:udp\non_open =\n\
         [C]\nsequence = 7200:udp\ncommand = true\n",
    )?;
    let process = site.start(&[])?;
    site.knock(&[7100, 7000])?;
    eventually("the hook of A", || site.read("hits").contains("own"))?;
    site.knock(&[7200])?;
    eventually("that of C", || site.read("hits").contains("all"))?;
    assert_eq!(site.read("hits"), "own 127.0.0.1 A\nall C\n");
    stop(process)
}

fn hanging() -> Outcome {
    let site = Site::new(
        "max_commands = 1\non_open = echo x >> began; exec sleep 1000\n\
         [A]\nsequence = 7000:udp\ncommand = echo x >> hits\n",
    )?;
    let process = site.start(&[])?;
    for count in 1..=5 {
        site.knock(&[7000])?;
        eventually("the command", || site.read("hits").lines().count() == count)?;
    }
    eventually("one hook", || site.read("began").lines().count() == 1)?;
    assert!(!site.read("log").contains("this one waits"));
    // Nor do they keep it from stopping.
    let begin = std::time::Instant::now();
    stop(process)?;
    assert!(begin.elapsed() < std::time::Duration::from_secs(3));
    Ok(())
}

fn failing() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\non_open = exit 9\n")?;
    let process = site.start(&[])?;
    site.knock(&[7000])?;
    site.await_log("127.0.0.1: A: on_open: command returned non-zero status code (9)")?;
    stop(process)
}

fn once() -> Outcome {
    let site = Site::new(
        "on_start = echo $KNOCK_EVENT >> order\non_exit = echo $KNOCK_EVENT >> order\n\
         [A]\nsequence = 7000:udp\ncommand = echo start >> order\nstop_command = echo stop >> order\n",
    )?;
    let process = site.start(&[])?;
    assert_eq!(
        site.read("order"),
        "daemon-start\n",
        "before the daemon says that it is up"
    );
    site.knock(&[7000])?;
    eventually("the command", || site.read("order").contains("\nstart"))?;
    process.signal(Signal::HUP)?;
    site.await_log("re-reading config file")?;
    stop(process)?;
    assert_eq!(
        site.read("order"),
        "daemon-start\nstart\nstop\ndaemon-exit\n"
    );
    // Who may not run at all runs nothing.
    let pidfile = site.path("pid").display().to_string();
    let args = ["-d", "-c", "knockd.conf", "-g", "log", "-p", &pidfile];
    assert!(site.output(&mut site.knockd(&args))?.status.success());
    let other = crate::site::Stranger::of(&site.path("pid"))?;
    let second = site.output(&mut site.knockd(&args))?;
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(site.read("order").matches("daemon-start").count(), 2);
    drop(other);
    Ok(())
}

fn bad_start() -> Outcome {
    let site = Site::new("on_start = exit 3\n[A]\nsequence = 7000:udp\n")?;
    let process = site.start(&[])?;
    site.await_log("on_start: command returned non-zero status code (3)")?;
    site.knock(&[7000])?;
    site.await_log("OPEN SESAME")?;
    stop(process)
}
