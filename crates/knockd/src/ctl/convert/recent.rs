//! Rules of iptables with the match `recent` (iptables-extensions(8)), as `iptables-save` prints them,
//! or as commands that add them.

use std::time::Duration;

use super::Lookup;
use super::command::{at, protocol};
use super::quoted::words;
use super::stages::{End, Rule, Rules};

/// Where packets to this machine begin, and those through it.
const ROOTS: [&str; 3] = ["PREROUTING", "INPUT", "FORWARD"];

/// The list of rules that name none.
const UNNAMED: &str = "DEFAULT";

/// Matches whose own names ask nothing.
const MODULES: [&str; 8] = [
    "tcp",
    "udp",
    "state",
    "conntrack",
    "multiport",
    "comment",
    "recent",
    "icmp",
];

/// The rules of a text.
pub(super) fn rules(text: &str, services: Lookup<'_>) -> Rules {
    let mut rules = Rules {
        from: "iptables rules",
        roots: ROOTS.map(String::from).into(),
        ..Rules::default()
    };
    let mut is_filter = true;
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if let Some(table) = text.strip_prefix('*') {
            is_filter = table == "filter";
        }
        let words = words(text, &['"', '\'']);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let elsewhere = words
            .windows(2)
            .any(|pair| matches!(pair, ["-t" | "--table", table] if *table != "filter"));
        if !is_filter || elsewhere || text.starts_with('#') {
            continue;
        }
        if let Some((chain, place, rule)) = rule(line, &words, services) {
            let chain = rules.chains.entry(chain).or_default();
            chain.insert(place.unwrap_or(chain.len()).min(chain.len()), rule);
        }
    }
    rules
}

/// One use of the match.
struct Recent<'a> {
    name: &'a str,
    does: Does,
    is_negated: bool,
    time: Option<Duration>,
}

#[derive(PartialEq)]
enum Does {
    Nothing,
    Asks,
    Adds,
    Removes,
}

/// The chain, the place in it if it is not the end, and the rule.
fn rule(
    line: usize,
    words: &[&str],
    services: Lookup<'_>,
) -> Option<(String, Option<usize>, Rule)> {
    let start = words
        .iter()
        .position(|word| matches!(*word, "-A" | "--append" | "-I" | "--insert"))?;
    let (command, rest) = words.get(start..)?.split_first()?;
    let (chain, rest) = rest.split_first()?;
    let mut rest = rest;
    let mut place = None;
    if command.starts_with("-I") || *command == "--insert" {
        let number: Option<usize> = rest.first().and_then(|word| word.parse().ok());
        rest = if number.is_some() {
            rest.get(1..)?
        } else {
            rest
        };
        place = Some(number.unwrap_or(1).saturating_sub(1));
    }
    let mut read = Reader {
        rule: Rule {
            line,
            ..Rule::default()
        },
        recents: Vec::new(),
        protocol: None,
        ports: None,
    };
    read.options(rest);
    Some(((*chain).to_owned(), place, read.finish(services)))
}

struct Reader<'a> {
    rule: Rule,
    recents: Vec<Recent<'a>>,
    protocol: Option<&'a str>,
    ports: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn options(&mut self, words: &[&'a str]) {
        let mut is_negated = false;
        let mut words = words.iter().copied().peekable();
        while let Some(option) = words.next() {
            if option == "!" {
                is_negated = true;
                continue;
            }
            if let "-j" | "--jump" | "-g" | "--goto" = option {
                let is_goto = matches!(option, "-g" | "--goto");
                self.rule.end = end(words.next().unwrap_or_default(), is_goto);
                // What follows is the target's.
                return;
            }
            let takes = !matches!(
                option,
                "--set"
                    | "--rcheck"
                    | "--update"
                    | "--remove"
                    | "--rsource"
                    | "--rdest"
                    | "--rttl"
                    | "--reap"
                    | "--syn"
            );
            let value = if takes {
                words.next().unwrap_or_default()
            } else {
                ""
            };
            self.option(option, value, is_negated);
            is_negated = false;
        }
    }

    fn option(&mut self, option: &'a str, value: &'a str, is_negated: bool) {
        let is_new = |list: &str| list.split(',').any(|state| state == "NEW");
        match option {
            "-m" | "--match" if value == "recent" => self.recents.push(Recent {
                name: UNNAMED,
                does: Does::Nothing,
                is_negated: false,
                time: None,
            }),
            "-m" | "--match" if MODULES.contains(&value) => {}
            "--comment" | "--syn" | "--rsource" | "--mask" | "--reap" | "-t" | "--table" => {}
            "--state" | "--ctstate" if is_new(value) && !is_negated => {}
            "-p" | "--protocol" if !is_negated => self.protocol = Some(value),
            "--dport" | "--dports" | "--destination-port" if !is_negated => {
                self.ports = Some(value);
            }
            "--name" | "--seconds" | "--rcheck" | "--update" | "--set" | "--remove" => {
                self.recent(option, value, is_negated);
            }
            other => {
                let sign = if is_negated { "! " } else { "" };
                self.rule
                    .other
                    .push(format!("{sign}{other} {value}").trim().to_owned());
            }
        }
    }

    fn recent(&mut self, option: &str, value: &'a str, is_negated: bool) {
        let Some(recent) = self.recents.last_mut() else {
            return;
        };
        match option {
            "--name" => recent.name = value,
            "--seconds" => recent.time = value.parse().ok().map(Duration::from_secs),
            "--set" => recent.does = Does::Adds,
            "--remove" => recent.does = Does::Removes,
            _ => recent.does = Does::Asks,
        }
        recent.is_negated |= is_negated;
    }

    fn finish(mut self, services: Lookup<'_>) -> Rule {
        for recent in self.recents {
            let name = recent.name.to_owned();
            match (recent.does, recent.is_negated) {
                (Does::Asks, false) => self.rule.on.push((name, recent.time)),
                (Does::Asks, true) => self.rule.off.push(name),
                (Does::Adds, _) => self.rule.adds.push((name, None)),
                (Does::Removes | Does::Nothing, _) => {}
            }
        }
        if let Some(list) = self.ports {
            let protocol = self.protocol.and_then(protocol);
            match at(protocol.as_slice(), list, ':', services) {
                Ok(at) if !at.is_empty() => self.rule.at = at,
                Ok(_) | Err(_) => self.rule.other.push(format!("--dport {list}")),
            }
        } else if let Some(protocol) = self.protocol.filter(|name| *name != "all") {
            // All of it is less than everything.
            self.rule.other.push(format!("-p {protocol}"));
        }
        self.rule
    }
}

fn end(target: &str, is_goto: bool) -> End {
    match target {
        "ACCEPT" => End::Accept,
        "DROP" | "REJECT" | "TARPIT" => End::Drop,
        "RETURN" => End::Return,
        // One that is no chain has no rules, and goes on.
        chain if is_goto => End::Goto(chain.to_owned()),
        chain => End::Jump(chain.to_owned()),
    }
}
