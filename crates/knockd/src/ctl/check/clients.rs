//! Ports of sealed packets that the kernel gives to programs of this machine that ask for any
//! (`ip_local_port_range`), unless they are kept from that (`ip_local_reserved_ports`): both are
//! described in the kernel's `Documentation/networking/ip-sysctl.rst`, and count for IPv6 as well.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use knock_core::config::Config;

/// Where the kernel says both.
pub(in super::super) const FOLDER: &str = "/proc/sys/net/ipv4";

const RANGE: &str = "ip_local_port_range";
const RESERVED: &str = "ip_local_reserved_ports";

/// What is to be said of the ports at which sealed packets arrive; empty if that is nothing, or not
/// known. It is no mistake: a knock is heard in any case.
pub(super) fn text(config: &Config, folder: &Path) -> String {
    if config.doors.iter().all(|door| door.spa.is_none()) {
        return String::new();
    }
    let reserved = fs::read_to_string(folder.join(RESERVED)).unwrap_or_default();
    let Some(given) = given(folder) else {
        return String::new();
    };
    let kept: Vec<_> = ranges(&reserved).collect();
    let is_kept = |port: &u16| kept.iter().any(|range| range.contains(port));
    let ports = config.spa_ports().iter();
    let open: Vec<_> = ports
        .filter(|port| given.contains(port) && !is_kept(port))
        .map(u16::to_string)
        .collect();
    if open.is_empty() {
        return String::new();
    }
    let all = [reserved.trim().to_owned()].into_iter().chain(open.clone());
    let all: Vec<_> = all.filter(|each| !each.is_empty()).collect();
    format!(
        "UDP port {} of sealed packets is one that programs of this machine may be given ({} to \
         {});\nknocks are heard all the same. To keep it free:\n    \
         sysctl -w net.ipv4.{RESERVED}={}\n",
        open.join(", "),
        given.start(),
        given.end(),
        all.join(",")
    )
}

/// The ports that the kernel gives to programs that ask for any, if it says so.
pub(in super::super) fn given(folder: &Path) -> Option<RangeInclusive<u16>> {
    let given = fs::read_to_string(folder.join(RANGE)).ok()?;
    range(given.split_ascii_whitespace())
}

/// Two ports.
fn range<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<RangeInclusive<u16>> {
    let first = words.next()?.parse().ok()?;
    Some(first..=words.next()?.parse().ok()?)
}

/// Ports and ranges of them, with commas between.
fn ranges(list: &str) -> impl Iterator<Item = RangeInclusive<u16>> {
    list.trim().split(',').filter_map(|each| {
        let (first, last) = each.split_once('-').unwrap_or((each, each));
        range([first, last].into_iter())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH: &str = "[ssh]\nauthorized_keys = /k\nopen = tcp/22\n";

    fn told(text: &str, given: &str, reserved: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RANGE), given).unwrap();
        fs::write(folder.path().join(RESERVED), reserved).unwrap();
        let config = knock_core::config::parse(text.as_bytes(), &|_, _| None).config;
        super::text(&config.unwrap(), folder.path())
    }

    #[test]
    fn a_port_that_clients_may_be_given_is_told_unless_it_is_reserved() {
        let said = told(SSH, "32768\t60999\n", "\n");
        assert!(said.contains("port 51443 of sealed packets"), "{said}");
        assert!(said.ends_with("ip_local_reserved_ports=51443\n"), "{said}");
        let said = told(SSH, "32768\t60999\n", "8080,9000-9010\n");
        assert!(said.ends_with("ports=8080,9000-9010,51443\n"), "{said}");
        for reserved in ["51443\n", "80,51000-52000\n"] {
            assert_eq!(told(SSH, "32768\t60999\n", reserved), "");
        }
        assert_eq!(told(SSH, "52000\t60999\n", "\n"), "");
        assert_eq!(told(SSH, "", ""), "", "not known");
    }

    #[test]
    fn only_ports_at_which_something_is_heard_count() {
        let door = "[A]\nsequence = 7000\ncommand = true\n";
        assert_eq!(told(door, "32768\t60999\n", "\n"), "");
        let chosen = format!("[options]\nspa_port = 62000, 40000\n{SSH}");
        let said = told(&chosen, "32768\t60999\n", "\n");
        assert!(said.starts_with("UDP port 40000 of"), "{said}");
    }
}
