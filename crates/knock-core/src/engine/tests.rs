//! The engine in virtual time.
//!
//! Packets and outcomes are written in short, see [`World::knock`] and [`World::log`].

mod changes;
mod classic;
mod flood;
mod model;
mod rows;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::*;
use crate::door::{Action, SequenceSource, Trigger};
use crate::flags::{FlagMatch, TcpFlags};
use crate::packet::Packet;
use crate::sequence::{Protocol, Step};

/// A door as `[name] sequence = …, tcpflags = syn` makes it: 25 s, no target, not strict.
pub(super) fn door(name: &str, steps: &[Step]) -> Door {
    Door {
        name: name.to_string(),
        trigger: Trigger {
            source: SequenceSource::Fixed(Sequence::new(steps.to_vec()).unwrap()),
            seq_timeout: Duration::from_secs(25),
            flags: FlagMatch::ANY.and_set(TcpFlags::SYN),
            targets: Vec::new(),
            strict: false,
            cooldown: Duration::ZERO,
        },
        spa: None,
        action: Action::default(),
    }
}

/// As [`door`], from a text such as `7000,8000:udp`.
fn syn(name: &str, sequence: &str) -> Door {
    door(name, sequence_of(sequence).steps())
}

/// As [`syn`], for any flags: a door without `tcpflags`.
fn any(name: &str, sequence: &str) -> Door {
    with(syn(name, sequence), |t| t.flags = FlagMatch::ANY)
}

fn with(mut door: Door, change: impl FnOnce(&mut Trigger)) -> Door {
    change(&mut door.trigger);
    door
}

fn sequence_of(text: &str) -> Sequence {
    Sequence::new(text.split(',').map(step_of).collect()).unwrap()
}

fn step_of(text: &str) -> Step {
    let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
    Step {
        protocol: match protocol {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
        port: port.parse().unwrap(),
    }
}

fn flags_of(text: &str) -> TcpFlags {
    let flag = |c| match c {
        'F' => TcpFlags::FIN,
        'S' => TcpFlags::SYN,
        'R' => TcpFlags::RST,
        'P' => TcpFlags::PSH,
        'A' => TcpFlags::ACK,
        'U' => TcpFlags::URG,
        _ => panic!("no flag {c}"),
    };
    text.chars().map(flag).fold(TcpFlags::NONE, TcpFlags::union)
}

/// An engine, its clock, and what it said.
struct World {
    engine: Engine,
    names: Vec<String>,
    /// Milliseconds.
    now: u64,
    said: Vec<String>,
}

/// The host's own addresses are 10.77.0.2 and 10.77.0.3, as where the original was measured.
const HOST: [IpAddr; 2] = [
    IpAddr::V4(core::net::Ipv4Addr::new(10, 77, 0, 2)),
    IpAddr::V4(core::net::Ipv4Addr::new(10, 77, 0, 3)),
];

impl World {
    fn new(doors: &[Door]) -> Self {
        let limits = Limits { max_attempts: 1000 };
        Self {
            engine: Engine::new(doors, limits, [1, 2]),
            names: doors.iter().map(|door| door.name.clone()).collect(),
            now: 0,
            said: Vec::new(),
        }
    }

    fn set_doors(&mut self, doors: &[Door]) {
        self.engine.set_doors(doors);
        self.names = doors.iter().map(|door| door.name.clone()).collect();
    }

    /// Packets, 30 ms apart, from 10.77.0.1 to 10.77.0.2. A word is a port, then `:udp`, or `/`
    /// and the initials of TCP flags (`SA`; without: `S`), then `>` and another destination, then
    /// `<` and another source. The word `@1200` goes to 1,200 ms, and the next packet comes then.
    fn knock(&mut self, words: &str) -> &mut Self {
        for word in words.split_whitespace() {
            if let Some(time) = word.strip_prefix('@') {
                self.wait_until(time.parse().unwrap());
                continue;
            }
            let (word, source) = word.split_once('<').unwrap_or((word, "10.77.0.1"));
            let (word, destination) = word.split_once('>').unwrap_or((word, "10.77.0.2"));
            let (word, flags) = word.split_once('/').unwrap_or((word, "S"));
            let step = step_of(word);
            let destination: IpAddr = destination.parse().unwrap();
            let packet = Packet {
                source: source.parse().unwrap(),
                destination,
                protocol: step.protocol,
                source_port: 40_000,
                destination_port: step.port,
                flags: match step.protocol {
                    Protocol::Tcp => flags_of(flags),
                    Protocol::Udp => TcpFlags::NONE,
                },
            };
            let local = HOST.contains(&destination) || destination.is_ipv6();
            self.engine.handle_packet(&packet, local, self.time());
            self.listen(source);
            self.wait_until(self.now + 30);
        }
        self
    }

    /// Does what is due until `now` (milliseconds), each thing when it is.
    fn wait_until(&mut self, now: u64) {
        let end = Timestamp::from_millis(now);
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            self.engine.handle_timeout(due);
            self.listen("");
        }
        self.now = now;
    }

    fn listen(&mut self, source: &str) {
        while let Some(event) = self.engine.poll_event() {
            let door = &self.names[usize::from(event.door.0)];
            let what = match event.kind {
                EventKind::Stage(n) => format!("{n}"),
                EventKind::Opening => "open".to_string(),
                EventKind::Timeout { stage } => {
                    format!("{stage}-late@{}", event.at.as_nanos() / 1_000_000)
                }
                EventKind::Broken { stage, by } => format!("{stage}-broken-by-{by}"),
            };
            let who = match event.source.to_string() {
                ip if ip == "10.77.0.1" => String::new(),
                ip => format!("<{ip}"),
            };
            assert!(source.is_empty() || event.source.to_string() == source);
            self.said.push(format!("{door}:{what}{who}"));
        }
    }

    /// What was said since the last call: `A:1` is stage 1 of A, `A:open` its opening,
    /// `A:2-broken-by-9000`, `A:2-late@1500` (milliseconds), all with `<` and the source if it is
    /// not 10.77.0.1.
    fn log(&mut self) -> String {
        core::mem::take(&mut self.said).join(" ")
    }

    fn openings(&mut self) -> usize {
        let said = core::mem::take(&mut self.said);
        said.iter().filter(|line| line.contains(":open")).count()
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }
}

/// What `doors` say to packets; see [`World`].
fn play(doors: &[Door], words: &str) -> String {
    World::new(doors).knock(words).log()
}

/// The door of most measurements.
fn a() -> Door {
    syn("A", "7000,8000,9000")
}
