//! Starting, `-d`, the pid file and the standard streams.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::site::{Site, Stranger, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("closed_standard_streams_are_nobody_elses", closed_streams),
    ("in_the_background_it_lets_go_of_everything", lets_go),
    (
        "relative_paths_mean_the_same_after_the_start",
        relative_paths,
    ),
    ("a_second_one_is_refused_and_the_first_goes_on", second),
    ("an_error_at_the_start_is_told_before_it_is_alone", error),
    ("a_pid_file_of_a_dead_daemon_is_no_obstacle", stale),
    ("a_reload_moves_log_and_pid_file", moved),
    ("lines_without_any_other_place_are_printed", printed),
    ("a_used_up_one_time_file_does_not_stop_a_reload", used_up),
];

const ONE: &str = "[A]\nsequence = 7000:udp\n";

/// What is opened next gets the number of a closed stream: a socket must not become the place
/// where commands write to.
fn closed_streams() -> Outcome {
    let site = Site::new(ONE)?;
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "exec \"$0\" -c knockd.conf -g log <&- >&- 2>&-"])
        .arg(env!("CARGO_BIN_EXE_knockd"))
        .current_dir(site.path(""));
    let mut process = site.host.spawn(&mut shell)?;
    site.await_log("starting up")?;
    for stream in 0..3 {
        let leads_to = fs::read_link(format!("/proc/{}/fd/{stream}", process.id()))?;
        assert_eq!(leads_to, Path::new("/dev/null"), "stream {stream}");
    }
    process.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    Ok(())
}

fn lets_go() -> Outcome {
    let site = Site::new(ONE)?;
    let mut knockd = site.knockd(&["-d", "-c", "knockd.conf", "-p", "pid", "-D"]);
    knockd.stdout(Stdio::piped()).stderr(Stdio::piped());
    // This returns when the last one has closed the pipes.
    let output = site.output(&mut knockd)?;
    assert!(output.status.success(), "{output:?}");
    let daemon = Stranger::of(&site.path("pid"))?;
    let process = format!("/proc/{}", daemon.id());
    assert_eq!(fs::read_link(format!("{process}/cwd"))?, Path::new("/"));
    assert_eq!(fs::read_to_string(format!("{process}/comm"))?, "knockd\n");
    let stat = fs::read_to_string(format!("{process}/stat"))?;
    let session = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(3));
    assert_eq!(session, Some(daemon.id().to_string().as_str()));
    daemon.signal(Signal::TERM)?;
    daemon.await_end()?;
    assert!(!site.path("pid").exists());
    Ok(())
}

fn relative_paths() -> Outcome {
    let door = "[A]\none_time_sequences = lines\n";
    let site = Site::new(&format!("logfile = log\npidfile = pid\n{door}"))?;
    site.write("lines", "7000:udp\n7100:udp\n")?;
    let output = site.output(&mut site.knockd(&["-d", "-c", "knockd.conf"]))?;
    assert!(output.status.success(), "{output:?}");
    let daemon = Stranger::of(&site.path("pid"))?;
    site.knock(&[7000])?;
    site.await_log("OPEN SESAME")?;
    assert_eq!(site.read("lines"), "#000:udp\n7100:udp\n");
    fs::rename(site.path("log"), site.path("log.1"))?;
    daemon.signal(Signal::HUP)?;
    eventually("the new log", || site.path("log").exists())?;
    site.knock(&[7100])?;
    site.await_log("OPEN SESAME")?;
    assert_eq!(site.read("lines"), "#000:udp\n#100:udp\n");
    Ok(())
}

fn second() -> Outcome {
    let site = Site::new(ONE)?;
    let args = ["-d", "-c", "knockd.conf", "-p", "pid", "-g", "log"];
    assert!(site.output(&mut site.knockd(&args))?.status.success());
    let daemon = Stranger::of(&site.path("pid"))?;
    let mut again = site.knockd(&args);
    let output = site.output(again.stderr(Stdio::piped()))?;
    assert_eq!(output.status.code(), Some(1));
    let path = site.path("pid");
    let text = format!(
        "knockd: already running: pidfile {} is locked by process {}\n",
        path.display(),
        daemon.id()
    );
    assert_eq!(String::from_utf8(output.stderr)?, text);
    site.knock(&[7000])?;
    site.await_log("OPEN SESAME")
}

fn error() -> Outcome {
    let site = Site::new("bad = yes\n")?;
    let mut knockd = site.knockd(&["-d", "-c", "knockd.conf", "-p", "pid"]);
    let output = site.output(knockd.stderr(Stdio::piped()))?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains("knockd.conf:3:1"), "{text}");
    assert!(!site.path("pid").exists());
    Ok(())
}

fn stale() -> Outcome {
    let site = Site::new(ONE)?;
    let start = || site.output(&mut site.knockd(&["-d", "-c", "knockd.conf", "-p", "pid"]));
    assert!(start()?.status.success());
    let daemon = Stranger::of(&site.path("pid"))?;
    daemon.signal(Signal::KILL)?;
    daemon.await_end()?;
    assert!(start()?.status.success());
    assert_ne!(Stranger::of(&site.path("pid"))?.id(), daemon.id());
    Ok(())
}

fn moved() -> Outcome {
    let site = Site::new(&format!("logfile = old\npidfile = old.pid\n{ONE}"))?;
    assert!(
        site.output(&mut site.knockd(&["-d", "-c", "knockd.conf"]))?
            .status
            .success()
    );
    let daemon = Stranger::of(&site.path("old.pid"))?;
    let config = format!("[options]\ninterface = lo\nlogfile = log\npidfile = new.pid\n{ONE}");
    site.write("knockd.conf", &config)?;
    daemon.signal(Signal::HUP)?;
    eventually("the new pid file", || {
        site.read("new.pid") == site_line(&daemon) && !site.path("old.pid").exists()
    })?;
    site.knock(&[7000])?;
    site.await_log("OPEN SESAME")?;
    assert!(!site.read("old").contains("OPEN SESAME"));
    Ok(())
}

fn site_line(daemon: &Stranger) -> String {
    format!("{}\n", daemon.id())
}

fn printed() -> Outcome {
    let site = Site::new(ONE)?;
    let start = |args: &[&str]| -> Outcome<_> {
        let mut knockd = site.knockd(&[&["-c", "knockd.conf"], args].concat());
        let printed = fs::File::create(site.path("printed"))?;
        Ok(site.host.spawn(knockd.stdout(printed))?)
    };
    let process = start(&[])?;
    eventually("lines", || {
        site.read("printed") == "starting up, listening on lo\n"
    })?;
    drop(process);
    let _process = start(&["-g", "log"])?;
    site.await_log("starting up")?;
    site.knock(&[7000])?;
    site.await_log("OPEN SESAME")?;
    assert_eq!(site.read("printed"), "");
    Ok(())
}

fn used_up() -> Outcome {
    let door = "[A]\none_time_sequences = lines\n";
    let site = Site::new(door)?;
    site.write("lines", "7000:udp\n")?;
    let process = site.start(&[])?;
    site.knock(&[7000])?;
    site.await_log("no more sequences left")?;
    let config = format!("[options]\ninterface = lo\n{door}[B]\nsequence = 7100:udp\n");
    site.write("knockd.conf", &config)?;
    process.signal(Signal::HUP)?;
    site.await_log("re-opening log file")?;
    site.knock(&[7000, 7100])?;
    site.await_log("B: OPEN SESAME")?;
    assert_eq!(site.read("log").matches("A: OPEN SESAME").count(), 1);
    Ok(())
}
