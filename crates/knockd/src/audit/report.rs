//! Who could reach what, and when: from openings to their ends. Pure: entries in, times out.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use super::entry::{Entry, Fault, What};
use crate::events::{Event, Grant, Kind, Reason, Who};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Filter {
    /// What ended before is of no interest.
    pub since: Timestamp,
    /// What began after is of no interest.
    pub until: Timestamp,
    /// Only this door.
    pub door: Option<String>,
    /// Only who has this in the name, or knocked from this address.
    pub who: Option<String>,
    /// Only what opened this port.
    pub port: Option<PortFilter>,
}

/// A port, of one protocol or of both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortFilter {
    protocol: Option<String>,
    port: u16,
}

/// Somebody could reach something for a time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Access {
    /// The door; none where nothing was guarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// Whom it let in: an address, a network, or `everybody`.
    pub to: String,
    /// Who it was, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// What was open, such as `tcp/22`; nothing for commands, of which that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// From when.
    pub from: Timestamp,
    /// Until when, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How it is known.
    pub end: End,
}

/// How the end of an [`Access`] is known.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The trail has the closing, with its reason.
    Closed(Option<Reason>),
    /// The trail has no closing; this is until when it was opened.
    NotRecorded,
    /// Commands that are followed by no stop command: nobody knows.
    Unknown,
}

/// What a trail says.
#[derive(Debug, Default)]
pub struct Report {
    done: Vec<Access>,
    open: BTreeMap<(String, String, Option<Grant>), Access>,
    unguarded: Option<Access>,
    refusals: Vec<(Timestamp, Box<Event>)>,
    lost: Vec<(Timestamp, Fault)>,
    unread: u64,
}

const EVERYBODY: &str = "everybody";

impl Report {
    /// The next line of the trail, without its end.
    pub fn line(&mut self, bytes: &[u8]) {
        match serde_json::from_slice::<Entry>(bytes) {
            Ok(entry) => self.entry(entry),
            Err(_) => self.unread = self.unread.saturating_add(1),
        }
    }

    fn entry(&mut self, entry: Entry) {
        match entry.what {
            What::Event(event) => self.event(event),
            What::Fault(fault) => self.lost.push((entry.time, fault)),
            What::File(_) | What::Config(_) => {}
        }
    }

    fn event(&mut self, event: Box<Event>) {
        match event.kind {
            Kind::Open | Kind::Extend => self.opened(&event),
            Kind::Close => {
                if let Some(mut access) = self.open.remove(&key(&event)) {
                    access.until = Some(event.time);
                    access.end = End::Closed(event.reason);
                    self.done.push(access);
                }
            }
            Kind::Refuse => self.refusals.push((event.time, event)),
            Kind::Gate => self.gate(&event),
            Kind::Start => self.guarded(event.time, None),
            _ => {}
        }
    }

    fn opened(&mut self, event: &Event) {
        let key = key(event);
        if let Some(access) = self.open.get_mut(&key) {
            // Each opening by commands is a grant of its own; without a journal their numbers begin anew
            // with each daemon.
            let is_new =
                event.kind == Kind::Open && matches!(event.grant, Some(Grant::Commands(_)));
            let still = access.until.is_none_or(|until| until >= event.time);
            if still && !is_new {
                access.until = access.until.max(event.until);
                access.who = access.who.take().or_else(|| event.who.clone());
                return;
            }
            // Its closing is not there.
            self.done.extend(self.open.remove(&key));
        }
        let access = Access {
            door: event.door.clone(),
            to: key.1.clone(),
            who: event.who.clone(),
            services: event.services.clone(),
            from: event.time,
            until: event.until,
            end: match event.until {
                Some(_) => End::NotRecorded,
                None => End::Unknown,
            },
        };
        self.open.insert(key, access);
    }

    fn gate(&mut self, event: &Event) {
        match event.reason {
            Some(Reason::Down | Reason::TrialOver) => {
                self.unguarded.get_or_insert_with(|| Access {
                    door: None,
                    to: EVERYBODY.to_owned(),
                    who: event.who.clone(),
                    services: event.services.clone(),
                    from: event.time,
                    until: None,
                    end: End::Unknown,
                });
            }
            Some(Reason::Up | Reason::Mended) => self.guarded(event.time, event.reason),
            _ => {}
        }
    }

    /// From `time` on only those with grants get in.
    fn guarded(&mut self, time: Timestamp, why: Option<Reason>) {
        if let Some(mut access) = self.unguarded.take() {
            access.until = Some(time);
            access.end = End::Closed(why);
            self.done.push(access);
        }
    }

    /// The times that are asked for, the earliest first.
    #[must_use]
    pub fn accesses(&self, filter: &Filter) -> Vec<Access> {
        let all = self.done.iter().chain(self.open.values());
        let all = all.chain(&self.unguarded);
        let mut found: Vec<_> = all.filter(|access| filter.wants(access)).cloned().collect();
        found.sort_by_key(|access| access.from);
        found
    }

    /// How many openings by commands, which may have opened any port, a filter by port leaves out.
    #[must_use]
    pub fn without_services(&self, filter: &Filter) -> usize {
        let any = Filter {
            port: None,
            ..filter.clone()
        };
        let all = self.done.iter().chain(self.open.values());
        let all = all.filter(|access| access.services.is_empty() && any.wants(access));
        if filter.port.is_some() {
            all.count()
        } else {
            0
        }
    }

    /// Who was refused, and why.
    pub fn refusals<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Event> {
        let all = self.refusals.iter();
        let all = all.filter(|(time, _)| (filter.since..=filter.until).contains(time));
        let all = all.map(|(_, event)| &**event);
        all.filter(|event| {
            let door = filter.door.as_ref();
            door.is_none_or(|door| event.door.as_ref() == Some(door))
                && filter.knows(event.who.as_ref(), event.source.map(|ip| ip.to_string()))
        })
    }

    /// What the trail says of itself that is missing in the time that is asked for, and how many lines
    /// of it were not understood.
    pub fn faults<'a>(&'a self, filter: &'a Filter) -> (impl Iterator<Item = &'a Fault>, u64) {
        let all = self.lost.iter();
        let all = all.filter(|(time, _)| (filter.since..=filter.until).contains(time));
        (all.map(|(_, fault)| fault), self.unread)
    }
}

/// What openings and closings of one grant have in common.
fn key(event: &Event) -> (String, String, Option<Grant>) {
    let source = event.source.map(|source| source.to_string());
    let to = event.to.clone().or(source).unwrap_or_default();
    (event.door.clone().unwrap_or_default(), to, event.grant)
}

impl Filter {
    fn wants(&self, access: &Access) -> bool {
        let door = self.door.as_ref();
        let is_door = door.is_none_or(|door| access.door.as_ref().is_none_or(|its| its == door));
        let is_port = self.port.as_ref().is_none_or(|port| {
            let mut services = access.services.iter();
            access.door.is_none() || services.any(|service| port.is_in(service))
        });
        let who =
            access.to == EVERYBODY || self.knows(access.who.as_ref(), Some(access.to.clone()));
        // What has no known end is told of the time in which it began.
        let ends = match access.end {
            End::Unknown if access.door.is_some() => access.from,
            _ => access.until.unwrap_or(Timestamp::MAX),
        };
        is_door && is_port && who && access.from <= self.until && ends >= self.since
    }

    fn knows(&self, who: Option<&Who>, from: Option<String>) -> bool {
        let Some(wanted) = &self.who else {
            return true;
        };
        let named = who.is_some_and(|who| who.to_string().contains(wanted));
        named || from.is_some_and(|from| from == *wanted)
    }
}

impl PortFilter {
    /// Whether the words of a service, such as `tcp/22` or `udp/8000-8010`, have this port.
    #[must_use]
    pub fn is_in(&self, service: &str) -> bool {
        let Some((protocol, ports)) = service.split_once('/') else {
            return false;
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
        let is_it = self.protocol.as_deref().is_none_or(|its| its == protocol);
        is_it && range.is_some_and(|(first, last)| (first..=last).contains(&self.port))
    }
}

impl FromStr for PortFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, port) = match text.split_once('/') {
            Some((protocol, port)) => (Some(protocol.to_ascii_lowercase()), port),
            None => (None, text),
        };
        let is_known = |protocol: &String| ["tcp", "udp"].contains(&protocol.as_str());
        match port.parse() {
            Ok(port) if port > 0 && protocol.iter().all(is_known) => Ok(Self { protocol, port }),
            _ => Err("a port, such as 22, tcp/22 or udp/51820".to_owned()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some(reason)) => write!(f, "closed ({})", word(*reason)),
            Self::Closed(None) => f.write_str("closed"),
            Self::NotRecorded => f.write_str("its time; no closing in the trail"),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

/// A reason's word in JSON.
pub(crate) fn word(reason: Reason) -> String {
    let word = serde_json::to_value(reason).ok();
    let word = word.and_then(|word| word.as_str().map(str::to_owned));
    word.unwrap_or_default()
}
