//! What `docs/guide/ssh-key.md` tells an administrator to write and to type is right.

use clap::Parser;
use knock_core::config;
use knockd::ctl::Cli;

const GUIDE: &str = include_str!("../../../docs/guide/ssh-key.md");

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

#[test]
fn every_knockctl_command_of_it_is_understood() {
    let in_blocks = blocks().flat_map(str::lines);
    let quoted = GUIDE.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|text| !text.contains('\n'));
    let all = in_blocks.chain(quoted);
    let all = all.map(|line| line.trim().trim_start_matches("sudo "));
    let all: Vec<_> = all.filter(|line| line.starts_with("knockctl ")).collect();
    assert!(all.len() > 8, "{all:?}");
    for command in all {
        let understood = Cli::try_parse_from(command.split_ascii_whitespace());
        assert!(understood.is_ok(), "{command}");
    }
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
