//! Random doors and packet streams for the differential runs, and how a stream that shows a
//! disagreement is made small.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use knock_core::flags::{FlagMatch, TcpFlags};
use knock_core::sequence::{Protocol, Step};

use crate::classic::{Differences, Door, Model};
use crate::script::{Knock, address};
use crate::trace::{Mark, What};

/// Doors, and what is sent to them.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The doors, in the order of the file.
    pub doors: Vec<Door>,
    /// The packets, in their order.
    pub knocks: Vec<Knock>,
}

/// The source and the port of the last packet, by whose opening the end of a stream is known.
const END_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 250));
const END_PORT: u16 = 65_000;
/// The name of the door that the last packet opens.
pub const END_DOOR: &str = "end";

/// The most first steps and later steps of a stream that succeed: ours lets a burst of 40 and of
/// 50 such lines through (`knockd/src/listener/limit.rs`).
const FIRST_STEPS: usize = 36;
const LATER_STEPS: usize = 45;

const FLAGS: [&str; 7] = ["", "", "syn", "syn", "syn,!ack", "!syn", "fin,psh,urg"];

impl Stream {
    /// A random stream of about `length` packets.
    #[must_use]
    pub fn random(rng: &mut Rng, length: usize) -> Self {
        let pool: Vec<Step> = (0..rng.u16(3..8))
            .map(|i| match rng.u8(0..5) {
                0 => Step::udp(7000 + i),
                _ => Step::tcp(7000 + i),
            })
            .collect();
        let doors: Vec<Door> = (0..rng.usize(1..6))
            .map(|i| door(rng, &pool, format!("D{i}")))
            .collect();
        let mut walkers = Vec::new();
        for n in [1, 4, 5, 6] {
            let v6 = n == 6 && rng.bool();
            walkers.push(Walker::new(rng, address::number(n, v6), &doors));
        }
        let many = rng.usize(1..=walkers.len());
        walkers.truncate(many);
        let mut knocks = Vec::new();
        while knocks.len() < length {
            let which = rng.usize(0..walkers.len());
            if let Some(walker) = walkers.get_mut(which) {
                knocks.push(walker.knock(rng, &doors, &pool));
            }
        }
        let mut stream = Self { doors, knocks };
        stream.bound_steps();
        stream
    }

    /// Ours writes no more than bursts of lines, since any stranger can cause them.
    fn bound_steps(&mut self) {
        loop {
            let marks = Model::judge(&self.doors, Differences::ALL, &self.knocks);
            let first = marks.iter().filter(|m| m.what == What::Stage(1)).count();
            let steps = |m: &&Mark| matches!(m.what, What::Stage(_));
            let later = marks.iter().filter(steps).count() - first;
            let over = first
                .saturating_sub(FIRST_STEPS)
                .max(later.saturating_sub(LATER_STEPS));
            if over == 0 {
                return;
            }
            let less = self.knocks.len() - over.min(self.knocks.len());
            self.knocks.truncate(less);
        }
    }

    /// With the door and the packet that mark the end.
    #[must_use]
    pub fn with_end(&self) -> Self {
        let mut whole = self.clone();
        whole.doors.push(Door {
            name: END_DOOR.into(),
            steps: vec![Step::udp(END_PORT)],
            flags: FlagMatch::ANY,
            target: None,
        });
        whole.knocks.push(Knock {
            source: END_SOURCE,
            destination: address::number(2, false),
            protocol: Protocol::Udp,
            port: END_PORT,
            flags: TcpFlags::NONE,
            variations: Vec::new(),
        });
        whole
    }

    /// The doors as a configuration file has them.
    #[must_use]
    pub fn config(&self) -> String {
        let mut text = String::new();
        for door in &self.doors {
            let steps: Vec<_> = door.steps.iter().map(ToString::to_string).collect();
            let mut line = |key: &str, value: &str| {
                // Writing to a String cannot fail.
                writeln!(text, "{key}{value}").unwrap_or_default();
            };
            line("", &format!("[{}]", door.name));
            line("\tsequence = ", &steps.join(","));
            line("\tseq_timeout = ", "600");
            if !door.flags.is_any() {
                line("\ttcpflags = ", &door.flags.to_string());
            }
            if let Some(target) = door.target {
                line("\ttarget = ", &target.to_string());
            }
        }
        text
    }

    /// The packets in the notation of scripts.
    #[must_use]
    pub fn script(&self) -> String {
        let words: Vec<_> = self.knocks.iter().map(ToString::to_string).collect();
        words.join(" ")
    }

    /// Streams that are a little smaller, the boldest first.
    #[must_use]
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let count = self.knocks.len();
        let mut size = count / 2;
        while size > 0 {
            for start in (0..count).step_by(size) {
                let mut less = self.clone();
                less.knocks.drain(start..(start + size).min(count));
                all.push(less);
            }
            size /= 2;
        }
        for index in 0..self.doors.len() {
            let mut less = self.clone();
            less.doors.remove(index);
            all.push(less);
        }
        for (index, door) in self.doors.iter().enumerate() {
            let mut simpler = Vec::new();
            for step in 0..door.steps.len() {
                let mut less = door.clone();
                less.steps.remove(step);
                simpler.push(less);
            }
            simpler.push(Door {
                flags: FlagMatch::ANY,
                ..door.clone()
            });
            simpler.push(Door {
                target: None,
                ..door.clone()
            });
            for less in simpler
                .into_iter()
                .filter(|d| d != door && !d.steps.is_empty())
            {
                let mut stream = self.clone();
                if let Some(place) = stream.doors.get_mut(index) {
                    *place = less;
                    all.push(stream);
                }
            }
        }
        all
    }
}

fn door(rng: &mut Rng, pool: &[Step], name: String) -> Door {
    let steps = (0..rng.usize(1..5))
        .filter_map(|_| rng.choice(pool).copied())
        .collect();
    let target = match rng.u8(0..12) {
        0 | 1 => Some(address::number(3, false)),
        2 => Some(IpAddr::from([192, 0, 2, 9])),
        3 => Some(address::number(2, true)),
        _ => None,
    };
    let text = rng.choice(FLAGS).unwrap_or("");
    Door {
        name,
        steps,
        flags: flag_match(text),
        target,
    }
}

fn flag_match(text: &str) -> FlagMatch {
    let mut flags = FlagMatch::ANY;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let name = word.trim_start_matches('!');
        if let Some((_, flag)) = TcpFlags::NAMED.iter().find(|(n, _)| *n == name) {
            flags = if word.starts_with('!') {
                flags.and_clear(*flag)
            } else {
                flags.and_set(*flag)
            };
        }
    }
    flags
}

/// A source that mostly knows what it wants: random ports alone would hardly open a door.
struct Walker {
    source: IpAddr,
    door: usize,
    next: usize,
}

impl Walker {
    fn new(rng: &mut Rng, source: IpAddr, doors: &[Door]) -> Self {
        Self {
            source,
            door: rng.usize(0..doors.len()),
            next: 0,
        }
    }

    fn knock(&mut self, rng: &mut Rng, doors: &[Door], pool: &[Step]) -> Knock {
        let door = doors.get(self.door);
        let steps = door.map_or(&[][..], |d| &d.steps);
        let mut step = Step::tcp(5555);
        match rng.u8(0..100) {
            0..70 => {
                step = steps.get(self.next).copied().unwrap_or(step);
                self.next += 1;
            }
            70..80 => {
                let last = self.next.saturating_sub(1);
                step = steps.get(last).copied().unwrap_or(step);
            }
            80..86 => {
                step = steps.first().copied().unwrap_or(step);
                self.next = 1;
            }
            86..96 => step = rng.choice(pool).copied().unwrap_or(step),
            _ => {}
        }
        let flags = match step.protocol {
            Protocol::Tcp => self.flags(rng, door),
            Protocol::Udp => TcpFlags::NONE,
        };
        let destination = self.destination(rng, door);
        if self.next >= steps.len() {
            self.door = rng.usize(0..doors.len());
            self.next = 0;
        }
        Knock {
            source: self.source,
            destination,
            protocol: step.protocol,
            port: step.port,
            flags,
            variations: Vec::new(),
        }
    }

    /// Mostly what the door asks for.
    fn flags(&self, rng: &mut Rng, door: Option<&Door>) -> TcpFlags {
        if rng.u8(0..10) == 0 {
            return TcpFlags::from_bits(rng.u8(0..64));
        }
        match door.map(|d| d.flags.must_be_set()) {
            Some(set) if !set.is_empty() => set,
            Some(_) if door.is_some_and(|d| d.flags.matches(TcpFlags::SYN)) => TcpFlags::SYN,
            _ => TcpFlags::ACK,
        }
    }

    /// Mostly where the door listens; always of the source's family.
    fn destination(&self, rng: &mut Rng, door: Option<&Door>) -> IpAddr {
        let v6 = self.source.is_ipv6();
        match door.and_then(|d| d.target) {
            Some(target) if target.is_ipv6() == v6 && rng.u8(0..10) > 0 => target,
            _ => address::number(if rng.u8(0..10) == 0 { 3 } else { 2 }, v6),
        }
    }
}
