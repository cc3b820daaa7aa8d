//! Rules of ufw (ufw(8)).

use knock_core::sequence::Protocol;

use super::{Does, Lookup, Meaning, Why, at, beyond, every_port, everybody, is_knocker, protocol};

pub(super) fn meaning(args: &[&str], services: Lookup<'_>) -> Result<Meaning, Why> {
    let (does, mut words) = match skip_force(args) {
        ["insert", _, "allow", rest @ ..] | ["prepend", "allow", rest @ ..] => (Does::Open, rest),
        ["allow", rest @ ..] => (Does::Open, rest),
        ["delete", "allow", rest @ ..] => (Does::Close, rest),
        ["delete", number] if number.bytes().all(|b| b.is_ascii_digit()) => {
            return Err("a rule is taken away by its number".to_owned());
        }
        [other, ..] => return Err(beyond(other)),
        [] => return Err("it does nothing".to_owned()),
    };
    let mut is_for_knocker = false;
    let mut protocols = vec![Protocol::Tcp, Protocol::Udp];
    let mut list = None;
    loop {
        words = match words {
            [] => break,
            ["in", rest @ ..] => rest,
            ["on", ..] => return Err(beyond("on")),
            ["proto", name, rest @ ..] => {
                protocols = vec![protocol(name).ok_or_else(|| beyond(name))?];
                rest
            }
            ["from", source, rest @ ..] => {
                if !is_knocker(source) {
                    return Err(beyond(&format!("from {source}")));
                }
                is_for_knocker = true;
                // A port that stands here is that of the client.
                if rest.first() == Some(&"port") {
                    return Err(beyond("from … port"));
                }
                rest
            }
            ["to", "any", rest @ ..] => rest,
            ["port", ports, rest @ ..] => {
                list = Some(*ports);
                rest
            }
            ["comment", _, rest @ ..] => rest,
            [other, ..] if is_for_knocker => return Err(beyond(other)),
            [..] => return Err(everybody()),
        };
    }
    if !is_for_knocker {
        return Err(everybody());
    }
    Ok(Meaning {
        does,
        services: at(&protocols, list.ok_or_else(every_port)?, ':', services)?,
        time: None,
    })
}

fn skip_force<'a, 'b>(args: &'a [&'b str]) -> &'a [&'b str] {
    match args {
        ["--force", rest @ ..] => rest,
        args => args,
    }
}
