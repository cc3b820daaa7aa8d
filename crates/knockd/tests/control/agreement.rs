//! Status, events, metrics, the audit trail and the kernel say the same after many things that happened at
//! random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use knockd::audit::{Entry, What};
use knockd::control::client::Connection;
use knockd::control::{Answer, GrantState, Request, Status};
use knockd::events::{Event, Grant, Kind};

use crate::net::{CLIENT, Net, OTHER};
use crate::{Case, Outcome};

pub(crate) const CASES: &[Case] = &[(
    "status_events_metrics_trail_and_kernel_agree_after_ten_thousand_random_events",
    agreement,
)];

const DOORS: &str = "[ssh]\nsequence = 7000:udp,8000:udp\nopen = tcp/22\nopen_for = 3\n\
    [web]\nsequence = 7001:udp\nopen = tcp/80, tcp/443\nopen_for = 60\n\
    [net]\nsequence = 7002:udp\nopen = tcp/25\nopen_to = /30\n\
    [game]\nsequence = 9000:udp\nstart_command = true\ncmd_timeout = 2\nstop_command = false\n\
    [bell]\nsequence = 9001:udp\ncommand = false\n";

const EVENTS: u64 = 10_000;

/// Numbers as good as random (xorshift), the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let place = usize::try_from(self.below(1_000)).unwrap_or(0);
        words[place % words.len()]
    }
}

/// What one can know who has read all events.
#[derive(Default)]
struct Reader {
    last: u64,
    open: BTreeSet<(String, String, Grant)>,
    kinds: BTreeMap<String, u64>,
    closings: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    knocked: u64,
    audited: Vec<Event>,
}

/// Whether the trail has all events of this kind.
const fn is_audited(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Start
            | Kind::Open
            | Kind::Extend
            | Kind::Close
            | Kind::CommandFailed
            | Kind::Operator
    )
}

impl Reader {
    fn take(&mut self, event: &Event) {
        assert_eq!(event.seq, self.last + 1, "no gap");
        self.last = event.seq;
        *self.kinds.entry(event.kind.name().to_owned()).or_default() += 1;
        if is_audited(event.kind) {
            self.audited.push(event.clone());
        }
        let reason = event.reason.map(|reason| reason.name());
        let key = || {
            let (door, to) = (event.door.clone(), event.to.clone());
            (
                door.unwrap_or_default(),
                to.unwrap_or_default(),
                event.grant.unwrap_or(Grant::Gate),
            )
        };
        match event.kind {
            Kind::Open if event.until.is_some() => {
                assert!(self.open.insert(key()), "opened twice: {event:?}");
            }
            Kind::Extend => assert!(self.open.contains(&key()), "was not open: {event:?}"),
            Kind::Close => {
                assert!(self.open.remove(&key()), "was not open: {event:?}");
                *self.closings.entry(reason.unwrap_or_default()).or_default() += 1;
            }
            Kind::Refuse => *self.refusals.entry(reason.unwrap_or_default()).or_default() += 1,
            Kind::Knocked if event.who.is_none() => self.knocked += 1,
            _ => {}
        }
    }

    /// Reads on, up to the event that the status was the latest for.
    fn catch_up(&mut self, from: &mut Connection, status: &Status) -> Outcome {
        while self.last < status.last_event {
            match from.hear()? {
                Answer::Event(event) => self.take(&event),
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }

    fn agrees_with(&self, status: &Status) {
        assert_eq!(status.counters.events, self.kinds);
        assert_eq!(status.counters.closings, self.closings);
        assert_eq!(status.counters.refusals, self.refusals);
        let told = status.grants.shown.iter();
        let told = told.filter(|grant| grant.state != GrantState::Closing);
        // What has no stop command has no end either, and is there as long as its command runs.
        let told = told.filter(|grant| grant.door != "bell");
        let told = told.map(|grant| (grant.door.clone(), grant.to.clone(), grant.grant));
        assert_eq!(told.collect::<BTreeSet<_>>(), self.open);
    }
}

fn agreement() -> Outcome {
    let net = Net::new(DOORS)?;
    let trail = "[options]\naudit_file = %F%/trail\nstate_dir = %F%/state\n";
    net.configure(&net.configuration()?.replace("[options]\n", trail))?;
    let _daemon = net.start()?;
    let mut follower = net.connect()?;
    follower.send(&Request::Events {
        since: Some(1),
        follow: true,
    })?;
    let (mut random, mut reader) = (Random(0x9e37_79b9_7f4a_7c15), Reader::default());
    let mut operator = net.connect()?;
    while reader.last < EVENTS {
        for _ in 0..100 {
            act(&net, &mut operator, &mut random)?;
        }
        let status = status(&mut operator)?;
        reader.catch_up(&mut follower, &status)?;
        reader.agrees_with(&status);
    }
    let by_time = |status: Status| status.counters.closings.contains_key("time");
    net.eventually("something is closed by time", || {
        net.status().is_ok_and(by_time)
    })?;
    net.eventually("all is closed", || {
        let all = Request::Close {
            door: None,
            source: None,
            all: true,
            kill: false,
        };
        // What is being opened cannot be closed yet.
        let asked = net.ask(&all).is_ok();
        asked && net.status().is_ok_and(|status| status.grants.total == 0)
    })?;
    let last = status(&mut operator)?;
    reader.catch_up(&mut follower, &last)?;
    reader.agrees_with(&last);
    assert_eq!(last.counters.openings, reader.knocked);
    assert_eq!(last.gate.map(|gate| gate.elements.total), Some(0));
    assert!(reader.open.is_empty());
    for kind in [
        "open",
        "extend",
        "close",
        "knocked",
        "step",
        "command-failed",
        "operator",
    ] {
        assert!(reader.kinds.contains_key(kind), "{kind} never happened");
    }
    for why in ["time", "operator"] {
        assert!(
            reader.closings.contains_key(why),
            "nothing was closed: {why}"
        );
    }
    metrics_agree(&net)?;
    trail_agrees(&net, &reader)
}

/// What metrics say of the events is what the status says, once nothing happens in between.
fn metrics_agree(net: &Net) -> Outcome {
    net.eventually("metrics and status say the same of all events", || {
        let asked = || -> Outcome<_> {
            let before = net.status()?;
            let page = net.ctl(&["metrics", "--openmetrics"])?;
            Ok((before, page, net.status()?))
        };
        let Ok((before, page, after)) = asked() else {
            return false;
        };
        let counts = page.lines().filter_map(|line| {
            let (kind, count) = line
                .strip_prefix("knockd_events_total{kind=\"")?
                .split_once("\"} ")?;
            Some((kind.to_owned(), count.parse().ok()?))
        });
        let counts: BTreeMap<String, u64> = counts.collect();
        before.last_event == after.last_event && counts == after.counters.events
    })
}

/// The trail is whole, and has what the events said, in their order.
fn trail_agrees(net: &Net, reader: &Reader) -> Outcome {
    net.ctl(&["audit", "verify"])?;
    let text = net.read("trail");
    let entries = text.lines().map(serde_json::from_str::<Entry>);
    let mut written = Vec::new();
    for entry in entries {
        match entry?.what {
            What::Event(event) if is_audited(event.kind) => written.push(*event),
            _ => {}
        }
    }
    assert_eq!(written.len(), reader.audited.len());
    for (written, told) in written.iter().zip(&reader.audited) {
        assert_eq!(written, told);
    }
    Ok(())
}

fn status(operator: &mut Connection) -> Outcome<Status> {
    match operator.ask(&Request::Status {})? {
        Answer::Status(status) => Ok(*status),
        other => Err(format!("{other:?}").into()),
    }
}

/// Something that an operator or a client does.
fn act(net: &Net, operator: &mut Connection, random: &mut Random) -> Outcome {
    let doors = ["ssh", "web", "net", "game", "bell"];
    let door = random.pick(&doors).to_owned();
    let [.., last] = random.below(24).to_be_bytes();
    let source = IpAddr::from([10, 9, 0, last]);
    let request = match random.below(20) {
        0..12 => Request::Open {
            door,
            source,
            for_ms: (random.below(2) == 0).then(|| 1_000 + random.below(2_000)),
        },
        12..16 => Request::Close {
            door: (random.below(2) == 0).then_some(door),
            source: Some(source),
            all: false,
            kill: false,
        },
        16 => Request::Close {
            door: Some(door),
            source: None,
            all: false,
            kill: random.below(2) == 0,
        },
        _ => {
            let ports = [7000, 8000, 7001, 7002, 9000, 9001];
            let from = random.pick(&[CLIENT, OTHER]);
            let place = usize::try_from(random.below(6))?;
            return net.knock(from, &[ports[place]]);
        }
    };
    // That something cannot be closed because it is being opened is an answer, too.
    match operator.ask(&request) {
        Ok(_) | Err(knockd::control::client::ClientError::Refused(..)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
