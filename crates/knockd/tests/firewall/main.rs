//! `knockctl doctor` and real firewalls: what it says is dropped is dropped, and with exactly the
//! line that it prints, a real ssh session comes through; and nobody else does.

mod site;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use knockd::lab::{Identity, isolate};
use libtest_mimic::{Arguments, Failed, Trial};
use site::{Site, ruleset};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a connection that comes through needs at most.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the tests need besides the kernel.
const PROGRAMS: [&str; 6] = [
    "nft",
    "iptables-restore",
    "ip6tables-restore",
    "sshd",
    "ssh",
    "ssh-keygen",
];

/// A firewall, and what doctor should say of it.
struct Case {
    name: &'static str,
    /// How it is loaded.
    load: &'static [(&'static str, &'static str)],
    /// Whether the service is on a host behind the server.
    far: bool,
    /// How many of the two families come through before.
    families: usize,
    /// The lines that doctor prints.
    lines: &'static [&'static str],
    /// Does what a line does where its own program is not there.
    stand_in: fn(&str) -> String,
}

const CASES: [Case; 12] = [
    Case {
        name: "an_nftables_default_drop_in_a_table_of_both_families",
        load: &[("nft -f", "nft-inet.nft")],
        far: false,
        families: 0,
        lines: &["nft insert rule inet filter input ct mark and 0x20000000 == 0x20000000 accept"],
        stand_in: itself,
    },
    Case {
        name: "nftables_tables_of_one_family_each_that_reject_at_the_end_and_forget_established",
        load: &[("nft -f", "nft-ip-and-ip6.nft")],
        far: false,
        families: 0,
        lines: &[
            "nft insert rule ip firewall incoming ct mark and 0x20000000 == 0x20000000 accept",
            "nft insert rule ip6 firewall incoming ct mark and 0x20000000 == 0x20000000 accept",
        ],
        stand_in: itself,
    },
    Case {
        name: "an_nftables_ruleset_that_drops_answers_and_what_follows_the_first_packet",
        load: &[("nft -f", "nft-output.nft")],
        far: false,
        families: 0,
        lines: &[
            "nft insert rule inet strict in ct mark and 0x20000000 == 0x20000000 accept",
            "nft insert rule inet strict out ct mark and 0x20000000 == 0x20000000 accept",
        ],
        stand_in: itself,
    },
    Case {
        name: "an_iptables_default_drop",
        load: &[
            ("iptables-restore", "iptables.v4.rules"),
            ("ip6tables-restore", "iptables.v6.rules"),
        ],
        far: false,
        families: 0,
        lines: &[
            "iptables -I INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT",
            "ip6tables -I INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT",
        ],
        stand_in: itself,
    },
    Case {
        name: "an_iptables_default_drop_of_the_older_kind",
        load: &[
            ("iptables-legacy-restore", "iptables.v4.rules"),
            ("ip6tables-legacy-restore", "iptables.v6.rules"),
        ],
        far: false,
        families: 0,
        lines: &[
            "iptables-legacy -I INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT",
            "ip6tables-legacy -I INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT",
        ],
        stand_in: itself,
    },
    Case {
        name: "an_iptables_default_drop_of_one_family_only",
        load: &[("iptables-restore", "iptables.v4.rules")],
        far: false,
        families: 1,
        lines: &["iptables -I INPUT -m connmark --mark 0x20000000/0x20000000 -j ACCEPT"],
        stand_in: itself,
    },
    Case {
        name: "an_nftables_default_drop_of_what_is_forwarded",
        load: &[("nft -f", "nft-inet.nft")],
        far: true,
        families: 0,
        lines: &["nft insert rule inet filter forward ct mark and 0x20000000 == 0x20000000 accept"],
        stand_in: itself,
    },
    Case {
        name: "an_iptables_default_drop_of_what_is_forwarded",
        load: &[
            ("iptables-restore", "iptables.v4.rules"),
            ("ip6tables-restore", "iptables.v6.rules"),
        ],
        far: true,
        families: 1,
        lines: &["iptables -I FORWARD -m connmark --mark 0x20000000/0x20000000 -j ACCEPT"],
        stand_in: itself,
    },
    Case {
        name: "ufw_and_what_is_forwarded",
        load: &[
            ("iptables-restore", "ufw.v4.rules"),
            ("ip6tables-restore", "ufw.v6.rules"),
        ],
        far: true,
        families: 0,
        lines: &[
            "sed -i '/^# End required lines/a -A ufw-before-forward -m connmark --mark \
             0x20000000/0x20000000 -j ACCEPT' /etc/ufw/before.rules && ufw reload",
            "sed -i '/^# End required lines/a -A ufw6-before-forward -m connmark --mark \
             0x20000000/0x20000000 -j ACCEPT' /etc/ufw/before6.rules && ufw reload",
        ],
        stand_in: ufw_reload,
    },
    Case {
        name: "firewalld",
        load: &[("nft -f", "firewalld.nft")],
        far: false,
        families: 0,
        lines: &["firewall-cmd --zone=public --add-port=22/tcp"],
        stand_in: firewall_cmd,
    },
    Case {
        name: "ufw",
        load: &[
            ("iptables-restore", "ufw.v4.rules"),
            ("ip6tables-restore", "ufw.v6.rules"),
        ],
        far: false,
        families: 0,
        lines: &[
            "sed -i '/^# End required lines/a -A ufw-before-input -m connmark --mark \
             0x20000000/0x20000000 -j ACCEPT' /etc/ufw/before.rules && ufw reload",
            "sed -i '/^# End required lines/a -A ufw6-before-input -m connmark --mark \
             0x20000000/0x20000000 -j ACCEPT' /etc/ufw/before6.rules && ufw reload",
        ],
        stand_in: ufw_reload,
    },
    Case {
        name: "a_firewall_that_is_open_needs_no_line",
        load: &[("nft -f", "permissive.nft")],
        far: false,
        families: 2,
        lines: &[],
        stand_in: itself,
    },
];

fn main() -> ExitCode {
    if let Err(error) = isolate(Identity::RootIfNeeded) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let missing = PROGRAMS.iter().any(|program| !is_there(program)) || !has_accounts();
    let trials = CASES.iter().map(|case| {
        let legacy = case
            .load
            .iter()
            .any(|(program, _)| program.contains("legacy"));
        let missing = missing || legacy && !is_there("iptables-legacy-restore");
        Trial::test(case.name, move || {
            run(case).map_err(|error| Failed::from(error.to_string()))
        })
        .with_ignored_flag(missing)
    });
    let mut trials: Vec<_> = trials.collect();
    trials.push(Trial::test(
        "without_a_door_that_opens_a_port_there_is_nothing_to_look_at",
        || nothing().map_err(|error| Failed::from(error.to_string())),
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// sshd needs accounts besides root, which a user namespace of ours does not have
/// (user_namespaces(7)).
fn has_accounts() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().last() != Some("1")
}

fn is_there(program: &str) -> bool {
    let mut folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter();
    folders.any(|folder| Path::new(folder).join(program).exists())
}

fn run(case: &Case) -> Outcome {
    let site = Site::new(case.far)?;
    for (program, file) in case.load {
        site.run(&format!("{program} {}", ruleset(file).display()))?;
    }
    let before = site.families();
    if before != case.families {
        return Err(format!("{before} families come through before").into());
    }
    let look = site.look()?;
    let lines: Vec<_> = look.lines().collect();
    if lines != case.lines || look.is_well() != lines.is_empty() {
        return Err(format!("doctor says:\n{look}").into());
    }
    for line in lines {
        site.run(&(case.stand_in)(line))?;
    }
    site.reaches(PATIENCE)?;
    site.sessions()?;
    let look = site.look()?;
    if !look.is_well() || look.lines().next().is_some() {
        return Err(format!("with its line, doctor says:\n{look}").into());
    }
    Ok(())
}

/// Through the command line, and without a daemon.
fn nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("knockd.conf");
    let knockctl = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
        command.args(["doctor", "--firewall", "-c"]).arg(&config);
        command.args(options).output()
    };
    fs::write(&config, "[A]\nsequence = 7000,8000\n")?;
    let text = knockctl(&[])?;
    assert_eq!(
        String::from_utf8_lossy(&text.stdout),
        "no door opens a port by itself: nothing to look at\n"
    );
    let json = knockctl(&["--json"])?;
    assert_eq!(
        String::from_utf8_lossy(&json.stdout),
        "{\"firewall\":null,\"is_well\":true}\n"
    );
    assert!(text.status.success() && json.status.success());
    fs::write(&config, "[A]\nsequence = x\n")?;
    let broken = knockctl(&[])?;
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(
        said.starts_with("unknown firewall: not looked at"),
        "{said}"
    );
    Ok(())
}

fn itself(line: &str) -> String {
    line.to_owned()
}

/// What firewalld 1.3.3 does at `firewall-cmd --zone=Z --add-port=P/tcp`.
fn firewall_cmd(line: &str) -> String {
    let word = |name: &str| {
        let mut words = line.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name));
        value.unwrap_or_default().to_owned()
    };
    let (zone, port) = (word("--zone="), word("--add-port="));
    let port = port.trim_end_matches("/tcp");
    format!("nft add rule inet firewalld filter_IN_{zone}_allow tcp dport {port} accept")
}

/// What `ufw reload` does with a line behind the mark in `before.rules`, where no rule comes
/// before it.
fn ufw_reload(line: &str) -> String {
    let rule = line.split("/a -A ").nth(1).unwrap_or_default();
    let (rule, file) = rule.split_once("' ").unwrap_or_default();
    let program = if file.contains("before6") {
        "ip6tables"
    } else {
        "iptables"
    };
    format!("{program} -I {rule}")
}
