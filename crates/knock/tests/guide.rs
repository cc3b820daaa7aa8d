//! What the guide tells a user to type is understood, and what it says that `knock doctor` says, it does.

use std::ffi::OsString;

use clap::{Command, CommandFactory, Parser};
use knock::cli::doctor::Doctor;
use knock::cli::profile::Profile;
use knock::cli::single::{Connect, Enroll, SshConfig};
use knock::cli::{Args, command, parse};

const GUIDE: &str = include_str!("../../../docs/guide/ssh-key.md");
const CLIENT: &str = include_str!("../../../docs/guide/client.md");
const README: &str = include_str!("../../../README.md");
const DOCTOR: [&str; 5] = [
    include_str!("../src/spa/doctor.rs"),
    include_str!("../src/spa/doctor/machine.rs"),
    include_str!("../src/spa/doctor/ports.rs"),
    include_str!("../src/spa/doctor/server.rs"),
    include_str!("../src/store.rs"),
];
const ERRORS: &str = include_str!("../src/spa/knock.rs");

/// Each `knock …` that stands in a line of its own, or in backticks.
fn commands(page: &str) -> Vec<String> {
    let lines = page.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with("knock "));
    let quoted = page.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|text| text.starts_with("knock ") && !text.contains('\n'));
    let without_note = |text: &str| text.split('#').next().unwrap_or_default().to_owned();
    lines.chain(quoted).map(without_note).collect()
}

fn is_understood(command: &str) -> bool {
    let command = command.split(['<', '>', '&']).next().unwrap_or_default();
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    let rest = words.get(1..).unwrap_or_default();
    match words.get(1).copied() {
        Some("enroll") => Enroll::try_parse_from(rest).is_ok(),
        Some("connect") => Connect::try_parse_from(rest).is_ok(),
        Some("ssh-config") => SshConfig::try_parse_from(rest).is_ok(),
        Some("doctor") => Doctor::try_parse_from(rest).is_ok(),
        Some("profile") => Profile::try_parse_from(rest).is_ok(),
        _ => {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            parse(&words).is_ok()
        }
    }
}

#[test]
fn every_command_of_the_guide_is_understood() {
    for (page, least) in [(GUIDE, 8), (CLIENT, 11), (README, 3)] {
        let all = commands(page);
        assert!(all.len() >= least, "{all:?}");
        for command in all {
            // Named without what it is for, as `knock enroll`.
            let is_name = command.split_ascii_whitespace().count() < 3
                && !command.contains("server.example.com");
            assert!(is_name || is_understood(&command), "{command}");
        }
    }
    assert!(!is_understood("knock doctor"));
    assert!(!is_understood("knock --nonsense host"));
}

#[test]
fn every_profile_of_the_guide_can_be_used() {
    let blocks = CLIENT.split("```toml\n").skip(1);
    let texts: Vec<_> = blocks.filter_map(|text| text.split("```").next()).collect();
    assert_eq!(texts.len(), 2);
    for text in texts {
        knock::profile::Saved::parse(text).unwrap();
    }
}

/// The texts stand in the sources over several lines.
fn joined(source: &str) -> String {
    let joined = source.replace("\\\n", " ").replace("\\\"", "\"");
    joined
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_the_guide_says_that_the_doctor_says_it_says() {
    let sources: Vec<_> = DOCTOR
        .iter()
        .chain([&ERRORS])
        .map(|text| joined(text))
        .collect();
    let table = GUIDE.split("| the line says |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let texts: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert!(texts.len() > 12, "{texts:?}");
    for text in texts {
        let found = sources.iter().any(|source| source.contains(text));
        assert!(found, "no line of `knock doctor` says {text:?}");
    }
}

#[test]
fn the_help_names_every_subcommand() {
    let usage = Args::command().render_usage().to_string();
    let command = command();
    command.clone().debug_assert();
    let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    assert_eq!(names.len(), 5);
    for name in names {
        assert!(usage.contains(name), "{usage}");
    }
}
