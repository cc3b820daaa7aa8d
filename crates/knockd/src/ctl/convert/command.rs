//! What a command of a firewall does, as far as it is certain: it opens ports to who has knocked, or
//! closes them again. Nothing is run, and what has one word too many is not understood.

mod firewalld;
mod helper;
mod iptables;
mod nft;
mod ufw;
mod words;

use std::time::Duration;

use knock_core::sequence::Protocol;
use knock_core::service::{Ports, Service};

use super::Lookup;
use words::words;

/// What stands for the address of who has knocked.
const KNOCKER: &str = "%IP%";

/// What a command does for who has knocked, and for nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) does: Does,
    /// At least one; sorted, each once.
    pub(super) services: Vec<Service>,
    /// After which it closes by itself.
    pub(super) time: Option<Duration>,
}

/// Which of the two.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Open,
    Close,
}

/// Why a command stays one; to be read after "since".
pub(super) type Why = String;

/// What `command` does, if all of it is understood; else why not.
pub(super) fn meaning(command: &str, services: Lookup<'_>) -> Result<Meaning, Why> {
    let mut all: Option<Meaning> = None;
    for simple in words(command)? {
        let one = simple_meaning(&simple, services)?;
        all = Some(match all.take() {
            None => one,
            Some(before) if before.does == one.does => Meaning {
                services: [before.services, one.services].concat(),
                time: before.time.max(one.time),
                does: one.does,
            },
            Some(_) => return Err("it opens and closes at once".to_owned()),
        });
    }
    let mut meaning = all.ok_or("it does nothing")?;
    meaning.services.sort_unstable();
    meaning.services.dedup();
    Ok(meaning)
}

fn simple_meaning(words: &[String], services: Lookup<'_>) -> Result<Meaning, Why> {
    let mut words: &[String] = words;
    while let [first, rest @ ..] = words {
        if program(first) != "sudo" {
            break;
        }
        words = rest;
        while let [option, rest @ ..] = words {
            if option != "-n" {
                break;
            }
            words = rest;
        }
    }
    let Some((first, rest)) = words.split_first() else {
        return Err("it does nothing".to_owned());
    };
    let args: Vec<&str> = rest.iter().map(String::as_str).collect();
    match program(first) {
        "iptables" | "iptables-nft" | "iptables-legacy" => iptables::meaning(&args, services),
        "ip6tables" | "ip6tables-nft" | "ip6tables-legacy" => iptables::meaning(&args, services),
        "nft" => nft::meaning(&args, services),
        "ufw" => ufw::meaning(&args, services),
        "firewall-cmd" => firewalld::meaning(&args),
        "knock_add" | "knock_helper_ipt.sh" => helper::meaning(&args, services),
        other => Err(format!("what `{other}` does is not known here")),
    }
}

/// The name of a program without its directories.
fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether a word is the address of who has knocked and no other.
fn is_knocker(word: &str) -> bool {
    matches!(word.strip_prefix(KNOCKER), Some("" | "/32" | "/128"))
}

/// The protocol that has this name in firewalls.
pub(super) fn protocol(word: &str) -> Option<Protocol> {
    match word {
        "tcp" | "6" => Some(Protocol::Tcp),
        "udp" | "17" => Some(Protocol::Udp),
        _ => None,
    }
}

/// One port, or the first and the last with `between` between them: numbers, or names of services.
pub(super) fn ports(
    word: &str,
    protocol: Protocol,
    between: char,
    services: Lookup<'_>,
) -> Option<Ports> {
    let number = |word: &str| word.parse().ok().or_else(|| services(word, protocol));
    let one = |word: &str| {
        let port = number(word)?;
        Ports::new(port, port)
    };
    one(word).or_else(|| {
        let (first, last) = word.split_once(between)?;
        Ports::new(number(first)?, number(last)?)
    })
}

/// What a rule is for: any of `protocols` at any of the ports in `list`, with commas between.
pub(super) fn at(
    protocols: &[Protocol],
    list: &str,
    between: char,
    services: Lookup<'_>,
) -> Result<Vec<Service>, Why> {
    let mut all = Vec::new();
    for protocol in protocols {
        for word in list.split(',').map(str::trim) {
            let ports = ports(word, *protocol, between, services);
            let ports = ports.ok_or_else(|| format!("`{word}` is no {protocol} port"))?;
            all.push(Service::at(*protocol, ports));
        }
    }
    Ok(all)
}

/// Whether a list of states has the one of connections that begin.
fn has_new(list: &str) -> bool {
    list.split(',')
        .any(|state| state.trim().eq_ignore_ascii_case("new"))
}

fn everybody() -> Why {
    "it opens for everybody, not only for who has knocked".to_owned()
}

fn every_port() -> Why {
    "it opens every port".to_owned()
}

fn beyond(word: &str) -> Why {
    format!("a door has no equal for `{word}`")
}
