//! The manual page and the command line name the same options.

use std::collections::BTreeSet;

use clap::{Arg, Command};

const PAGE: &str = include_str!("../../../man/knock.1");

/// Every option as `-x` or `--long`, from the `.It` lines of the list of options.
fn documented() -> BTreeSet<String> {
    let items = PAGE.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    items
        .map(|item| item.split_once(" Ar ").map_or(item, |(names, _)| names))
        .flat_map(|names| names.split(" , "))
        .map(|name| format!("-{name}"))
        .collect()
}

/// The options of the program and of its subcommands; the subcommands' help comes by itself.
fn options() -> Vec<Arg> {
    let whole = knock::cli::command();
    let first: Vec<&Command> = whole.get_subcommands().collect();
    let second = first.iter().flat_map(|command| command.get_subcommands());
    let commands = std::iter::once(&whole)
        .chain(second)
        .chain(first.iter().copied());
    let arguments = commands.flat_map(Command::get_arguments);
    arguments
        .filter(|arg| !arg.is_positional())
        .cloned()
        .collect()
}

fn real() -> BTreeSet<String> {
    options()
        .iter()
        .flat_map(|arg| {
            let short = arg.get_short().map(|short| format!("-{short}"));
            let long = arg.get_long().map(|long| format!("--{long}"));
            [short, long]
        })
        .flatten()
        .collect()
}

#[test]
fn the_manual_lists_every_option_and_no_other() {
    assert_eq!(documented(), real());
}

#[test]
fn the_manual_names_every_key_of_a_profile() {
    let error = knock::profile::Saved::parse("nonsense = 1").unwrap_err();
    let keys: Vec<_> = error.split('`').skip(3).step_by(2).collect();
    assert!(keys.len() > 15, "{error}");
    let section = PAGE.split(".Ss Profiles").nth(1).unwrap();
    let section = section.split(".Ss ").next().unwrap();
    let words: BTreeSet<_> = section.split_ascii_whitespace().collect();
    let missing: Vec<_> = keys.iter().filter(|key| !words.contains(*key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_manual_says_which_options_take_a_value() {
    for arg in options() {
        let long = arg.get_long().unwrap();
        let item = PAGE.lines().find(|line| {
            let names = line.strip_prefix(".It Fl ").unwrap_or_default();
            names.split(' ').any(|word| word == format!("-{long}"))
        });
        let takes_value = arg.get_action().takes_values();
        assert_eq!(item.unwrap().contains(" Ar "), takes_value, "--{long}");
    }
}
