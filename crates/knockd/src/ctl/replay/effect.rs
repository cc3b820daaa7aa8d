//! What the kernel would open and close at an opening.

use std::net::IpAddr;

use knock_core::door::{Action, Closing, Native};
use knock_core::target::Target;
use knock_core::time::InUnits;
use serde_json::{Map, Value, json};

/// `; would open tcp/22 for 30s`, also for which network if it is more than `source`, and
/// `; would close what ssh has opened`. Nothing for a door that has commands alone.
pub(super) fn text(action: &Action, source: IpAddr) -> String {
    let opens = action.native.as_ref().map(|native| {
        let services = services(native).join(", ");
        let time = InUnits(native.open_for);
        let network = network(native, source);
        let to = network.map_or_else(String::new, |network| format!(" to {network}"));
        format!("; would open {services} for {time}{to}")
    });
    let closes = action.close.as_ref().map(|Closing { door, kill }| {
        let door = door.escape_debug();
        let kill = if *kill {
            ", and end its connections"
        } else {
            ""
        };
        format!("; would close what {door} has opened{kill}")
    });
    [opens, closes].into_iter().flatten().collect()
}

/// The same as members of an object.
pub(super) fn members(action: &Action, source: IpAddr) -> Map<String, Value> {
    let mut members = Map::new();
    if let Some(native) = &action.native {
        let network = network(native, source).unwrap_or(Target::host(source));
        members.insert("open".into(), json!(services(native)));
        members.insert("open_for".into(), json!(native.open_for.as_secs_f64()));
        members.insert("open_to".into(), json!(network.to_string()));
    }
    if let Some(Closing { door, kill }) = &action.close {
        members.insert("close".into(), json!(door));
        members.insert("kill".into(), json!(kill));
    }
    members
}

fn services(native: &Native) -> Vec<String> {
    native.open.iter().map(ToString::to_string).collect()
}

/// The network that is let in, if it is more than `source`.
fn network(native: &Native, source: IpAddr) -> Option<Target> {
    let bits = match source {
        IpAddr::V4(_) => native.open_to.v4,
        IpAddr::V6(_) => native.open_to.v6,
    };
    Target::network(source, bits).filter(|network| *network != Target::host(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config::parse;

    fn action(body: &str) -> Action {
        let text = format!("[A]\nsequence = 1\n{body}\n[ssh]\nsequence = 2\nopen = icmp\n");
        let mut config = parse(text.as_bytes(), &|_, _| None).config.unwrap();
        config.doors.remove(0).action
    }

    const V4: [u8; 4] = [192, 0, 2, 7];
    const V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7];

    #[test]
    fn what_would_open_and_close_is_told() {
        let native = action("open = tcp/22, udp/8000-8010\nopen_for = 90s\nopen_to = /24");
        assert_eq!(
            text(&native, V4.into()),
            "; would open tcp/22, udp/8000-8010 for 90s to 192.0.2.0/24"
        );
        assert_eq!(
            text(&native, V6.into()),
            "; would open tcp/22, udp/8000-8010 for 90s"
        );
        assert_eq!(
            text(&action("close = ssh\nkill"), V4.into()),
            "; would close what ssh has opened, and end its connections"
        );
        assert_eq!(text(&action("command = x"), V4.into()), "");
    }

    #[test]
    fn members_say_the_same() {
        let both = action("open = tcp/22\nopen_for = 1500ms\nclose = ssh");
        assert_eq!(
            Value::Object(members(&both, V6.into())),
            json!({
                "open": ["tcp/22"], "open_for": 1.5, "open_to": "2001:db8::7",
                "close": "ssh", "kill": false,
            })
        );
        assert!(members(&action("command = x"), V4.into()).is_empty());
    }
}
