//! A configuration of the original's, and what `knockctl convert` makes of it, with the same knocks.

use std::error::Error;
use std::path::Path;

use crate::site::{CLIENT, KNOCKD, OTHER, SERVER, Site, THEIRS, eventually, knock};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[
    (
        "a_converted_file_opens_and_closes_the_same_port_by_the_same_knocks",
        is_possible,
        same,
    ),
    (
        "converted_lists_of_iptables_open_by_the_same_knocks",
        has_iptables,
        || {
            by_rules(
                "recent-flat.rules",
                "iptables-restore",
                "7101 7303:udp 7202",
            )
        },
    ),
    (
        "converted_chains_of_iptables_open_by_the_same_knocks",
        has_iptables,
        || {
            by_rules(
                "recent-chains.rules",
                "iptables-restore",
                "11111 23232:udp 17171",
            )
        },
    ),
    (
        "converted_sets_of_nftables_open_by_the_same_knocks",
        has_nft,
        || by_rules("stages.nft", "nft -f -", "7171:udp 8383:udp 9292"),
    ),
    (
        "converted_sets_with_ports_open_by_the_same_knocks",
        has_nft,
        || by_rules("pairs.nft", "nft -f -", "10101 12345 11223"),
    ),
];

fn has_iptables() -> bool {
    Path::new("/usr/sbin/iptables-restore").is_file() && knock().is_file()
}

fn has_nft() -> bool {
    Path::new("/usr/sbin/nft").is_file() && knock().is_file()
}

fn is_possible() -> bool {
    let programs = [Path::new(THEIRS), Path::new("/sbin/iptables"), &knock()];
    programs.iter().all(|program| program.is_file())
}

const EXAMPLE: &str = include_str!("../convert/examples/classic.conf");

/// Rules that knock by themselves, which `load` takes from its standard input, and what becomes of them.
fn by_rules(file: &str, load: &str, knocks: &str) -> Outcome {
    let site = Site::new(&[22])?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert/examples");
    let rules = examples.join(file).display().to_string();
    let shell = |line: &str| -> Outcome {
        let output = site.run("sh", &["-c", line])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        Ok(())
    };
    shell(&format!("{load} < {rules}"))?;
    opens(&site, knocks)?;
    let clear = match load {
        "iptables-restore" => "iptables -P INPUT ACCEPT; iptables -F INPUT",
        _ => "nft flush ruleset",
    };
    shell(clear)?;
    assert!(site.reaches(CLIENT, 22)? && site.reaches(OTHER, 22)?);

    site.knockctl(&["convert", &rules, "--output", "ours.conf"])?;
    let log = site.path("log").display().to_string();
    let arguments = ["-i", "eth0", "-c", "ours.conf", "-g", &log];
    let _daemon = site.daemon(KNOCKD, &arguments, Path::new(&log))?;
    opens(&site, knocks).map_err(|error| format!("{error}\n{}", site.read("log")).into())
}

/// Port 22 is shut, and open to who has knocked and nobody else.
fn opens(site: &Site, knocks: &str) -> Outcome {
    assert!(!site.reaches(CLIENT, 22)?);
    let line = format!("knock -d 50 {SERVER} {knocks}");
    eventually("the port is open", || {
        site.knock(&line).is_ok() && site.reaches(CLIENT, 22).is_ok_and(|open| open)
    })?;
    assert!(!site.reaches(OTHER, 22)?);
    Ok(())
}

/// Who reaches port 22, at each step of the story.
type Story = Vec<(&'static str, bool, bool)>;

fn same() -> Outcome {
    let site = Site::new(&[22])?;
    std::fs::write(site.path("theirs.conf"), EXAMPLE)?;
    site.knockctl(&["convert", "theirs.conf", "--output", "ours.conf"])?;
    assert!(site.read("ours.conf").contains("\topen        = tcp/22\n"));

    // As all recipes have it, the original needs a firewall that drops.
    for rule in [
        "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-P INPUT DROP",
    ] {
        let words: Vec<_> = rule.split(' ').collect();
        assert!(site.run("iptables", &words)?.status.success());
    }
    let theirs = site.path("theirs.log").display().to_string();
    let daemon = site.daemon(
        THEIRS,
        &["-i", "eth0", "-c", "theirs.conf", "-g", &theirs],
        Path::new(&theirs),
    )?;
    let before = story(&site)?;
    drop(daemon);
    let open = ("after the knock", true, false);
    let shut = |when| (when, false, false);
    assert_eq!(
        before,
        [shut("before"), open, shut("after the other knock")]
    );

    for words in [&["-P", "INPUT", "ACCEPT"][..], &["-F", "INPUT"]] {
        assert!(site.run("iptables", words)?.status.success());
    }
    let ours = site.path("ours.log").display().to_string();
    let arguments = ["-c", "ours.conf", "-g", &ours];
    let _daemon = site.daemon(KNOCKD, &arguments, Path::new(&ours))?;
    assert_eq!(story(&site)?, before, "{}", site.read("ours.log"));
    Ok(())
}

fn story(site: &Site) -> Outcome<Story> {
    let reach = |when, line: Option<&str>, should: bool| {
        // The original loses knocks of its first moments.
        let becomes = || {
            line.is_none_or(|line| site.knock(line).is_ok())
                && site.reaches(CLIENT, 22).is_ok_and(|open| open == should)
        };
        eventually(when, becomes)?;
        Ok::<_, Box<dyn Error + Send + Sync>>((
            when,
            site.reaches(CLIENT, 22)?,
            site.reaches(OTHER, 22)?,
        ))
    };
    let opening = format!("knock -d 50 {SERVER} 7000 8000 9000");
    let closing = format!("knock -d 50 {SERVER} 9000 8000 7000");
    Ok(vec![
        reach("before", None, false)?,
        reach("after the knock", Some(&opening), true)?,
        reach("after the other knock", Some(&closing), false)?,
    ])
}
