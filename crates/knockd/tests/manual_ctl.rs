//! `knockctl(1)` and the command line name the same commands and options.

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};
use knockd::ctl::Cli;

const PAGE: &str = include_str!("../../../man/knockctl.1");

/// The lines of DESCRIPTION: before its first subsection, or of the subsection of a command.
fn description(command: Option<&str>) -> impl Iterator<Item = &'static str> {
    let heading = command.map_or(".Sh DESCRIPTION".to_owned(), |name| format!(".Ss {name}"));
    let lines = PAGE.lines().skip_while(move |line| *line != heading);
    let is_heading = |line: &str| line.starts_with(".Sh ") || line.starts_with(".Ss ");
    lines.skip(1).take_while(move |line| !is_heading(line))
}

/// Each option with its names, and whether it takes a value.
type Options = BTreeSet<(String, bool)>;

fn documented(command: Option<&str>) -> Options {
    let items = description(command).filter_map(|line| line.strip_prefix(".It Fl "));
    let options = items.map(|item| match item.split_once(" Ar ") {
        Some((names, _)) => (names.to_owned(), true),
        None => (item.to_owned(), false),
    });
    options.collect()
}

fn real(command: &Command) -> Options {
    let names = |arg: &Arg| {
        let short = arg.get_short().map(|short| short.to_string());
        let long = arg.get_long().map(|long| format!("-{long}"));
        let names: Vec<_> = [short, long].into_iter().flatten().collect();
        (names.join(" , "), arg.get_action().takes_values())
    };
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    // Those of `gate up` and the like are told together.
    let below = command.get_subcommands().filter(|c| c.get_name() != "help");
    let below: Vec<_> = below.flat_map(all).collect();
    options.map(names).chain(below).collect()
}

fn all(command: &Command) -> Options {
    let help = ("h , -help".to_owned(), false);
    real(command).into_iter().filter(|o| *o != help).collect()
}

fn cli() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[test]
fn the_manual_lists_every_command_and_no_other() {
    let documented: BTreeSet<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss "))
        .map(str::to_owned)
        .collect();
    let command = cli();
    let commands = command.get_subcommands().map(Command::get_name);
    let real: BTreeSet<_> = commands
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, real);
}

#[test]
fn the_manual_lists_every_option_of_each_command_and_no_other() {
    let command = cli();
    let own: Options = ["h , -help", "V , -version"]
        .map(|names| (names.to_owned(), false))
        .into();
    assert_eq!(documented(None), own);
    for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = command.get_name();
        assert_eq!(documented(Some(name)), all(command), "{name}");
    }
}

#[test]
fn the_manual_says_every_default() {
    for command in cli().get_subcommands() {
        let takes_value = |arg: &&Arg| arg.get_action().takes_values();
        for arg in command.get_arguments().filter(takes_value) {
            for default in arg.get_default_values() {
                let page: Vec<_> = description(Some(command.get_name())).collect();
                let default = default.to_str().unwrap();
                assert!(page.iter().any(|line| line.contains(default)), "{default}");
            }
        }
    }
}
