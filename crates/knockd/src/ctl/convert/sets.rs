//! Rules of nftables that knock with sets of addresses (nft(8)), as `nft list ruleset` prints them, or
//! as a file for `nft -f` has them: tables with sets and chains in braces.

use std::collections::BTreeMap;
use std::time::Duration;

use knock_core::sequence::Protocol;
use knock_core::service::Service;

use super::Lookup;
use super::command::ports;
use super::stages::{End, Rule, Rules};

/// Where packets to this machine begin, and those through it.
const HOOKS: [&str; 3] = ["prerouting", "input", "forward"];

/// A word, or a sign that stands for itself, and its line.
type Token<'a> = (usize, &'a str);

/// What stands between rules.
const END: &str = "\n";

/// The rules of a text.
pub(super) fn rules(text: &str, services: Lookup<'_>) -> Rules {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        services,
        times: BTreeMap::new(),
        variables: BTreeMap::new(),
        rules: Rules {
            from: "nftables rules",
            ..Rules::default()
        },
    };
    reader.all();
    reader.rules
}

/// Signs that need no blanks around them.
const SIGNS: &str = "{},;=";

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let (token, next) = match first {
                '#' => break,
                '"' => {
                    let inner = rest.get(1..).unwrap_or_default();
                    let end = inner.find('"').unwrap_or(inner.len());
                    inner.split_at(end)
                }
                c if c.is_whitespace() => {
                    rest = rest.trim_start();
                    continue;
                }
                c if SIGNS.contains(c) => rest.split_at(1),
                _ => {
                    let divides = |c: char| c.is_whitespace() || SIGNS.contains(c);
                    // An operator such as != is one word.
                    let end = match rest.strip_prefix("!=") {
                        Some(_) => 2,
                        None => rest.find(divides).unwrap_or(rest.len()),
                    };
                    rest.split_at(end)
                }
            };
            tokens.push((number, token));
            rest = if first == '"' {
                next.get(1..).unwrap_or_default()
            } else {
                next
            };
        }
        tokens.push((number, END));
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    services: Lookup<'a>,
    /// How long an address stays in a set if nothing is said, by its name.
    times: BTreeMap<&'a str, Duration>,
    /// What `define` has given a name.
    variables: BTreeMap<&'a str, Vec<&'a str>>,
    rules: Rules,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Sets may be named before they are there, so they are read first.
    fn all(&mut self) {
        let tokens = self.tokens;
        self.times = times(tokens);
        while let Some((_, token)) = self.next() {
            match token {
                "define" => self.define(),
                "chain" => self.chain(),
                "set" | "map" | "flowtable" | "ct" => self.skip_block(),
                _ => {}
            }
        }
    }

    /// `define name = value`
    fn define(&mut self) {
        let statement = self.statement();
        let words: Vec<_> = statement.iter().map(|(_, word)| *word).collect();
        if let [name, "=", value @ ..] = words.as_slice() {
            self.variables.insert(name, value.to_vec());
        }
    }

    /// Up to its end, which is the end of the line, unless it is within braces.
    fn statement(&mut self) -> Vec<Token<'a>> {
        let mut statement = Vec::new();
        let mut depth = 0_usize;
        while let Some((line, token)) = self.tokens.first().copied() {
            match token {
                "{" => depth += 1,
                "}" if depth == 0 => return statement,
                "}" => depth -= 1,
                _ => {}
            }
            self.next();
            if depth == 0 && (token == END || token == ";") {
                return statement;
            }
            if token != END {
                statement.push((line, token));
            }
        }
        statement
    }

    /// `name { … }`
    fn skip_block(&mut self) {
        self.statement();
    }

    fn chain(&mut self) {
        let Some((_, name)) = self.next() else {
            return;
        };
        if self.tokens.first().map(|(_, token)| *token) != Some("{") {
            return;
        }
        self.next();
        let mut chain = Vec::new();
        while let Some((_, token)) = self.tokens.first().copied() {
            if token == "}" {
                self.next();
                break;
            }
            let statement = self.statement();
            let words: Vec<_> = statement.iter().map(|(_, word)| *word).collect();
            match words.as_slice() {
                [] => {}
                ["type", _, "hook", hook, ..] => {
                    if HOOKS.contains(hook) {
                        self.rules.roots.push(name.to_owned());
                    }
                }
                ["policy", ..] => {}
                words => {
                    let line = statement.first().map_or(0, |(line, _)| *line);
                    chain.push(self.rule(line, words));
                }
            }
        }
        self.rules
            .chains
            .entry(name.to_owned())
            .or_default()
            .extend(chain);
    }

    fn rule(&self, line: usize, words: &[&'a str]) -> Rule {
        let words: Vec<&str> = words.iter().flat_map(|word| self.resolved(word)).collect();
        let mut parts = Parts {
            rule: Rule {
                line,
                ..Rule::default()
            },
            reader: self,
            pairs: Vec::new(),
            kinds: Vec::new(),
        };
        parts.read(&words);
        parts.finish()
    }

    /// What a variable stands for.
    fn resolved(&self, word: &'a str) -> Vec<&'a str> {
        let value = word
            .strip_prefix('$')
            .and_then(|name| self.variables.get(name));
        value.cloned().unwrap_or_else(|| vec![word])
    }

    fn ports(&self, protocol: Protocol, word: &str) -> Option<Service> {
        let ports = ports(word, protocol, '-', self.services);
        Some(Service::at(protocol, ports?))
    }
}

/// The time-out of each set that has one.
fn times<'a>(tokens: &[Token<'a>]) -> BTreeMap<&'a str, Duration> {
    let mut times = BTreeMap::new();
    for (index, pair) in tokens.windows(3).enumerate() {
        let [(_, "set"), (_, name), (_, "{")] = pair else {
            continue;
        };
        let inside = tokens.iter().skip(index + 3).map(|(_, token)| *token);
        let inside: Vec<_> = inside
            .take_while(|token| !matches!(*token, "}" | "{"))
            .collect();
        let time = inside.windows(2).find_map(|pair| match pair {
            ["timeout", value] => time(value),
            _ => None,
        });
        if let Some(time) = time {
            times.insert(*name, time);
        }
    }
    times
}

/// A rule that is being read.
struct Parts<'r, 'a> {
    rule: Rule,
    reader: &'r Reader<'a>,
    /// Sets of an address and a port that the packet is in.
    pairs: Vec<String>,
    /// What is asked of its protocols, which ports say better.
    kinds: Vec<String>,
}

impl Parts<'_, '_> {
    fn read(&mut self, words: &[&str]) {
        let mut words = words;
        while !words.is_empty() {
            words = self.part(words);
        }
    }

    /// Reads the first part of what is left, and gives the rest.
    fn part<'w>(&mut self, words: &'w [&'w str]) -> &'w [&'w str] {
        match words {
            ["ip" | "ip6", "saddr", ".", _, "dport", set, rest @ ..] if set.starts_with('@') => {
                self.pairs.push(set.trim_start_matches('@').to_owned());
                rest
            }
            ["ip" | "ip6", "saddr", "!=", set, rest @ ..] if set.starts_with('@') => {
                self.rule.off.push(set.trim_start_matches('@').to_owned());
                rest
            }
            ["ip" | "ip6", "saddr", set, rest @ ..] if set.starts_with('@') => {
                self.rule
                    .on
                    .push((set.trim_start_matches('@').to_owned(), None));
                rest
            }
            ["tcp" | "udp" | "th", "dport", "!=", rest @ ..] => {
                self.rule.other.push("dport !=".to_owned());
                list(rest).1
            }
            [protocol @ ("tcp" | "udp" | "th"), "dport", rest @ ..] => {
                let (values, rest) = list(rest);
                self.at(protocol, &values);
                rest
            }
            ["add" | "update", set, "{", rest @ ..] if set.starts_with('@') => self.adds(set, rest),
            // As it was written before nft 0.8.
            ["set", "add" | "update", _, "saddr", rest @ ..] => {
                let end = rest.iter().position(|word| word.starts_with('@'));
                let (element, rest) = rest.split_at(end.unwrap_or(rest.len()));
                if let [set, ..] = rest {
                    self.add(set, None, element);
                }
                rest.get(1..).unwrap_or_default()
            }
            ["delete", _, "{", rest @ ..] => braced(rest).1,
            ["ct", "state", rest @ ..] => {
                let (values, rest) = list(rest);
                if !values.contains(&"new") {
                    self.rule
                        .other
                        .push(format!("ct state {}", values.join(",")));
                }
                rest
            }
            ["counter", "packets", _, "bytes", _, rest @ ..] | ["counter", rest @ ..] => rest,
            ["meta", what @ ("nfproto" | "l4proto"), rest @ ..] => {
                let (values, rest) = list(rest);
                self.kinds.push(format!("meta {what} {}", values.join(",")));
                rest
            }
            ["comment" | "prefix" | "level", _, rest @ ..] => rest,
            ["log", rest @ ..] => rest,
            [verdict, rest @ ..] => self.verdict(verdict, rest),
            [] => &[],
        }
    }

    fn verdict<'w>(&mut self, verdict: &str, rest: &'w [&'w str]) -> &'w [&'w str] {
        self.rule.end = match (verdict, rest) {
            ("accept", _) => End::Accept,
            ("drop" | "reject", _) => End::Drop,
            ("return", _) => End::Return,
            ("jump", [chain, ..]) => End::Jump((*chain).to_owned()),
            ("goto", [chain, ..]) => End::Goto((*chain).to_owned()),
            (word, _) => {
                let known = self.rule.other.last_mut();
                // The words of one condition stand together.
                match known.filter(|_| self.rule.end == End::Next) {
                    Some(other) => *other = format!("{other} {word}"),
                    None => self.rule.other.push(word.to_owned()),
                }
                return rest;
            }
        };
        // What follows only says how it is done.
        &[]
    }

    fn at(&mut self, protocol: &str, values: &[&str]) {
        let protocols: &[Protocol] = match protocol {
            "tcp" => &[Protocol::Tcp],
            "udp" => &[Protocol::Udp],
            _ => &[Protocol::Tcp, Protocol::Udp],
        };
        for value in values {
            let all = protocols
                .iter()
                .map(|protocol| self.reader.ports(*protocol, value));
            let known: Option<Vec<_>> = all.collect();
            match known {
                Some(known) => self.rule.at.extend(known),
                None => self.rule.other.push(format!("{protocol} dport {value}")),
            }
        }
    }

    /// `{ ip saddr . 8000 timeout 5s }`, of which the first brace is gone.
    fn adds<'w>(&mut self, set: &str, words: &'w [&'w str]) -> &'w [&'w str] {
        let (element, rest) = braced(words);
        match element {
            [_, "saddr", ".", port, element @ ..] => self.add(set, Some(port), element),
            [_, "saddr", element @ ..] => self.add(set, None, element),
            _ => {}
        }
        rest
    }

    fn add(&mut self, set: &str, port: Option<&&str>, element: &[&str]) {
        let set = set.trim_start_matches('@');
        let said = element.windows(2).find_map(|pair| match pair {
            ["timeout", value] => time(value),
            _ => None,
        });
        let time = said.or_else(|| self.reader.times.get(set).copied());
        let list = match port {
            None => set.to_owned(),
            Some(port) => {
                // Names and numbers are the same port.
                let service = self.reader.ports(Protocol::Tcp, port);
                let number = service
                    .and_then(Service::ports)
                    .map(|(_, ports)| ports.first());
                number.map_or_else(|| format!("{set}.{port}"), |port| pair(set, port))
            }
        };
        self.rule.adds.push((list, time));
    }

    fn finish(mut self) -> Rule {
        for set in std::mem::take(&mut self.pairs) {
            let ports = self.rule.at.first().and_then(|service| service.ports());
            match ports {
                Some((_, ports)) => self.rule.on.push((pair(&set, ports.first()), None)),
                None => self.rule.other.push(format!("ip saddr . dport @{set}")),
            }
        }
        if self.rule.at.is_empty() {
            self.rule.other.append(&mut self.kinds);
        }
        self.rule
    }
}

/// The list of those who are in a set together with a port.
fn pair(set: &str, port: u16) -> String {
    format!("{set}.{port}")
}

/// One value, or some in braces; and what follows.
fn list<'w>(words: &'w [&'w str]) -> (Vec<&'w str>, &'w [&'w str]) {
    match words {
        ["{", rest @ ..] => {
            let (inner, rest) = braced(rest);
            let values = inner.iter().copied().filter(|word| *word != ",");
            (values.collect(), rest)
        }
        [value, rest @ ..] => {
            let mut values = vec![*value];
            let mut rest = rest;
            while let [",", value, more @ ..] = rest {
                values.push(value);
                rest = more;
            }
            (values, rest)
        }
        [] => (Vec::new(), &[]),
    }
}

/// Up to the brace that ends it, and what follows.
fn braced<'w>(words: &'w [&'w str]) -> (&'w [&'w str], &'w [&'w str]) {
    let end = words
        .iter()
        .position(|word| *word == "}")
        .unwrap_or(words.len());
    let (inner, rest) = words.split_at(end);
    (inner, rest.get(1..).unwrap_or_default())
}

/// `30s`, `1h30m`, `5`.
fn time(text: &str) -> Option<Duration> {
    let mut millis = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        millis = millis.checked_add(number.checked_mul(unit)?)?;
        rest = after;
    }
    (millis > 0).then(|| Duration::from_millis(millis))
}
