//! `knockd.conf(5)` and the sample configuration, held to the table of keys and to the parser.

use std::collections::BTreeSet;

use knock_core::config::keys::{KEYS, KeySpec, Place};
use knock_core::config::{Config, lint, parse};

const PAGE: &str = include_str!("../../../man/knockd.conf.5");
const SAMPLE: &str = include_str!("../../../pkg/knockd.conf");

/// The lines of a section of the page, from its heading to the next.
fn section(name: &str) -> impl Iterator<Item = &'static str> {
    let heading = format!(".Sh {name}");
    let lines = PAGE.lines().skip_while(move |line| *line != heading);
    lines.skip(1).take_while(|line| !line.starts_with(".Sh "))
}

/// The spellings that an `.It` line of a key names, the proper one first.
fn spellings(line: &'static str) -> Option<Vec<&'static str>> {
    let (names, _) = line.strip_prefix(".It Ic ")?.split_once(" No =")?;
    Some(names.split(" | ").collect())
}

fn documented(name: &str) -> BTreeSet<Vec<&'static str>> {
    section(name).filter_map(spellings).collect()
}

fn real(place: Place) -> BTreeSet<Vec<&'static str>> {
    let there = |spec: &&KeySpec| spec.place == place || spec.place == Place::Both;
    let specs = KEYS.iter().filter(there);
    specs.map(|spec| spec.spellings().collect()).collect()
}

#[test]
fn the_manual_lists_every_key_where_it_may_stand_and_no_other() {
    assert_eq!(documented("OPTIONS"), real(Place::Options));
    assert_eq!(documented("DOORS"), real(Place::Door));
}

#[test]
fn the_manual_says_every_default_that_is_a_number_or_a_path() {
    let said = |spec: &&KeySpec| {
        spec.default
            .starts_with(|c: char| c.is_ascii_digit() || c == '/')
    };
    for spec in KEYS.iter().filter(said) {
        let place = match spec.place {
            Place::Door => "DOORS",
            Place::Options | Place::Both => "OPTIONS",
        };
        let items = section(place)
            .skip_while(|line| spellings(line).is_none_or(|names| !names.contains(&spec.name)));
        let item: Vec<_> = items
            .skip(1)
            .take_while(|line| !line.starts_with(".It "))
            .collect();
        let item = item.join(" ");
        let (_, default) = item.rsplit_once("The default is").unwrap();
        assert!(default.contains(spec.default), "{}: {default}", spec.name);
    }
}

/// Parses a text in which nothing may be wrong or doubtful.
fn flawless(text: &str) -> Option<Config> {
    let parsed = parse(text.as_bytes(), &|_, _| None);
    assert_eq!(parsed.diagnostics, []);
    let config = parsed.config?;
    assert_eq!(lint(&config, &parsed.places), []);
    Some(config)
}

#[test]
fn the_examples_of_the_manual_work() {
    let text: Vec<&str> = section("EXAMPLES").collect();
    let text = text.join("\n");
    let examples = text.split(".Bd -literal -offset indent\n").skip(1);
    let doors = examples.map(|example| {
        let (example, _) = example.split_once(".Ed").unwrap();
        flawless(example).unwrap().doors.len()
    });
    assert_eq!(doors.collect::<Vec<_>>(), [2, 1, 2, 1, 1]);
}

#[test]
fn the_sample_works_and_so_does_what_is_commented_out_in_it() {
    assert_eq!(flawless(SAMPLE).unwrap().doors.len(), 2);
    let all = SAMPLE.replace("\n#[", "\n[").replace("\n#\t", "\n\t");
    let config = flawless(&all).unwrap();
    assert_eq!(config.doors.len(), 6);
    assert_eq!(config.options.interfaces, ["eth0", "ppp0"]);
}
