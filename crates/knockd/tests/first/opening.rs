//! What `knockctl init` writes, by options alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::site::{CLIENT, KNOCKCTL, KNOCKD, OTHER, SERVER, Site, THEIRS, eventually, knock};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "the_printed_line_opens_what_the_written_file_closes",
        || knock().is_file(),
        opens,
    ),
    (
        "without_the_gate_commands_open_the_port",
        || knock().is_file() && Path::new("/usr/sbin/iptables").is_file(),
        opens_by_commands,
    ),
    (
        "the_printed_line_for_another_firewall_lets_in_who_knocked",
        || knock().is_file() && Path::new("/usr/sbin/iptables").is_file(),
        opens_behind_a_firewall,
    ),
    (
        "the_distributions_daemon_is_noticed",
        || Path::new(THEIRS).is_file(),
        theirs,
    ),
    ("a_file_that_is_there_stays_as_it_is", || true, stays),
    (
        "a_folder_that_cannot_be_written_to_is_named",
        || true,
        unwritable,
    ),
    ("what_is_written_can_be_seen_before", || true, dry_run),
    ("keys_of_people_are_asked_for", || true, sealed),
    ("what_is_given_wrongly_is_told", || true, wrong),
];

/// The line that a client needs, of what was printed.
fn client_line(told: &str) -> Outcome<String> {
    let line = told
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("knock "));
    Ok(line
        .ok_or_else(|| format!("no line for the client in {told}"))?
        .to_owned())
}

fn opens() -> Outcome {
    let site = Site::new(&[22, 80])?;
    let told = site.knockctl(&["init", "--yes", "--output", "new.conf", "--for", "20s"])?;
    assert!(told.contains("new.conf: 1 door, no mistake\n"), "{told}");
    assert!(
        told.contains("\n    tcp/22  opened by ssh for 20s\n"),
        "{told}"
    );
    let checked = site.knockctl(&["check", "-c", "new.conf", "--deny-warnings"])?;
    assert!(checked.contains("1 door, no mistake"), "{checked}");
    let mode = site.path("new.conf").metadata()?.permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // The interface with the default route, and the address that it has.
    assert!(site.read("new.conf").contains("\n    interface   = eth0\n"));
    let line = client_line(&told)?;
    assert!(
        line.starts_with(&format!("knock {SERVER} ")) && line.contains(":udp"),
        "{line}"
    );
    assert_eq!(line.split_whitespace().count(), 2 + 5, "{line}");

    let log = Path::new("/var/log/knockd.log");
    let _daemon = site.daemon(KNOCKD, &["-c", "new.conf"], log)?;
    assert!(!site.reaches(CLIENT, 22)? && site.reaches(CLIENT, 80)?);
    site.knock(&line)?;
    eventually("the port is open", || {
        site.reaches(CLIENT, 22).is_ok_and(|open| open)
    })
    .map_err(|error| format!("{error}\n{}", fs::read_to_string(log).unwrap_or_default()))?;
    assert!(!site.reaches(OTHER, 22)?);
    Ok(())
}

fn opens_behind_a_firewall() -> Outcome {
    let site = Site::new(&[22])?;
    site.run("iptables", &["-P", "INPUT", "DROP"])?;
    let told = site.knockctl(&["init", "--yes", "--output", "new.conf"])?;
    let lines = told.lines().map(str::trim);
    let mut lines = lines.filter(|line| line.starts_with("iptables "));
    let line = lines.next().ok_or_else(|| format!("no line in {told}"))?;
    assert!(
        told.contains("Your firewall drops also who has knocked."),
        "{told}"
    );
    let log = own_log(&site)?;
    let _daemon = site.daemon(KNOCKD, &["-c", "new.conf"], &log)?;
    site.knock(&client_line(&told)?)?;
    eventually("the door is open", || {
        site.read("log").contains("tcp/22 open for")
    })?;
    assert!(!site.reaches(CLIENT, 22)?, "the firewall drops it");
    let output = site.run("sh", &["-c", line])?;
    assert!(output.status.success(), "{line}");
    assert!(
        site.reaches(CLIENT, 22)? && !site.reaches(OTHER, 22)?,
        "{told}"
    );
    Ok(())
}

fn theirs() -> Outcome {
    let site = Site::new(&[22])?;
    let told = site.knockctl(&["init", "--yes", "--output", "alone.conf"])?;
    assert!(!told.contains("process"), "{told}");
    fs::write(
        site.path("theirs.conf"),
        "[A]\nsequence = 7000\ncommand = true\n",
    )?;
    let log = site.path("theirs.log").display().to_string();
    let arguments = ["-i", "eth0", "-c", "theirs.conf", "-g", &log];
    let daemon = site.daemon(THEIRS, &arguments, Path::new(&log))?;
    let told = site.knockctl(&["init", "--yes", "--output", "beside.conf"])?;
    let expected = format!("(process {}) seems to be the distribution's", daemon.id());
    assert!(told.contains(&expected), "{told}");
    Ok(())
}

/// Another test has the log that is written into the file.
fn own_log(site: &Site) -> Outcome<PathBuf> {
    let log = site.path("log");
    let text = site.read("new.conf");
    let text = text.replace("/var/log/knockd.log", &log.display().to_string());
    fs::write(site.path("new.conf"), text)?;
    Ok(log)
}

fn opens_by_commands() -> Outcome {
    let site = Site::new(&[2222])?;
    let arguments = [
        "init",
        "--yes",
        "-o",
        "new.conf",
        "--port",
        "tcp/2222",
        "--no-gate",
        "--steps",
        "3",
    ];
    let told = site.knockctl(&arguments)?;
    assert!(told.contains("new.conf: 1 door, no mistake\n"), "{told}");
    assert!(
        !told.contains("closed to everybody") && !told.contains("arm"),
        "{told}"
    );
    site.run("iptables", &["-P", "INPUT", "DROP"])?;
    let state = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT";
    site.run("iptables", &state.split(' ').collect::<Vec<_>>())?;
    let log = own_log(&site)?;
    let _daemon = site.daemon(KNOCKD, &["-c", "new.conf"], &log)?;
    assert!(!site.reaches(CLIENT, 2222)?);
    site.knock(&client_line(&told)?)?;
    eventually("the port is open", || {
        site.reaches(CLIENT, 2222).is_ok_and(|open| open)
    })
    .map_err(|error| format!("{error}\n{}", fs::read_to_string(log).unwrap_or_default()))?;
    assert!(!site.reaches(OTHER, 2222)?);
    Ok(())
}

fn stays() -> Outcome {
    let site = Site::new(&[22])?;
    fs::write(site.path("mine.conf"), "mine")?;
    let output = site.run(KNOCKCTL, &["init", "--yes", "--output", "mine.conf"])?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("mine.conf is there already, and stays as it is"),
        "{said}"
    );
    assert!(
        said.contains("--output") && said.contains("knockctl convert"),
        "{said}"
    );
    assert_eq!(site.read("mine.conf"), "mine");
    assert_eq!(fs::read_dir(site.path("."))?.count(), 1);
    Ok(())
}

fn unwritable() -> Outcome {
    let site = Site::new(&[22])?;
    for (path, why) in [
        ("/proc/new.conf", "cannot write in /proc: "),
        (
            "none/new.conf",
            "cannot write in none: No such file or directory",
        ),
    ] {
        let output = site.run(KNOCKCTL, &["init", "--yes", "--output", path])?;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{said}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "",
            "nothing to go on with"
        );
    }
    Ok(())
}

fn dry_run() -> Outcome {
    let site = Site::new(&[22])?;
    let text = site.knockctl(&["init", "--yes", "--dry-run", "--output", "new.conf"])?;
    assert!(!site.path("new.conf").exists());
    fs::write(site.path("by-hand.conf"), &text)?;
    fs::set_permissions(site.path("by-hand.conf"), fs::Permissions::from_mode(0o600))?;
    site.knockctl(&["check", "-c", "by-hand.conf", "--deny-warnings"])?;
    // Another one each time.
    let again = site.knockctl(&["init", "--yes", "--dry-run"])?;
    let sequence = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.contains("sequence    ="))
            .map(str::to_owned);
        line.ok_or("no sequence")
    };
    assert_ne!(sequence(&text)?, sequence(&again)?);
    Ok(())
}

fn sealed() -> Outcome {
    let site = Site::new(&[22])?;
    fs::write(site.path("keys"), "")?;
    let keys = site.path("keys").display().to_string();
    let arguments = [
        "init",
        "--yes",
        "-o",
        "new.conf",
        "--by",
        "spa",
        "--authorized-keys",
        &keys,
    ];
    let told = site.knockctl(&arguments)?;
    assert!(told.contains("new.conf: 1 door, no mistake\n"), "{told}");
    assert!(
        told.contains(&format!("    knock enroll --sudo YOU@{SERVER}\n")),
        "{told}"
    );
    assert!(told.contains("sudo knockctl keys init -c /"), "{told}");
    assert!(
        site.read("new.conf")
            .contains(&format!("    authorized_keys = {keys}\n"))
    );
    // What is to be run next, but for what closes the port.
    site.knockctl(&["keys", "init", "-c", "new.conf"])?;
    let profile = site.knockctl(&["profile", "-c", "new.conf"])?;
    let profile: serde_json::Value = serde_json::from_str(&profile)?;
    assert_eq!(profile.get("doors"), Some(&serde_json::json!(["ssh"])));
    assert_eq!(profile.get("addresses"), Some(&serde_json::json!([SERVER])));
    Ok(())
}

fn wrong() -> Outcome {
    // What else listens is not closed without a word.
    let site = Site::new(&[80])?;
    for (arguments, status, why) in [
        (&["--port", "22"][..], 1, "--port: `22` has no protocol"),
        (
            &["--port", "tcp/22\ncommand = x"],
            1,
            "--port: a value on one line is expected",
        ),
        (&[], 1, "nothing shows which port is to be opened"),
        (
            &["--port", "tcp/22", "--interface", "ppp7"],
            1,
            "there is no interface 'ppp7' here",
        ),
        (&["--port", "tcp/22", "--for", "10x"], 1, "--for: "),
        (&["--port", "tcp/22", "--steps", "2"], 2, "--steps"),
        (
            &[
                "--port",
                "tcp/22",
                "--by",
                "spa",
                "--authorized-keys",
                "keys",
            ],
            1,
            "--authorized-keys: ",
        ),
        (
            &["--port", "tcp/22", "--by", "spa", "--steps", "4"],
            1,
            "--steps is of no use",
        ),
        (&["--gate", "--no-gate"], 2, "cannot be used with"),
    ] {
        let all = [&["init", "--yes", "--output", "new.conf"], arguments].concat();
        let output = site.run(KNOCKCTL, &all)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(!site.path("new.conf").exists());
    }
    Ok(())
}
