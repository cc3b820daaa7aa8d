//! `shadow = yes`: a daemon that acts on nothing, beside another one of whatever kind, and says what it
//! would have opened.

use std::net::IpAddr;

use knock_core::door::Door;
use knock_core::time::{InUnits, Timestamp};

use super::serve::Daemon;
use crate::events::{Happened, Kind, Who};
use crate::gate::Opening;
use crate::log::{Level, Line};

/// What is said at the start, and in the status.
pub(super) const TEXT: &str =
    "shadow: nothing is opened, run or written; what would be is in this log";

impl Daemon {
    /// At the start: says that it is one, if so.
    pub(super) fn say_shadow(&mut self) {
        if !self.settings.shadow {
            return;
        }
        self.scribe.note(Level::Warning, "shadow", TEXT);
        let mut doors = self.doors.now().iter();
        if self.sealed.is_none() && doors.any(|door| door.spa.is_some()) {
            let text = "shadow: sealed packets are not looked at: this site has no keys yet";
            self.scribe.note(Level::Warning, "shadow", text);
        }
    }

    /// `source` has opened `door`: says what would come of it.
    pub(super) fn would_open(
        &mut self,
        door: &Door,
        source: IpAddr,
        who: Option<&Who>,
        now: Timestamp,
    ) {
        let mut text = would(door, source);
        if let Some(who) = who {
            text.push_str(&format!(" (by {who})"));
        }
        let line = Line::of_source(source, &door.name, "shadow", &text);
        let happened = Happened::new(Kind::Knocked).by(who.cloned());
        self.keeper.tell(line.means(happened), now);
    }

    /// At a reload: what is not followed.
    pub(super) fn doubt_shadow(&self, wanted: bool) -> Option<Line> {
        let text = if wanted {
            "`shadow` counts after the next start: until then, doors are opened"
        } else {
            "`shadow` is gone from the configuration: until the next start, nothing is opened all the \
             same"
        };
        let line = Line::new(Level::Warning, "shadow", text);
        (wanted != self.settings.shadow).then_some(line)
    }
}

/// What an opening of `door` by `source` would do.
fn would(door: &Door, source: IpAddr) -> String {
    let action = &door.action;
    let mut text = "would open".to_owned();
    match (&action.native, Opening::of(door, source)) {
        (None, _) => {}
        (Some(_), None) => text.push_str(" nothing: its targets are of the other version of IP"),
        (Some(native), Some(_)) => {
            let services: Vec<_> = native.open.iter().map(ToString::to_string).collect();
            let time = InUnits(native.open_for);
            text.push_str(&format!(" {} for {time}", services.join(", ")));
        }
    }
    if let Some(commands) = action.for_source(source) {
        let expand = |template: &knock_core::template::Template| {
            let command = template.expand(source, &door.name);
            command.unwrap_or_else(|_| "(too long to run)".to_owned())
        };
        text.push_str(&format!("; would run: {}", expand(&commands.start)));
        if let Some(stop) = &commands.stop {
            let time = InUnits(action.cmd_timeout);
            text.push_str(&format!("; and after {time}: {}", expand(stop)));
        }
    }
    if let Some(closing) = &action.close {
        text.push_str(&format!("; would close {}", closing.door));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_core::config::parse;

    fn told(door: &str) -> String {
        let text = format!("[A]\nsequence = 1\n{door}\n[B]\nsequence = 2\nopen = icmp\n");
        let config = parse(text.as_bytes(), &|_, _| None).config.unwrap();
        would(&config.doors[0], [192, 0, 2, 7].into())
    }

    #[test]
    fn each_kind_of_door_has_its_words() {
        assert_eq!(
            told("open = tcp/22, icmp"),
            "would open tcp/22, icmp for 30s"
        );
        assert_eq!(told("close = B"), "would open; would close B");
        assert_eq!(
            told("command = a %IP%\nstop_command = b %DOOR%"),
            "would open; would run: a 192.0.2.7; and after 10s: b A"
        );
        assert_eq!(
            told("open = tcp/22\ntarget = 2001:db8::1"),
            "would open nothing: its targets are of the other version of IP"
        );
    }
}
