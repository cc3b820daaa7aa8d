//! Rich rules of firewalld (firewall-cmd(1), firewalld.richlanguage(5)).

use std::time::Duration;

use knock_core::sequence::Protocol;
use knock_core::service::{Ports, Service};

use super::{Does, Meaning, Why, at, beyond, every_port, everybody, is_knocker, protocol};

/// What firewalld's own services open, as far as they are one port.
const SERVICES: [(&str, Protocol, u16); 6] = [
    ("ssh", Protocol::Tcp, 22),
    ("http", Protocol::Tcp, 80),
    ("https", Protocol::Tcp, 443),
    ("cockpit", Protocol::Tcp, 9090),
    ("openvpn", Protocol::Udp, 1194),
    ("wireguard", Protocol::Udp, 51820),
];

pub(super) fn meaning(args: &[&str]) -> Result<Meaning, Why> {
    let mut found = None;
    let mut time = None;
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (arg, None),
        };
        let mut value = || value.or_else(|| args.next()).unwrap_or_default();
        match option {
            "--zone" => drop(value()),
            "--quiet" | "-q" => {}
            "--timeout" => time = Some(seconds(value()).ok_or_else(|| beyond(arg))?),
            "--add-rich-rule" if found.is_none() => found = Some((Does::Open, rule(value())?)),
            "--remove-rich-rule" if found.is_none() => found = Some((Does::Close, rule(value())?)),
            "--permanent" => return Err("what is permanent stays after a reload".to_owned()),
            "--add-source" | "--remove-source" => return Err(every_port()),
            "--add-port" | "--add-service" | "--remove-port" | "--remove-service" => {
                return Err(everybody());
            }
            other => return Err(beyond(other)),
        }
    }
    let (does, service) = found.ok_or("it has no rich rule")?;
    Ok(Meaning {
        does,
        services: vec![service],
        time: time.filter(|_| does == Does::Open),
    })
}

/// `rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept`
fn rule(text: &str) -> Result<Service, Why> {
    let text = text.replace(['"', '\''], "");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut words = words.as_slice();
    let (mut is_for_knocker, mut accepts, mut service) = (false, false, None);
    loop {
        words = match words {
            [] => break,
            ["rule" | "family=ipv4" | "family=ipv6", rest @ ..] => rest,
            ["source", source, rest @ ..] => {
                let address = source.strip_prefix("address=").unwrap_or_default();
                if !is_knocker(address) {
                    return Err(beyond(source));
                }
                is_for_knocker = true;
                rest
            }
            ["port", first, second, rest @ ..] if service.is_none() => {
                service = Some(port(&[first, second])?);
                rest
            }
            ["service", name, rest @ ..] if service.is_none() => {
                service = Some(named(name.strip_prefix("name=").unwrap_or_default())?);
                rest
            }
            ["accept", rest @ ..] => {
                accepts = true;
                rest
            }
            [other, ..] => return Err(beyond(other)),
        };
    }
    match (accepts, is_for_knocker) {
        (false, _) => Err("the rule does not accept".to_owned()),
        (true, false) => Err(everybody()),
        (true, true) => service.ok_or_else(every_port),
    }
}

/// `port=22` and `protocol=tcp`, in either order.
fn port(words: &[&str; 2]) -> Result<Service, Why> {
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let kind = value("protocol=").and_then(protocol);
    let kind = kind.ok_or_else(|| beyond(&words.join(" ")))?;
    let list = value("port=").filter(|list| !list.contains(','));
    let all = at(&[kind], list.unwrap_or_default(), '-', &|_, _| None)?;
    all.first().copied().ok_or_else(every_port)
}

fn named(name: &str) -> Result<Service, Why> {
    let service = SERVICES.iter().find(|(known, ..)| *known == name);
    let service =
        service.and_then(|(_, kind, port)| Some(Service::at(*kind, Ports::new(*port, *port)?)));
    service.ok_or_else(|| format!("which ports the service {name} has is written elsewhere"))
}

/// A number with s, m or h.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match text.strip_prefix(digits)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit)?)).filter(|time| !time.is_zero())
}
