//! What `docs/guide/ssh-key.md` and `docs/guide/audit.md` tell an administrator to write and to type is
//! right.

use clap::Parser;
use knock_core::config;
use knockd::ctl::Cli;

const GUIDE: &str = include_str!("../../../docs/guide/ssh-key.md");
const AUDIT: &str = include_str!("../../../docs/guide/audit.md");

/// The blocks between fences.
fn blocks() -> impl Iterator<Item = &'static str> {
    GUIDE.split("```").skip(1).step_by(2)
}

#[test]
fn its_configuration_has_no_mistake_and_guards_what_it_says() {
    let text = blocks().find(|block| block.contains("[options]")).unwrap();
    // In a fence, lines begin behind the first one's end.
    let parsed = config::parse(text.trim_start().as_bytes(), &|_, _| None);
    let config = parsed.config.unwrap();
    assert_eq!(config.doors.len(), 1);
    let door = &config.doors[0];
    assert!(door.spa.is_some() && door.action.native.is_some());
    assert_eq!(config.silent_ports(), [51_443]);
    assert!(GUIDE.contains("UDP port 51443"));
}

/// The commands of `knockctl` in a page, in its blocks and between backquotes.
fn commands(page: &str) -> Vec<&str> {
    let in_blocks = page.split("```").skip(1).step_by(2).flat_map(str::lines);
    let quoted = page.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|text| !text.contains('\n'));
    let all = in_blocks.chain(quoted).map(|line| {
        let line = line.trim().trim_start_matches("$ ");
        line.trim_start_matches("sudo ")
    });
    all.filter(|line| line.starts_with("knockctl ")).collect()
}

#[test]
fn every_knockctl_command_of_it_is_understood() {
    let (guide, audit) = (commands(GUIDE), commands(AUDIT));
    assert!(guide.len() > 8 && audit.len() > 3, "{guide:?} {audit:?}");
    for command in guide.into_iter().chain(audit) {
        let command = command.replace("HASH", &"0f".repeat(32));
        let understood = Cli::try_parse_from(command.split_ascii_whitespace());
        assert!(understood.is_ok(), "{command}");
    }
}

#[test]
fn the_trail_of_the_guide_is_switched_on_as_it_says() {
    let block = AUDIT.split("```").nth(1).unwrap();
    let text = format!("{}[A]\nsequence = 1\n", block.trim_start());
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    assert_eq!(parsed.diagnostics, []);
    let trail = parsed.config.unwrap().options.audit_file;
    assert_eq!(trail.as_deref(), Some("/var/log/knockd-audit.jsonl"));
}

#[test]
fn its_links_lead_somewhere() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide");
    let links = GUIDE
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let links: Vec<_> = links.collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        let (file, place) = link.split_once('#').unwrap_or((link, ""));
        let page = match file {
            "" => GUIDE.to_owned(),
            file => std::fs::read_to_string(here.join(file)).expect(link),
        };
        let heading = |line: &str| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            text.replace(' ', "-").replace([',', '.', ':', '\''], "")
        };
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let mut headings = headings.map(heading);
        assert!(
            place.is_empty() || headings.any(|found| found == place),
            "{link}"
        );
    }
}
