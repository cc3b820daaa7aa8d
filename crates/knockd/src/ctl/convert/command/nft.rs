//! Rules of nftables that a command adds (nft(8)).

use knock_core::sequence::Protocol;
use knock_core::service::Service;

use super::{
    Does, Lookup, Meaning, Why, at, beyond, every_port, everybody, has_new, is_knocker, protocol,
};

const FAMILIES: [&str; 3] = ["inet", "ip", "ip6"];

#[derive(Default)]
struct Rule {
    is_for_knocker: bool,
    protocols: Vec<Protocol>,
    ports: Option<String>,
    is_echo: bool,
    accepts: bool,
}

pub(super) fn meaning(args: &[&str], services: Lookup<'_>) -> Result<Meaning, Why> {
    // It joins its arguments, and divides them anew.
    let text = args
        .join(" ")
        .replace('{', " { ")
        .replace('}', " } ")
        .replace(',', " , ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut words = words.as_slice();
    words = match words {
        ["add" | "insert", "rule", rest @ ..] => rest,
        ["add" | "insert", "element", ..] => {
            return Err("what a set lets in is written elsewhere".to_owned());
        }
        ["delete", "rule", ..] => {
            return Err("which rule a handle names is not written here".to_owned());
        }
        _ => return Err("it adds no rule".to_owned()),
    };
    if let [family, rest @ ..] = words
        && FAMILIES.contains(family)
    {
        words = rest;
    }
    let [_table, chain, rest @ ..] = words else {
        return Err("it names no chain".to_owned());
    };
    if !chain.eq_ignore_ascii_case("input") {
        return Err(format!("the rule is in the chain {chain}, not in input"));
    }
    let rule = read(rest)?;
    if !rule.accepts {
        return Err("the rule does not accept".to_owned());
    }
    if !rule.is_for_knocker {
        return Err(everybody());
    }
    let services = match rule.ports {
        Some(ports) => at(&rule.protocols, &ports, '-', services)?,
        None if rule.is_echo => vec![Service::Icmp],
        None => return Err(every_port()),
    };
    Ok(Meaning {
        does: Does::Open,
        services,
        time: None,
    })
}

fn read(words: &[&str]) -> Result<Rule, Why> {
    let mut rule = Rule::default();
    let mut words = words;
    loop {
        words = match words {
            [] => return Ok(rule),
            ["position" | "index" | "handle", _, rest @ ..] => rest,
            ["ip" | "ip6", "saddr", source, rest @ ..] => {
                if !is_knocker(source) {
                    return Err(beyond(&format!("saddr {source}")));
                }
                rule.is_for_knocker = true;
                rest
            }
            [name, "dport", rest @ ..] => {
                let Some(protocol) = protocol(name) else {
                    return Err(beyond(name));
                };
                let (list, rest) = list(rest)?;
                if rule.ports.is_some() {
                    return Err(beyond("dport"));
                }
                rule.protocols.push(protocol);
                rule.ports = Some(list);
                rest
            }
            ["meta", "l4proto", name, rest @ ..] if protocol(name).is_some() => rest,
            ["ct", "state", rest @ ..] => {
                let (list, rest) = list(rest)?;
                if !has_new(&list) {
                    return Err(beyond(&format!("ct state {list}")));
                }
                rest
            }
            ["icmp" | "icmpv6", "type", "echo-request", rest @ ..] => {
                rule.is_echo = true;
                rest
            }
            ["counter", rest @ ..] => rest,
            ["comment", ..] => return Ok(rule),
            ["accept", rest @ ..] => {
                rule.accepts = true;
                rest
            }
            [other, ..] => return Err(beyond(other)),
        };
    }
}

/// One value, some with commas between, or some in braces; with commas between.
fn list<'a, 'b>(words: &'a [&'b str]) -> Result<(String, &'a [&'b str]), Why> {
    if let ["{", rest @ ..] = words {
        let end = rest.iter().position(|word| *word == "}");
        let (inner, rest) = rest.split_at(end.ok_or("a brace is not closed")?);
        return Ok((inner.concat(), rest.get(1..).unwrap_or_default()));
    }
    let mut list = String::new();
    let mut words = words;
    loop {
        let [value, rest @ ..] = words else {
            return Err("a value is missing".to_owned());
        };
        list.push_str(value);
        let [",", rest @ ..] = rest else {
            return Ok((list, rest));
        };
        list.push(',');
        words = rest;
    }
}
