//! The helper that comes with the original, which adds a rule of iptables once: `knock_add`, or
//! `knock_helper_ipt.sh` in Debian. What its options are is said by its `-h`.

use super::{Does, Lookup, Meaning, Why, at, beyond, every_port, everybody, is_knocker, protocol};

pub(super) fn meaning(args: &[&str], services: Lookup<'_>) -> Result<Meaning, Why> {
    let mut does = None;
    let mut is_for_knocker = false;
    let mut kind = "tcp";
    let mut port = None;
    let mut args = args.iter().copied();
    while let Some(option) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| format!("`{option}` has no value"))
        };
        match option {
            "-a" | "--append" | "-i" | "--insert" => does = Some(Does::Open),
            "-x" | "--delete" => does = Some(Does::Close),
            "-v" | "--verbose" => {}
            "-c" | "--chain" => match value()? {
                "INPUT" => {}
                other => return Err(format!("the rule is in the chain {other}, not in INPUT")),
            },
            "-p" | "--proto" => kind = value()?,
            "-d" | "--dstport" => port = Some(value()?),
            "-f" | "--srcaddr" => {
                let source = value()?;
                if !is_knocker(source) {
                    return Err(beyond(&format!("{option} {source}")));
                }
                is_for_knocker = true;
            }
            other if other.starts_with("-m") => {}
            other => return Err(beyond(other)),
        }
    }
    if !is_for_knocker {
        return Err(everybody());
    }
    let protocols = [protocol(kind).ok_or_else(|| beyond(kind))?];
    Ok(Meaning {
        does: does.ok_or("it neither adds a rule nor takes one away")?,
        services: at(&protocols, port.ok_or_else(every_port)?, ':', services)?,
        time: None,
    })
}
