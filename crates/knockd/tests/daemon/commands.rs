//! What the daemon runs, and what becomes of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use knockd::lab::Process;
use nix::sched::{CloneFlags, unshare};
use rustix::process::Signal;

use crate::site::{Site, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "as_the_first_process_it_buries_what_commands_leave",
        first_process,
    ),
    ("a_knock_while_it_stops_spends_no_one_time_line", stopping),
    ("a_full_disk_under_the_log_stops_no_command", full_disk),
    ("a_log_that_may_not_grow_stops_no_command", limited_log),
    ("signals_that_were_blocked_are_heard", blocked),
    (
        "a_stop_runs_what_is_owed_over_a_start_that_hangs",
        hanging_start,
    ),
    (
        "a_stop_waits_for_no_command_that_owes_nothing",
        nothing_owed,
    ),
    ("a_command_of_plain_words_needs_no_shell", no_shell),
    (
        "a_script_that_names_no_program_is_the_shells",
        nameless_script,
    ),
];

/// A child of ours; killed when dropped.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what we want.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// As in a container whose only program is the daemon.
fn first_process() -> Outcome {
    let door = "[A]\nsequence = 7000:udp\ncommand = (sleep 0.1; echo x >> hits) &\n";
    let site = Site::new(door)?;
    let mut knockd: Command = site.knockd(&["-c", "knockd.conf", "-g", "log"]);
    let spawn = || -> Outcome<Owned> {
        // Of what this thread starts, the first is the first of a new process namespace.
        unshare(CloneFlags::CLONE_NEWPID)?;
        Ok(Owned(knockd.spawn()?))
    };
    let daemon = site.host.run(spawn)??;
    site.await_log("starting up")?;
    for count in 1..=3 {
        site.knock(&[7000])?;
        eventually("a hit", || site.read("hits").lines().count() == count)?;
    }
    let children = format!("/proc/{0}/task/{0}/children", daemon.0.id());
    eventually("no child is left but the listener", || {
        let children = fs::read_to_string(&children).unwrap_or_default();
        children.split_whitespace().count() == 1
    })
}

/// Starts a daemon with a start command that hangs, and tells it to stop.
fn stop_over_hanging_start(site: &Site) -> Outcome<Process> {
    let process = site.start(&[])?;
    site.knock(&[7100])?;
    eventually("the start command", || site.path("started").exists())?;
    process.signal(Signal::TERM)?;
    site.await_log("shutting down")?;
    Ok(process)
}

const HANGING: &str = "[H]
sequence = 7100:udp
start_command = touch started; exec sleep 60
stop_command = touch stopped
";

fn stopping() -> Outcome {
    let site = Site::new(&format!(
        "{HANGING}[A]\none_time_sequences = lines\ncommand = x\n"
    ))?;
    site.write("lines", "7000:udp\n7001:udp\n")?;
    let _process = stop_over_hanging_start(&site)?;
    site.knock(&[7000])?;
    site.await_log("A: the daemon stops; nothing was run")?;
    assert_eq!(site.read("lines"), "7000:udp\n7001:udp\n");
    Ok(())
}

fn hanging_start() -> Outcome {
    let site = Site::new(HANGING)?;
    let mut process = stop_over_hanging_start(&site)?;
    // Neither a second signal nor a reload makes a difference.
    process.signal(Signal::HUP)?;
    process.signal(Signal::INT)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    assert!(site.path("stopped").exists());
    assert!(!site.read("log").contains("re-reading"));
    Ok(())
}

fn nothing_owed() -> Outcome {
    let site = Site::new(&HANGING.replace("stop_command", "# stop_command"))?;
    let begin = std::time::Instant::now();
    let mut process = stop_over_hanging_start(&site)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    // A command that owes something would be waited for three seconds at least.
    assert!(begin.elapsed() < std::time::Duration::from_secs(3));
    Ok(())
}

/// The signal SIGXFSZ would end the daemon.
fn limited_log() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\n")?;
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "ulimit -f 0; exec \"$0\" -v -c knockd.conf -g log"])
        .arg(env!("CARGO_BIN_EXE_knockd"))
        .current_dir(site.path(""))
        .stdout(Stdio::piped());
    let mut process = site.host.spawn(&mut shell)?;
    let lines = BufReader::new(process.stdout.take().ok_or("no standard output")?).lines();
    for line in lines {
        match line?.as_str() {
            "starting up, listening on lo" => site.knock(&[7000])?,
            "127.0.0.1: A: OPEN SESAME" => return Ok(()),
            _ => {}
        }
    }
    Err("it has ended".into())
}

/// The mask is inherited; `env` of coreutils can set it.
fn blocked() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\ncommand = exit 7\n")?;
    let mut env = Command::new("env");
    env.arg("--block-signal=TERM,HUP,CHLD")
        .arg(env!("CARGO_BIN_EXE_knockd"))
        .args(["-c", "knockd.conf", "-g", "log"])
        .current_dir(site.path(""));
    let mut process = site.host.spawn(&mut env)?;
    site.await_log("starting up")?;
    site.knock(&[7000])?;
    site.await_log("status code (7)")?;
    process.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    Ok(())
}

fn full_disk() -> Outcome {
    let site = Site::new("[A]\nsequence = 7000:udp\ncommand = touch opened\n")?;
    let mut knockd = site.knockd(&["-c", "knockd.conf", "-g", "/dev/full", "-v"]);
    let process = site
        .host
        .spawn(knockd.stdout(fs::File::create(site.path("log"))?))?;
    site.await_log("starting up")?;
    site.knock(&[7000])?;
    eventually("the command", || site.path("opened").exists())?;
    drop(process);
    Ok(())
}

/// In a mount namespace of its own, the daemon finds another program in the place of the shell.
fn no_shell() -> Outcome {
    let site = Site::new(
        "[A]\nsequence = 7000:udp\ncommand = /bin/cp knockd.conf  copy-%IP%\n\
         [B]\nsequence = 7001:udp\ncommand = exit 7\n",
    )?;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "/bin/sh", "-c"])
        .arg("mount --bind /bin/false /bin/sh && exec \"$0\" -c knockd.conf -g log")
        .arg(env!("CARGO_BIN_EXE_knockd"))
        .current_dir(site.path(""));
    let _process = site.host.spawn(&mut unshare)?;
    site.await_log("starting up")?;
    site.knock(&[7001, 7000])?;
    // The other program's.
    site.await_log("B: command returned non-zero status code (1)")?;
    let config = site.read("knockd.conf");
    eventually("the copy", || site.read("copy-127.0.0.1") == config)
}

fn nameless_script() -> Outcome {
    let site = Site::new("")?;
    let script = site.path("script");
    fs::write(&script, "echo \"$1\" > said\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    site.write(
        "knockd.conf",
        &format!(
            "[options]\ninterface = lo\n[A]\nsequence = 7000:udp\ncommand = {} %IP%\n",
            script.display()
        ),
    )?;
    let _process = site.start(&[])?;
    site.knock(&[7000])?;
    eventually("the script", || site.read("said") == "127.0.0.1\n")
}
