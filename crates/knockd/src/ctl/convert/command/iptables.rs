//! Rules of iptables and ip6tables (iptables(8), iptables-extensions(8)).

use knock_core::service::Service;

use super::{
    Does, Lookup, Meaning, Why, at, beyond, every_port, everybody, has_new, is_knocker, protocol,
};

/// Matches whose options are understood.
const MODULES: [&str; 9] = [
    "tcp",
    "udp",
    "state",
    "conntrack",
    "multiport",
    "comment",
    "icmp",
    "icmp6",
    "icmpv6",
];

#[derive(Default)]
struct Rule<'a> {
    does: Option<Does>,
    chain: &'a str,
    is_for_knocker: bool,
    protocol: &'a str,
    ports: Option<&'a str>,
    is_echo: bool,
    target: &'a str,
}

pub(super) fn meaning(args: &[&str], services: Lookup<'_>) -> Result<Meaning, Why> {
    let rule = read(args)?;
    let does = rule
        .does
        .ok_or("it neither adds a rule nor takes one away")?;
    if rule.chain != "INPUT" {
        return Err(format!(
            "the rule is in the chain {}, not in INPUT",
            rule.chain
        ));
    }
    if rule.target != "ACCEPT" {
        return Err(format!(
            "the rule does not accept, but `-j {}`",
            rule.target
        ));
    }
    if !rule.is_for_knocker {
        return Err(everybody());
    }
    let services = match (protocol(rule.protocol), rule.ports) {
        (Some(protocol), Some(list)) => at(&[protocol], list, ':', services)?,
        (None, None) if rule.is_echo => vec![Service::Icmp],
        _ if rule.ports.is_none() => return Err(every_port()),
        _ => return Err(beyond(rule.protocol)),
    };
    Ok(Meaning {
        does,
        services,
        time: None,
    })
}

fn read<'a>(args: &[&'a str]) -> Result<Rule<'a>, Why> {
    let mut rule = Rule::default();
    let mut args = args.iter().copied().peekable();
    while let Some(option) = args.next() {
        let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
        match option {
            "-w" | "--wait" => drop(args.next_if(is_number)),
            "-A" | "--append" | "-I" | "--insert" | "-D" | "--delete" => {
                let opens = !option.starts_with("-D") && option != "--delete";
                rule.does = Some(if opens { Does::Open } else { Does::Close });
                rule.chain = value(option, args.next())?;
                let number = args.next_if(is_number);
                if !opens && number.is_some() {
                    return Err("a rule is taken away by its number".to_owned());
                }
            }
            "-t" | "--table" => match value(option, args.next())? {
                "filter" => {}
                other => return Err(format!("the rule is in the table {other}")),
            },
            "-s" | "--source" | "--src" => {
                let source = value(option, args.next())?;
                if !is_knocker(source) {
                    return Err(beyond(&format!("{option} {source}")));
                }
                rule.is_for_knocker = true;
            }
            "-p" | "--protocol" | "--proto" => rule.protocol = value(option, args.next())?,
            "-m" | "--match" => {
                let module = value(option, args.next())?;
                if !MODULES.contains(&module) {
                    return Err(beyond(&format!("-m {module}")));
                }
            }
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                rule.ports = Some(value(option, args.next())?);
            }
            "--state" | "--ctstate" => {
                let states = value(option, args.next())?;
                if !has_new(states) {
                    return Err(beyond(&format!("{option} {states}")));
                }
            }
            "--icmp-type" | "--icmpv6-type" => {
                let kind = value(option, args.next())?;
                rule.is_echo = matches!(kind, "echo-request" | "8" | "8/0" | "128" | "128/0");
                if !rule.is_echo {
                    return Err(beyond(&format!("{option} {kind}")));
                }
            }
            "--comment" => drop(value(option, args.next())?),
            // What begins a connection, which is what a door lets in.
            "--syn" => {}
            "-j" | "--jump" => rule.target = value(option, args.next())?,
            other => return Err(beyond(other)),
        }
    }
    let is_icmp = matches!(rule.protocol, "icmp" | "icmpv6" | "ipv6-icmp" | "1" | "58");
    rule.is_echo &= is_icmp;
    Ok(rule)
}

fn value<'a>(option: &str, next: Option<&'a str>) -> Result<&'a str, Why> {
    next.ok_or_else(|| format!("`{option}` has no value"))
}
