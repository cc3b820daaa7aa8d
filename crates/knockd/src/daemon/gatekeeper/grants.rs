//! The grants at the gate: told, and taken back before their time.

use std::net::IpAddr;

use knock_core::door::Closing;
use knock_core::time::Timestamp;

use super::Gatekeeper;
use super::lines::{closed, line_of};
use crate::events::Who;
use crate::gate::{GateError, Key, Opening, Reading, Way};
use crate::keeper::Why;
use crate::log::{Level, Line};

/// A grant at the gate, as it is.
pub(in crate::daemon) struct GrantedAtGate<'a> {
    pub(in crate::daemon) key: &'a Key,
    pub(in crate::daemon) until: Timestamp,
    pub(in crate::daemon) who: Option<&'a Who>,
}

/// What was taken back.
#[derive(Default)]
pub(in crate::daemon) struct TakenBack {
    /// The grants that are gone.
    pub(in crate::daemon) closed: Vec<Key>,
    /// How many grants are still there, because the kernel has not done it.
    pub(in crate::daemon) failed: usize,
    /// How many connections were ended.
    pub(in crate::daemon) ended: usize,
    /// What went wrong, and what was ended.
    pub(in crate::daemon) lines: Vec<Line>,
}

impl Gatekeeper {
    /// The grants that are alive, with their ends, what they open, and who has them. Those that end
    /// first come first.
    pub(in crate::daemon) fn grants(&self) -> Vec<GrantedAtGate<'_>> {
        let of = |(key, until)| GrantedAtGate {
            key,
            until,
            who: self.holders.get(key),
        };
        let mut grants: Vec<_> = self.gate.grants().map(of).collect();
        grants.sort_by_key(|grant| grant.until);
        grants
    }

    /// What a grant that is alive opens, such as `tcp/22`.
    pub(in crate::daemon) fn services(&self, key: &Key) -> Vec<String> {
        let opening = self.gate.opening_of(key);
        in_ranges(opening.iter().flat_map(Opening::ways))
    }

    /// The gate as the kernel has it, and what was last wrong with it.
    pub(in crate::daemon) fn read(&mut self) -> (Result<Option<Reading>, GateError>, Option<&str>) {
        let reading = self.gate.read(&self.plan);
        (reading, self.trouble.as_deref())
    }

    /// Whether it was taken down (`knockctl gate down`).
    pub(in crate::daemon) const fn is_down(&self) -> bool {
        self.said.down
    }

    /// Takes back what the doors named in `closing` have opened for `source`.
    pub(in crate::daemon) fn take_back(
        &mut self,
        closing: &Closing,
        source: IpAddr,
        now: Timestamp,
    ) -> TakenBack {
        let keys = self.gate.grants_of(&closing.door, source);
        self.take_back_all(keys, closing.kill, Some(source), now)
    }

    /// Takes back the grants that `which` picks, and says of each that it is closed, and why.
    pub(in crate::daemon) fn take_back_where(
        &mut self,
        which: impl Fn(&Key) -> bool,
        kill: bool,
        why: &Why<'_>,
        now: Timestamp,
    ) -> TakenBack {
        let keys = self.gate.grants().map(|(key, _)| key);
        let keys: Vec<_> = keys.filter(|key| which(key)).cloned().collect();
        let mut taken = self.take_back_all(keys, kill, None, now);
        let closed = taken.closed.iter().map(|key| closed(key, why));
        taken.lines.splice(0..0, closed);
        taken
    }

    /// What goes wrong is said of `source`, or else of whom a grant lets in.
    fn take_back_all(
        &mut self,
        keys: Vec<Key>,
        kill: bool,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> TakenBack {
        let mut taken = TakenBack::default();
        for key in keys {
            let opening = kill.then(|| self.gate.opening_of(&key)).flatten();
            let line = |event, text: &str| match source {
                Some(source) => Line::of_source(source, key.door(), event, text),
                None => line_of(&key, event, text),
            };
            match self.change(now, |gate| gate.revoke(&key, now)) {
                Ok(true) => {
                    self.holders.remove(&key);
                    taken.closed.push(key.clone());
                }
                Ok(false) => {}
                // The kernel closes it in its time.
                Err(error) => {
                    let text = format!("error: not closed: {error}");
                    taken.lines.push(line("close", &text).at(Level::Error));
                    taken.failed += 1;
                    self.check = Some(now);
                    continue;
                }
            }
            let Some(opening) = opening else { continue };
            match self.gate.end_connections(&opening) {
                Ok(0) => {}
                Ok(ended) => {
                    taken.ended += ended;
                    let text = format!("{ended} connections ended");
                    taken.lines.push(line("killed", &text));
                }
                Err(error) => {
                    let text = format!("error: connections not ended: {error}");
                    taken.lines.push(line("killed", &text).at(Level::Error));
                }
            }
        }
        taken
    }
}

/// `tcp/22, tcp/8000-8010`: ports that follow each other as one.
fn in_ranges<'a>(ways: impl Iterator<Item = &'a Way>) -> Vec<String> {
    let mut ranges: Vec<(Way, u16)> = Vec::new();
    for way in ways {
        match (ranges.last_mut(), *way) {
            (Some((Way::Tcp(_), last)), Way::Tcp(port))
            | (Some((Way::Udp(_), last)), Way::Udp(port))
                if last.checked_add(1) == Some(port) =>
            {
                *last = port;
            }
            (_, way @ (Way::Tcp(port) | Way::Udp(port))) => ranges.push((way, port)),
            (_, Way::Ping) => ranges.push((Way::Ping, 0)),
        }
    }
    let words = ranges.iter().map(|(first, last)| match first {
        Way::Tcp(port) | Way::Udp(port) if port < last => format!("{first}-{last}"),
        _ => first.to_string(),
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_each_other_are_told_as_one() {
        let tcp = [22, 8000, 8001, 8002, u16::MAX].map(Way::Tcp);
        let udp = [1, 2].map(Way::Udp);
        let all = tcp.iter().chain(&udp).chain(&[Way::Ping]);
        let told = in_ranges(all).join(", ");
        assert_eq!(told, "tcp/22, tcp/8000-8002, tcp/65535, udp/1-2, icmp");
    }
}
