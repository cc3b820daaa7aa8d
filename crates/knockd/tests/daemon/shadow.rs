//! A daemon that acts on nothing, beside one that does.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::site::{Site, eventually, exit_code};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    ("a_shadow_says_what_it_would_open_and_does_nothing", alone),
    ("a_shadow_stays_one_until_it_is_started_anew", reloaded),
];

/// These need the distribution's daemon.
pub(crate) const BESIDE: &[Case] = &[(
    "a_shadow_beside_the_distributions_daemon_leaves_everything_to_it",
    beside,
)];

const THEIRS: &str = "/usr/sbin/knockd";

pub(crate) fn can_run_beside() -> bool {
    Path::new(THEIRS).exists() && Path::new("/usr/sbin/iptables").exists()
}

/// What our daemon could leave behind: files in the folder, the state's folder, and the gate.
fn left(site: &Site) -> Outcome<Vec<String>> {
    let mut left: Vec<String> = ["pid", "state", "audit", "journal", "control.sock", "hits"]
        .iter()
        .filter(|file| site.path(file).exists())
        .map(ToString::to_string)
        .collect();
    let tables = site.output(Command::new("nft").args(["list", "tables"]))?;
    if String::from_utf8(tables.stdout)?.contains("postern") {
        left.push("the gate".to_owned());
    }
    Ok(left)
}

/// With everything that writes, runs or holds something.
fn options(site: &Site) -> String {
    let here = site.path("").display().to_string();
    let here = here.trim_end_matches('/');
    format!(
        "[options]\ninterface = lo\nshadow = yes\npidfile = {here}/pid\nstate_dir = {here}/state\n\
         journal = {here}/journal\naudit_file = {here}/audit\non_open = touch {here}/hits\n\
         on_start = touch {here}/hits\non_exit = touch {here}/hits\n"
    )
}

fn alone() -> Outcome {
    let site = Site::new("")?;
    let doors = "[native]\nsequence = 7000:udp\nopen = tcp/22\nauthorized_keys = /nonexistent\n\
        [commands]\nsequence = 7100:udp\ncommand = touch hits\nstop_command = touch hits\n\
        [close]\nsequence = 7200:udp\nclose = native\n\
        [once]\none_time_sequences = lines\ncommand = touch hits\n";
    site.write("lines", "7300:udp\n7301:udp\n")?;
    site.write("knockd.conf", &(options(&site) + doors))?;
    let mut process = site.start(&[])?;
    site.await_log("shadow: nothing is opened, run or written")?;
    site.await_log("sealed packets are not looked at: this site has no keys yet")?;
    for (port, line) in [
        (7000, "127.0.0.1: native: would open tcp/22 for 30s"),
        (
            7100,
            "commands: would open; would run: touch hits; and after 10s: touch hits",
        ),
        (7200, "127.0.0.1: close: would open; would close native"),
        (7300, "127.0.0.1: once: would open; would run: touch hits"),
        (7301, "no more sequences left"),
    ] {
        site.knock(&[port])?;
        site.await_log(line)?;
    }
    process.signal(Signal::USR1)?;
    site.await_log("status: shadow")?;
    process.signal(Signal::TERM)?;
    assert_eq!(exit_code(&mut process)?, Some(15));
    assert_eq!(left(&site)?, [""; 0]);
    assert_eq!(site.read("lines"), "7300:udp\n7301:udp\n");
    assert!(!site.read("log").contains("OPEN SESAME"));
    Ok(())
}

fn reloaded() -> Outcome {
    let site = Site::new("")?;
    let door = "[A]\nsequence = 7000:udp\nopen = tcp/22\ncommand = touch hits\n";
    let config = options(&site) + door;
    site.write("knockd.conf", &config)?;
    let process = site.start(&[])?;
    site.write("knockd.conf", &config.replace("shadow = yes\n", ""))?;
    process.signal(Signal::HUP)?;
    site.await_log("until the next start, nothing is opened all the same")?;
    site.knock(&[7000])?;
    site.await_log("would open tcp/22")?;
    assert_eq!(left(&site)?, [""; 0]);
    Ok(())
}

fn beside() -> Outcome {
    let site = Site::new("")?;
    let door = "[ssh]\nsequence = 7000:udp,7100:udp\nseq_timeout = 10\n\
        start_command = /usr/sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
        cmd_timeout = 60\n\
        stop_command = /usr/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";
    site.write(
        "theirs.conf",
        &format!(
            "[options]\n logfile = {}\n{door}",
            site.path("theirs").display()
        ),
    )?;
    site.write("knockd.conf", &(options(&site) + door))?;
    let mut theirs = Command::new(THEIRS);
    theirs
        .args(["-i", "lo", "-c"])
        .arg(site.path("theirs.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let _theirs = site.host.spawn(&mut theirs)?;
    eventually("their daemon", || {
        site.read("theirs").contains("starting up")
    })?;
    let process = site.start(&[])?;
    let rules = || -> Outcome<usize> {
        let output = site.output(Command::new("/usr/sbin/iptables").arg("-S"))?;
        Ok(String::from_utf8(output.stdout)?
            .matches("--dport 22 -j ACCEPT")
            .count())
    };
    site.knock(&[7000, 7100])?;
    eventually("their rule", || rules().is_ok_and(|rules| rules == 1))
        .map_err(|error| format!("{error}:\n{}", site.read("theirs")))?;
    site.await_log(
        "127.0.0.1: ssh: would open; would run: /usr/sbin/iptables -I INPUT -s 127.0.0.1 -p tcp \
         --dport 22 -j ACCEPT; and after 1m: /usr/sbin/iptables -D",
    )?;
    assert_eq!(left(&site)?, [""; 0]);
    assert_eq!(site.read("log").matches("would open").count(), 1);
    drop(process);
    assert_eq!(rules()?, 1, "it is theirs alone");
    Ok(())
}
