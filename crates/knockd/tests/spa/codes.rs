//! Codes on paper, sent with what every machine has.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::net::{
    CLIENT, CLIENT_6, Net, OTHER, SERVER, SERVER_6, Wish, alice, opened, receive, send,
};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "a_code_opens_once_for_its_source_and_nobody_is_answered",
        once,
    ),
    (
        "codes_count_as_soon_as_they_are_made_and_no_longer_than_they_are_kept",
        made_and_revoked,
    ),
    ("a_code_works_when_nothing_else_does", nothing_else),
    ("a_code_is_spent_whatever_happens_then", kill),
    ("a_code_is_spent_before_its_door_opens", spent_first),
    #[cfg(target_arch = "x86_64")]
    (
        "a_daemon_that_is_killed_between_has_spent_the_code",
        killed_between,
    ),
    ("guesses_keep_no_code_out_and_fill_no_log", guesses),
    (
        "what_is_as_long_as_a_code_is_not_heard_without_codes",
        unheard,
    ),
    ("a_code_runs_commands_and_closes_another_door", commands),
    ("what_is_spent_and_was_lost_lets_nobody_in", lost),
];

const SSH: &str = "[ssh]\nauthorized_keys = %K%\nopen = tcp/22\n";

/// New codes for the door, as they are printed.
pub(crate) fn codes<const N: usize>(net: &Net, door: &str) -> Outcome<[String; N]> {
    let text = net.knockctl(&["codes", "new", &N.to_string(), "--door", door])?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let codes = lines.filter(|line| line.len() == 19 && !line.contains(' '));
    let codes: Vec<_> = codes.map(str::to_owned).collect();
    codes.try_into().map_err(|_| text.into())
}

/// As it is said on the paper. Nothing comes back.
pub(crate) fn type_in(net: &Net, code: &str, to: &str) -> Outcome {
    let mut command = Command::new("sh");
    let line = format!("printf '{code}' | nc -u -w1 {to} 51443");
    let output = net.client.run(|| command.args(["-c", &line]).output())??;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() && said.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{line}: {} {}",
        output.status,
        String::from_utf8_lossy(&said)
    )
    .into())
}

fn once() -> Outcome {
    let net = Net::new(SSH)?;
    let [first, second, _third] = codes(&net, "ssh")?;
    let _daemon = net.start()?;
    net.await_log("3 codes on paper are taken")?;
    net.eventually("the port is guarded", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    type_in(&net, &first, SERVER)?;
    net.await_log(
        "10.77.0.1: ssh: a code on paper was used and is spent; 2 are left for this door",
    )?;
    net.await_log("10.77.0.1: ssh: opened by a code on paper for 30s")?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    // Whoever has seen it go by has nothing of it.
    let elsewhere = net.socket(OTHER)?;
    send(&elsewhere, OTHER, first.as_bytes())?;
    assert_eq!(receive(&elsewhere)?, None);
    net.await_log("10.77.0.3: ssh: refused: this code on paper is spent, by 10.77.0.1 at 2")?;
    assert!(!net.reaches(OTHER, SERVER, 22)?);
    // As somebody in a hurry types it, with the end of the line, and over IPv6.
    let sloppy = second.to_lowercase().replace('-', "").replace('0', "o");
    type_in(&net, &(sloppy + "\\n"), SERVER_6)?;
    net.await_log("fd77::1: ssh: a code on paper was used and is spent; one is left")?;
    assert!(net.reaches(CLIENT_6, SERVER_6, 22)?);
    let list = net.knockctl(&["codes", "list"])?;
    assert!(list.starts_with("ssh: 1 of 3 left\n  spent 2"), "{list}");
    assert!(
        list.contains(" by 10.77.0.1\n") && list.contains(" by fd77::1\n"),
        "{list}"
    );
    Ok(())
}

fn made_and_revoked() -> Outcome {
    let net = Net::new(&format!(
        "{SSH}[web]\nauthorized_keys = %K%\nopen = tcp/80\n"
    ))?;
    let _daemon = net.start()?;
    let [ssh] = codes(&net, "ssh")?;
    let [web, second] = codes(&net, "web")?;
    net.await_log("3 codes on paper are taken")?;
    type_in(&net, &web, SERVER)?;
    net.await_log("10.77.0.1: web: a code on paper was used and is spent; one is left")?;
    assert!(net.reaches(CLIENT, SERVER, 80)? && !net.reaches(CLIENT, SERVER, 22)?);
    net.knockctl(&["codes", "revoke", "web"])?;
    net.await_log("1 code on paper is taken")?;
    type_in(&net, &second, SERVER)?;
    net.await_log("10.77.0.1: refused: what looks like a code on paper is none")?;
    net.knockctl(&["codes", "revoke", "all"])?;
    net.await_log("there are no codes on paper any more")?;
    type_in(&net, &ssh, SERVER)?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "web"))?)?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    for wrong in [
        &["codes", "new", "1", "--door", "sesame"][..],
        &["codes", "new", "65", "--door", "ssh"],
        &["codes", "new", "0", "--door", "ssh"],
        &["codes", "revoke", "ssh"],
    ] {
        assert!(net.knockctl(wrong).is_err(), "{wrong:?}");
    }
    Ok(())
}

fn nothing_else() -> Outcome {
    let net = Net::new(SSH)?;
    let [all] = codes(&net, "ssh")?;
    // No key counts, and what was accepted is lost; a code asks for no clock.
    net.write("keys", "")?;
    net.write("state/spa-marks", "damaged")?;
    let _daemon = net.start()?;
    net.await_log("sealed packets of 0 keys are taken")?;
    type_in(&net, &all, SERVER)?;
    net.await_log("opened by a code on paper")?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    Ok(())
}

fn kill() -> Outcome {
    let net = Net::new(&format!("{SSH}open_for = 1s\n"))?;
    let [first, second] = codes(&net, "ssh")?;
    let mut daemon = net.start()?;
    type_in(&net, &first, SERVER)?;
    net.await_log("a code on paper was used and is spent; one is left")?;
    net.signal(&daemon, Signal::KILL)?;
    daemon.wait_at_most(Duration::from_secs(10))?;
    net.eventually("it is closed", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    let _daemon = net.start()?;
    net.await_log("1 code on paper is taken")?;
    type_in(&net, &first, SERVER)?;
    net.await_log("refused: this code on paper is spent, by 10.77.0.1")?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    type_in(&net, &second, SERVER)?;
    net.await_log("none is left for this door")?;
    Ok(())
}

fn spent_first() -> Outcome {
    let net = Net::new(SSH)?;
    let [first, second] = codes(&net, "ssh")?;
    let _daemon = net.start()?;
    net.knockctl(&["gate", "down"])?;
    net.await_log("the gate is down")?;
    type_in(&net, &first, SERVER)?;
    net.await_log("10.77.0.1: ssh: a code on paper was used and is spent; one is left")?;
    net.await_log("10.77.0.1: ssh: what the code was for is not open, or not all of it")?;
    assert!(!net.log().contains("opened by a code on paper"));
    net.knockctl(&["gate", "up"])?;
    net.eventually("the port is guarded", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    type_in(&net, &first, SERVER)?;
    net.await_log("refused: this code on paper is spent, by 10.77.0.1")?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    type_in(&net, &second, SERVER)?;
    net.await_log("opened by a code on paper")
}

/// The daemon is killed at the very moment at which that the code is spent is on the disk, which is
/// before it has said or done anything else: its system calls are watched (ptrace(2)).
#[cfg(target_arch = "x86_64")]
fn killed_between() -> Outcome {
    use std::time::Instant;

    use nix::libc::SYS_fdatasync;
    use nix::sys::ptrace::{Options, getregs, interrupt, seize, syscall};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;

    let net = Net::new(SSH)?;
    let [first, second] = codes(&net, "ssh")?;
    let mut daemon = net.start()?;
    net.eventually("the port is guarded", || {
        net.reaches(CLIENT, SERVER, 22).is_ok_and(|open| !open)
    })?;
    let pid = Pid::from_raw(i32::try_from(daemon.id())?);
    seize(pid, Options::PTRACE_O_TRACESYSGOOD)?;
    interrupt(pid)?;
    let socket = net.socket(CLIENT)?;
    send(&socket, CLIENT, first.as_bytes())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            WaitStatus::PtraceSyscall(_) => {
                let registers = getregs(pid)?;
                let number = i64::try_from(registers.orig_rax)?;
                // At the beginning of a call this is an error.
                if number == SYS_fdatasync && registers.rax == 0 {
                    break;
                }
                syscall(pid, None)?;
            }
            WaitStatus::PtraceEvent(..) => syscall(pid, None)?,
            WaitStatus::Stopped(_, signal) => syscall(pid, signal)?,
            other => return Err(format!("{other:?}").into()),
        }
    }
    net.signal(&daemon, Signal::KILL)?;
    daemon.wait_at_most(Duration::from_secs(10))?;
    assert!(
        !net.log().contains("a code on paper was used"),
        "{}",
        net.log()
    );
    let _daemon = net.start()?;
    net.await_log("1 code on paper is taken")?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?, "nothing was done for it");
    type_in(&net, &first, SERVER)?;
    net.await_log("refused: this code on paper is spent, by 10.77.0.1")?;
    type_in(&net, &second, SERVER)?;
    net.await_log("opened by a code on paper")
}

fn guesses() -> Outcome {
    let net = Net::new(SSH)?;
    let [all] = codes(&net, "ssh")?;
    let daemon = net.start()?;
    let socket = net.socket(OTHER)?;
    for n in 0..20_000_u32 {
        let digits = format!("{n:08}");
        let guess = format!("ABCD-EFGH-{}", digits.replace('8', "X"));
        let (a, b) = guess.split_at(14);
        send(&socket, OTHER, format!("{a}-{b}").as_bytes())?;
        if n == 10_000 {
            type_in(&net, &all, SERVER)?;
        }
    }
    net.await_log("10.77.0.1: ssh: opened by a code on paper")?;
    assert_eq!(receive(&socket)?, None);
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("status: codes on paper: 0 left, 1 used, ")?;
    let log = net.log();
    let lines = log
        .matches("what looks like a code on paper is none")
        .count();
    assert!((1..=20).contains(&lines), "{lines}");
    Ok(())
}

fn unheard() -> Outcome {
    let net = Net::new(SSH)?;
    let daemon = net.start()?;
    let socket = net.socket(CLIENT)?;
    let code = b"0123-4567-89AB-CDEF";
    send(&socket, CLIENT, code)?;
    assert_eq!(receive(&socket)?, None);
    net.signal(&daemon, Signal::USR1)?;
    // The kernel has dropped it: what comes through at that port and is nothing is junk.
    net.await_log("status: sealed packets: 0 junk")?;
    let [_code] = codes(&net, "ssh")?;
    net.await_log("1 code on paper is taken")?;
    send(&socket, CLIENT, code)?;
    send(&socket, CLIENT, b"no code, but as long")?;
    net.await_log("10.77.0.1: refused: what looks like a code on paper is none")?;
    net.signal(&daemon, Signal::USR1)?;
    net.await_log("status: codes on paper: 1 left, 0 used, 1 refused, 1 unknown, 0 over a limit")?;
    net.await_log("status: sealed packets: 1 junk")
}

fn commands() -> Outcome {
    let net = Net::new(&format!(
        "{SSH}[run]\nauthorized_keys = %K%\nclose = ssh\n\
         start_command = echo start %IP% >> hits\ncmd_timeout = 1\n\
         stop_command = echo stop %IP% >> hits\n"
    ))?;
    let [all] = codes(&net, "run")?;
    let _daemon = net.start()?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    assert!(net.reaches(CLIENT, SERVER, 22)?);
    type_in(&net, &all, SERVER)?;
    let hits = || std::fs::read_to_string(net.path("hits")).unwrap_or_default();
    net.eventually("both commands", || {
        hits() == "start 10.77.0.1\nstop 10.77.0.1\n"
    })?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    opened(&net.knock(CLIENT, &Wish::of(alice(), "ssh"))?)?;
    opened(&net.knock(CLIENT, &Wish::of(alice(), "run"))?)?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?, "so does a sealed packet");
    Ok(())
}

fn lost() -> Outcome {
    let net = Net::new(SSH)?;
    let [all] = codes(&net, "ssh")?;
    net.write("state/spa-codes-spent", "damaged")?;
    let _daemon = net.start()?;
    net.await_log("all that there are count as spent")?;
    type_in(&net, &all, SERVER)?;
    net.await_log("10.77.0.1: ssh: refused: this code on paper is spent, as far as can be told")?;
    assert!(!net.reaches(CLIENT, SERVER, 22)?);
    let list = net.knockctl(&["codes", "list"])?;
    assert!(list.contains("taken for spent"), "{list}");
    let [again] = codes(&net, "ssh")?;
    net.await_log("1 code on paper is taken")?;
    type_in(&net, &again, SERVER)?;
    net.await_log("opened by a code on paper")
}
