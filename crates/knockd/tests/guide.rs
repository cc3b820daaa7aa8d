//! What `docs/guide/ssh-key.md` and its neighbours tell an administrator to write and to type is right.

use clap::{CommandFactory, Parser};
use knock_core::config;
use knockd::ctl::Cli;

const GUIDE: &str = include_str!("../../../docs/guide/ssh-key.md");
const AUDIT: &str = include_str!("../../../docs/guide/audit.md");

const FIRST_DOOR: &str = include_str!("../../../docs/guide/first-door.md");
const MIGRATE: &str = include_str!("../../../docs/migrate.md");

/// The blocks between fences, without the line of the first fence.
fn blocks(page: &'static str) -> impl Iterator<Item = &'static str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n').map(|(_, text)| text))
}

/// Every `knockctl …` of a page, in blocks or between backquotes.
fn commands(page: &'static str) -> Vec<&'static str> {
    let in_blocks = blocks(page).flat_map(str::lines);
    let outside = page.split("```").step_by(2);
    let quoted = outside.flat_map(|text| text.split('`').skip(1).step_by(2));
    let quoted = quoted.filter(|text| !text.contains('\n'));
    let all = in_blocks.chain(quoted);
    let all = all.map(|line| line.split(" | ").last().unwrap_or(line));
    let all = all.map(|line| line.split(" #").next().unwrap_or(line).trim());
    let all = all.map(|line| {
        line.trim_start_matches("server# ")
            .trim_start_matches("sudo ")
    });
    let all = all.map(|line| line.trim_start_matches("target/release/"));
    all.filter(|line| line.starts_with("knockctl ")).collect()
}

#[test]
fn its_configuration_has_no_mistake_and_guards_what_it_says() {
    let text = blocks(GUIDE)
        .find(|block| block.contains("[options]"))
        .unwrap();
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    let config = parsed.config.unwrap();
    assert_eq!(config.doors.len(), 1);
    let door = &config.doors[0];
    assert!(door.spa.is_some() && door.action.native.is_some());
    assert_eq!(config.silent_ports(), [51_443]);
    assert!(GUIDE.contains("UDP port 51443"));
}

#[test]
fn every_knockctl_command_is_understood() {
    for (page, least) in [(GUIDE, 9), (AUDIT, 4), (FIRST_DOOR, 12), (MIGRATE, 10)] {
        let all = commands(page);
        assert!(all.len() >= least, "{all:?}");
        for command in all {
            let command = command.replace("HASH", &"0f".repeat(32));
            let words: Vec<_> = command.split_ascii_whitespace().collect();
            // Two words may be no more than a name.
            let is_name = words.len() == 2 && Cli::command().find_subcommand(words[1]).is_some();
            let is_understood = Cli::try_parse_from(words).is_ok();
            assert!(is_understood || is_name, "{command}");
        }
    }
}

#[test]
fn the_trail_of_the_guide_is_switched_on_as_it_says() {
    let block = blocks(AUDIT).next().unwrap();
    let text = format!("{block}[A]\nsequence = 1\n");
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    assert_eq!(parsed.diagnostics, []);
    let trail = parsed.config.unwrap().options.audit_file;
    assert_eq!(trail.as_deref(), Some("/var/log/knockd-audit.jsonl"));
}

#[test]
fn what_the_first_door_shows_of_init_is_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("knockd.conf");
    let given = [
        "init",
        "--yes",
        "--port",
        "tcp/22",
        "--interface",
        "any",
        "--host",
        "203.0.113.2",
    ];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command
        .args(given)
        .arg("--output")
        .arg(&path)
        .env_remove("SSH_CONNECTION");
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed = printed.replace(&path.display().to_string(), "/etc/knockd.conf");
    let shown = blocks(FIRST_DOOR)
        .find(|block| block.contains("1 door"))
        .unwrap();
    let lines = shown
        .lines()
        .filter(|line| !line.contains("knock 203.0.113.2 "));
    for line in lines {
        assert!(printed.contains(line), "{line:?} is not in {printed}");
    }
    assert!(printed.contains("\n    knock 203.0.113.2 "), "{printed}");
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
