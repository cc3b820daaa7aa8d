//! The process that reads packets: what the kernel says of it, and what its death changes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::site::{Site, eventually, exit_code, listener_of, status_of};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("the_listener_has_nothing_and_the_daemon_works", nothing),
    (
        "a_killed_listener_takes_neither_attempts_nor_grants_with_it",
        killed,
    ),
    ("signals_for_the_daemon_do_not_reach_its_listener", signals),
    (
        "the_keeper_keeps_no_capability_that_its_doors_do_not_need",
        keeper,
    ),
    (
        "a_reload_says_when_commands_would_need_what_was_given_up",
        reload,
    ),
    (
        "both_processes_have_their_turn_soon_and_commands_as_everybody",
        turns,
    ),
    ("a_listener_does_not_outlive_its_keeper", orphan),
    ("an_account_that_does_not_exist_is_an_error", no_account),
    (
        "without_an_account_of_its_own_it_is_nobody_with_a_warning",
        nobody,
    ),
];

const DOOR: &str = "[A]\nsequence = 7000:udp,8000:udp,9000:udp\ncommand = echo %IP% >> hits\n";

/// As root, the listener has an account of its own; otherwise the daemon's.
fn account(listener: Pid) -> Outcome<String> {
    status_of(listener, "Uid")
}

fn is_real_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root() && map.split_whitespace().last() != Some("1")
}

fn nothing() -> Outcome {
    let site = Site::new(DOOR)?;
    let daemon = site.start(&[])?;
    let listener = listener_of(daemon.id())?;
    let status = |name| status_of(listener, name);
    if is_real_root() {
        assert!(
            !account(listener)?.split(' ').any(|id| id == "0"),
            "{}",
            account(listener)?
        );
        assert!(!status("Gid")?.split(' ').any(|id| id == "0"));
        assert_eq!(status("Groups")?, "");
        assert_eq!(status("CapBnd")?, "0000000000000000");
        // What is not dumpable belongs to root (proc(5)).
        let environ = format!("/proc/{}/environ", listener.as_raw_pid());
        assert_eq!(fs::metadata(environ)?.uid(), 0);
    }
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status(set)?, "0000000000000000", "{set}");
    }
    assert_eq!(status("NoNewPrivs")?, "1");
    assert_eq!(
        (status("Seccomp")?, status("Seccomp_filters")?),
        ("2".into(), "1".into())
    );
    assert_eq!(status("Threads")?, "1");
    assert_eq!(status("Name")?, "knockd-listener");
    let fds = fs::read_dir(format!("/proc/{}/fd", listener.as_raw_pid()))?.count();
    assert_eq!(fds, 4, "orders, reports, last words, packets");
    site.knock(&[7000, 8000, 9000])?;
    eventually("the door opens", || site.read("hits") == "127.0.0.1\n")
}

fn killed() -> Outcome {
    let door = "[A]\nsequence = 7000:udp,8000:udp,9000:udp\n\
                start_command = echo start >> hits\ncmd_timeout = 1\nstop_command = echo stop >> hits\n";
    let site = Site::new(door)?;
    let daemon = site.start(&[])?;
    site.knock(&[7000, 8000, 9000, 7000, 8000])?;
    eventually("the grant", || site.read("hits") == "start\n")?;
    let first = listener_of(daemon.id())?;
    kill_process(first, Signal::KILL)?;
    site.await_log("the listener was killed by signal 9; another one is started")?;
    site.await_log("a new listener is ready after ")?;
    assert_ne!(listener_of(daemon.id())?, first);
    site.knock(&[9000])?;
    eventually("its attempt went on", || {
        site.read("hits").matches("start").count() == 2
    })?;
    eventually("both grants end", || {
        site.read("hits").matches("stop").count() == 2
    })
}

fn signals() -> Outcome {
    let site = Site::new(DOOR)?;
    let mut daemon = site.start(&[])?;
    let listener = listener_of(daemon.id())?;
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::USR1,
        Signal::PIPE,
    ] {
        kill_process(listener, signal)?;
    }
    site.knock(&[7000, 8000, 9000])?;
    eventually("the door opens", || !site.read("hits").is_empty())?;
    assert_eq!(listener_of(daemon.id())?, listener);
    daemon.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut daemon)?, Some(15));
    assert!(
        !site.read("log").contains("another one"),
        "{}",
        site.read("log")
    );
    Ok(())
}

fn keeper() -> Outcome {
    if !is_real_root() {
        return Ok(());
    }
    const RESTART: u64 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 23;
    for (door, all_to_gain) in [
        (DOOR.to_owned(), true),
        (format!("{DOOR}user = nobody\n"), false),
        ("[A]\nsequence = 7000:udp\n".to_owned(), false),
    ] {
        let site = Site::new(&door)?;
        let daemon = site.start(&[])?;
        let pid = Pid::from_raw(i32::try_from(daemon.id())?).ok_or("no process")?;
        let set = |name| -> Outcome<u64> { Ok(u64::from_str_radix(&status_of(pid, name)?, 16)?) };
        // Of what we have ourselves: a container's root may not have all of it.
        let own = Pid::from_raw(i32::try_from(std::process::id())?).ok_or("no process")?;
        let kept = RESTART & u64::from_str_radix(&status_of(own, "CapPrm")?, 16)?;
        assert_eq!((set("CapEff")?, set("CapPrm")?), (kept, kept), "{door}");
        assert_eq!(set("CapBnd")? != kept, all_to_gain, "{door}");
        // It can do all that it must, again and again.
        kill_process(listener_of(daemon.id())?, Signal::KILL)?;
        site.await_log("a new listener is ready")?;
        assert!(
            !account(listener_of(daemon.id())?)?.contains("0 0"),
            "{door}"
        );
    }
    Ok(())
}

fn reload() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\n")?;
    let daemon = site.start(&[])?;
    daemon.signal(Signal::HUP)?;
    site.await_log("re-opening log file")?;
    site.write("knockd.conf", &format!("[options]\ninterface = lo\n{DOOR}"))?;
    daemon.signal(Signal::HUP)?;
    site.await_log("has given up at its start what they may need; restart it")?;
    assert_eq!(site.read("log").matches("restart it").count(), 1);
    Ok(())
}

/// Field 19 of `/proc/PID/stat` is the nice value (proc_pid_stat(5)).
fn nice_of(stat: &str) -> Outcome<i32> {
    let (_, rest) = stat.rsplit_once(')').ok_or("no name")?;
    let nice = rest.split_whitespace().nth(16).ok_or("no such field")?;
    Ok(nice.parse()?)
}

fn turns() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\ncommand = cat /proc/self/stat > hits\n")?;
    let daemon = site.start(&[])?;
    let listener = listener_of(daemon.id())?.as_raw_pid();
    let own = nice_of(&fs::read_to_string("/proc/self/stat")?)?;
    let (soon, usual) = match is_real_root() {
        true => (own.min(-10), 0),
        false => (own, own.max(0)),
    };
    for process in [i32::try_from(daemon.id())?, listener] {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        assert_eq!(nice_of(&stat)?, soon);
    }
    site.knock(&[7000])?;
    eventually("the command", || site.read("hits").ends_with('\n'))?;
    assert_eq!(nice_of(&site.read("hits"))?, usual);
    Ok(())
}

fn orphan() -> Outcome {
    let site = Site::new(DOOR)?;
    let daemon = site.start(&[])?;
    let listener = listener_of(daemon.id())?;
    daemon.signal(Signal::KILL)?;
    let status = format!("/proc/{}/status", listener.as_raw_pid());
    eventually("the end of the listener", || {
        fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"))
    })
}

fn no_account() -> Outcome {
    if !is_real_root() {
        return Ok(());
    }
    for (name, why) in [
        ("nosuchaccount", "there is no account 'nosuchaccount'"),
        ("root", "the account 'root' is root's"),
    ] {
        let site = Site::new(&format!("user = {name}\n{DOOR}"))?;
        let mut command = site.knockd(&["-c", "knockd.conf"]);
        command.stderr(std::process::Stdio::piped());
        let output = site.output(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    Ok(())
}

fn nobody() -> Outcome {
    let known = nix::unistd::User::from_name("_knockd")?.is_some();
    if !is_real_root() || known {
        return Ok(());
    }
    let site = Site::new(DOOR)?;
    let daemon = site.start(&[])?;
    site.await_log("there is no account '_knockd': the listener is 'nobody'")?;
    assert!(account(listener_of(daemon.id())?)?.starts_with("65534 65534 65534"));
    Ok(())
}
