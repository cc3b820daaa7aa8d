//! A configuration of the original's, and what `knockctl convert` makes of it, with the same knocks.

use std::error::Error;
use std::path::Path;

use crate::site::{CLIENT, KNOCKD, OTHER, SERVER, Site, eventually, knock};
use crate::{Case, Outcome};

/// The distribution's.
const THEIRS: &str = "/usr/sbin/knockd";

pub(crate) const CASES: &[Case] = &[(
    "a_converted_file_opens_and_closes_the_same_port_by_the_same_knocks",
    is_possible,
    same,
)];

fn is_possible() -> bool {
    let programs = [Path::new(THEIRS), Path::new("/sbin/iptables"), &knock()];
    programs.iter().all(|program| program.is_file())
}

const EXAMPLE: &str = include_str!("../convert/examples/classic.conf");

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
