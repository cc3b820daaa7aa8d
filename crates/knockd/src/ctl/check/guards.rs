//! What a configuration keeps shut, and who is let in: nobody should learn it by being locked out.

use std::env;

use knock_core::config::Config;
use knock_core::config::guard::Guards;
use knock_core::door::{Door, Native};
use knock_core::sequence::Protocol;
use knock_core::time::InUnits;

/// Where an ssh server is, unless something says otherwise.
const SSH: u16 = 22;
/// Longer lists of doors, and of services, are counted.
const MAX_DOORS: usize = 4;
const MAX_SERVICES: usize = 40;

/// The port that the ssh session of this process came in at: the last of the four words of
/// `SSH_CONNECTION` (`ssh(1)`, ENVIRONMENT).
pub(in super::super) fn ssh_port() -> Option<u16> {
    port_of(&env::var("SSH_CONNECTION").ok()?)
}

fn port_of(connection: &str) -> Option<u16> {
    let mut words = connection.split_ascii_whitespace();
    words.nth(3)?.parse().ok()
}

/// What is guarded, one service a line, and a note if an ssh server is among it, whose port may be
/// `ssh`. Nothing if no door has `open`.
pub(super) fn text(config: &Config, ssh: Option<u16>) -> String {
    let guards = Guards::of(&config.doors);
    let services: Vec<_> = guards.services().collect();
    if services.is_empty() {
        return String::new();
    }
    let shown = || services.iter().take(MAX_SERVICES);
    let width = shown().map(|(service, _)| service.to_string().len()).max();
    let width = width.unwrap_or_default();
    let rows = shown().map(|(service, doors)| {
        let service = service.to_string();
        format!("    {service:width$}  {}\n", openers(doors))
    });
    let more = services.len().saturating_sub(MAX_SERVICES);
    let more = (more > 0).then(|| format!("    and {more} more\n"));
    let guarded = |port: &u16| guards.opener(Protocol::Tcp, *port).is_some();
    let port = [ssh, Some(SSH)].into_iter().flatten().find(guarded);
    let note = port.map(|port| {
        let whose = if ssh == Some(port) {
            ", where this ssh session came in,"
        } else {
            ""
        };
        format!(
            "note: tcp/{port}{whose} will be closed to everybody who has not knocked; \
             use `knockctl arm` for the first time\n"
        )
    });
    let silent = config.silent_ports().iter().map(|port| {
        let port = format!("udp/{port}");
        format!("    {port:width$}  opened by nobody: sealed packets are heard there\n")
    });
    let heading = "\nclosed to everybody who has not knocked:\n".to_owned();
    let lines = std::iter::once(heading).chain(rows).chain(more);
    let lines = lines.chain(silent).chain(note);
    lines.collect()
}

/// `opened by ssh for 30s, vpn for 1m`. A section's name may hold any bytes.
fn openers(doors: &[(&Door, &Native)]) -> String {
    let shown = doors.iter().take(MAX_DOORS).map(|(door, native)| {
        let name = door.name.escape_debug();
        format!("{name} for {}", InUnits(native.open_for))
    });
    let more = doors.len().saturating_sub(MAX_DOORS);
    let more = (more > 0).then(|| format!("and {more} more"));
    let all: Vec<String> = shown.chain(more).collect();
    format!("opened by {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config::parse;

    fn told(doors: &str, ssh: Option<u16>) -> String {
        let parsed = parse(doors.as_bytes(), &|_, _| None);
        text(&parsed.config.unwrap(), ssh)
    }

    const DOORS: &str = "[admin]\nsequence = 1\nopen = tcp/22, udp/51820\n\
                         [vp\x1bn]\nsequence = 2\nopen = udp/51820, icmp\nopen_for = 2m\n";

    #[test]
    fn what_is_guarded_is_listed_with_the_doors_that_open_it() {
        assert_eq!(
            told(DOORS, None),
            "\nclosed to everybody who has not knocked:\n    \
             tcp/22     opened by admin for 30s\n    \
             udp/51820  opened by admin for 30s, vp\\u{1b}n for 2m\n    \
             icmp       opened by vp\\u{1b}n for 2m\n\
             note: tcp/22 will be closed to everybody who has not knocked; \
             use `knockctl arm` for the first time\n"
        );
    }

    #[test]
    fn ports_of_sealed_packets_are_closed_to_everybody() {
        let doors = "[A]\nauthorized_keys = /k\nopen = tcp/80\n";
        let line = "    udp/51443  opened by nobody: sealed packets are heard there\n";
        assert!(told(doors, None).ends_with(line), "{}", told(doors, None));
        let loud = format!("[options]\nspa_silent = no\n{doors}");
        assert!(!told(&loud, None).contains("51443"));
    }

    #[test]
    fn a_file_without_native_doors_has_nothing_to_tell() {
        assert_eq!(told("[A]\nsequence = 22\ncommand = x\n", Some(22)), "");
    }

    #[test]
    fn the_port_of_this_ssh_session_is_the_one_to_care_for() {
        let doors = "[A]\nsequence = 1\nopen = tcp/22, tcp/2000-3000\n";
        assert!(told(doors, Some(2222)).contains("tcp/2222, where this ssh session came in, "));
        assert!(told(doors, Some(4444)).contains("note: tcp/22 will"));
        let web = "[A]\nsequence = 1\nopen = tcp/80\n";
        assert!(!told(web, Some(22)).contains("note"));
        assert_eq!(port_of("192.0.2.1 50000 192.0.2.2 2222"), Some(2222));
        assert_eq!(port_of(""), None);
    }

    #[test]
    fn long_lists_are_counted() {
        let door = |n: u16| format!("[{n}]\nsequence = 1\nopen = tcp/80, udp/{n}\n");
        let told = told(&(1..=50).map(door).collect::<String>(), None);
        assert!(
            told.contains("opened by 1 for 30s, 2 for 30s, 3 for 30s, 4 for 30s, and 46 more\n")
        );
        assert!(told.ends_with("    and 11 more\n"), "{told}");
    }
}
