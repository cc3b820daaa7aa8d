//! How long a packet takes in the engine, against the budgets: `cargo bench -p knock-core`.
//!
//! Each line is a thing measured with few and with many attempts alive, the two sides taking
//! turns in one run; figures are medians in nanoseconds of CPU time a packet, events taken out
//! included. A million attempts do not fit into a cache, so beside each figure stands what one
//! read from memory took meanwhile, each read waiting for the one before. With `-- --json` a line
//! of JSON for each. Without cargo's `--bench` (so under `cargo test`) it only shows that it runs.
//! It fails if a budget is not held.

use std::env;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use knock_core::door::{Action, Door, SequenceSource, Trigger};
use knock_core::engine::{Engine, HugePages, Limits, Prefetch};
use knock_core::flags::{FlagMatch, TcpFlags};
use knock_core::packet::Packet;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::time::Timestamp;
use knock_sys::{fetch, use_huge_pages};
use rustix::time::{ClockId, clock_gettime};

/// Packets that the engine is shown before the first of them, as the daemon's listener does it.
const BATCH: u32 = 16;

const SEQ_TIMEOUT: Duration = Duration::from_secs(25);

fn main() -> ExitCode {
    let has = |flag: &str| env::args().any(|arg| arg == flag);
    let mut scale = if has("--bench") {
        Scale::real()
    } else {
        Scale::smoke()
    };
    let mut held = true;
    for line in scale.measure() {
        println!(
            "{}",
            if has("--json") {
                line.json()
            } else {
                line.text()
            }
        );
        held &= line.holds();
    }
    if held || !has("--bench") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How much is measured.
struct Scale {
    few: u32,
    /// A power of two.
    many: u32,
    packets: u32,
    repeats: usize,
    memory: Memory,
}

impl Scale {
    fn real() -> Self {
        Self {
            few: 1_000,
            many: 1 << 20,
            packets: 200_000,
            repeats: 11,
            memory: Memory::new(1 << 24),
        }
    }

    fn smoke() -> Self {
        Self {
            few: 10,
            many: 1 << 10,
            packets: 1_000,
            repeats: 2,
            memory: Memory::new(1 << 10),
        }
    }

    fn measure(&mut self) -> Vec<Line> {
        let Self { few, many, .. } = *self;
        let roomy = 2 * many;
        let first = Budget {
            most: 150.0,
            ratio: 1.5,
            reads: f64::INFINITY,
        };
        let quick = Budget {
            most: 20.0,
            ..first
        };
        // The one that goes is of another door, and anywhere: what memory takes is the measure.
        let scattered = Budget {
            most: f64::INFINITY,
            ratio: f64::INFINITY,
            reads: 2.0,
        };
        let flood = |doors, capacity, alive| Flood::new(doors, capacity, alive, Kind::FirstKnock);
        let other = |doors, alive| Flood::new(doors, many, alive, Kind::NoDoor);
        let nearly = |all: u32| all - all / 64;
        vec![
            self.compare(
                "first knock, room for 2^18",
                &mut flood(1, many / 4, few),
                &mut flood(1, many / 4, nearly(many / 4)),
                first,
            ),
            self.compare(
                "first knock, room for 2^20",
                &mut flood(1, many, few),
                &mut flood(1, many, nearly(many)),
                first,
            ),
            self.compare(
                "first knock, room for 2^21",
                &mut flood(1, roomy, few),
                &mut flood(1, roomy, many),
                first,
            ),
            self.compare(
                "first knock that displaces another, table of 2^20 full",
                &mut flood(1, many, few),
                &mut Flood::full(1, many),
                first,
            ),
            self.compare(
                "first knock that displaces another, table of 2^18 full",
                &mut flood(1, many / 4, few),
                &mut Flood::full(1, many / 4),
                first,
            ),
            self.compare(
                "the same, one by one",
                &mut flood(1, many / 4, few).one_by_one(),
                &mut Flood::full(1, many / 4).one_by_one(),
                first,
            ),
            self.compare(
                "first knock that displaces another, table of 2^20 full, 1,000 doors",
                &mut flood(1_000, many, few),
                &mut Flood::full(1_000, many),
                scattered,
            ),
            self.compare(
                "a packet of no door",
                &mut other(1, few),
                &mut other(1, many / 2),
                quick,
            ),
            self.compare(
                "a packet of no door, 10,000 doors",
                &mut other(10_000, few),
                &mut other(10_000, many / 2),
                quick,
            ),
            self.build(1_000, 5.0),
            self.build(10_000, 50.0),
        ]
    }

    fn compare(&mut self, what: &str, few: &mut Flood, many: &mut Flood, budget: Budget) -> Line {
        let mut sides = [Vec::new(), Vec::new(), Vec::new()];
        few.run(self.packets);
        many.run(self.packets);
        for _ in 0..self.repeats {
            let [a, b, memory] = &mut sides;
            a.push(few.run(self.packets));
            b.push(many.run(self.packets));
            memory.push(self.memory.read(self.packets));
        }
        let [a, b, memory] = &mut sides;
        Line {
            what: what.to_string(),
            unit: "ns",
            few: Some(median(a)),
            read: Some(median(memory)),
            alive: [few.engine.attempts(), many.engine.attempts()],
            many: median(b),
            spread: spread(b),
            budget,
        }
    }

    /// Milliseconds to make an engine, which a reload does as well.
    fn build(&self, count: u16, most: f64) -> Line {
        let doors = doors(count);
        let mut times: Vec<f64> = (0..self.repeats)
            .map(|_| {
                let start = cpu_seconds();
                black_box(Engine::new(&doors, limits(1 << 18), [1, 2]));
                (cpu_seconds() - start) * 1e3
            })
            .collect();
        Line {
            what: format!("make an engine for {count} doors"),
            unit: "ms",
            few: None,
            read: None,
            alive: [0, 0],
            many: median(&mut times),
            spread: spread(&times),
            budget: Budget {
                most,
                ratio: f64::INFINITY,
                reads: f64::INFINITY,
            },
        }
    }
}

#[derive(Copy, Clone)]
struct Budget {
    most: f64,
    ratio: f64,
    /// In reads from memory.
    reads: f64,
}

struct Line {
    what: String,
    unit: &'static str,
    few: Option<f64>,
    /// One read from memory.
    read: Option<f64>,
    many: f64,
    alive: [usize; 2],
    /// The least and the greatest of `many`.
    spread: [f64; 2],
    budget: Budget,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.few.map_or(1.0, |few| self.many / few)
    }

    fn holds(&self) -> bool {
        let reads = self.read.map_or(0.0, |read| self.many / read);
        self.many <= self.budget.most
            && self.ratio() <= self.budget.ratio
            && reads <= self.budget.reads
    }

    fn text(&self) -> String {
        let Self {
            what,
            unit,
            many,
            spread: [least, greatest],
            alive: [few_alive, many_alive],
            budget,
            ..
        } = self;
        let against = self.few.map_or(String::new(), |few| {
            format!(
                "; {few:.1} with {few_alive} alive, {many_alive} here: {:.2}x{}; \
                 a read from memory {:.0}{}",
                self.ratio(),
                bound(budget.ratio, "x"),
                self.read.unwrap_or(f64::NAN),
                bound(budget.reads, " of them")
            )
        });
        let verdict = if self.holds() { "held" } else { "NOT HELD" };
        format!(
            "{what}: {many:.1} {unit} ({least:.1} to {greatest:.1}{}){against}: {verdict}",
            bound(budget.most, "")
        )
    }

    fn json(&self) -> String {
        let [least, greatest] = self.spread;
        let number = |n: Option<f64>| n.map_or("null".to_string(), |n| format!("{n:.2}"));
        let (few, read) = (number(self.few), number(self.read));
        format!(
            "{{\"bench\":\"engine\",\"what\":\"{}\",\"unit\":\"{}\",\"few\":{few},\"many\":{:.2},\
             \"read\":{read},\"least\":{least:.2},\"greatest\":{greatest:.2},\"ratio\":{:.3},\"budget\":{},\
             \"holds\":{}}}",
            self.what,
            self.unit,
            self.many,
            self.ratio(),
            self.budget.most,
            self.holds()
        )
    }
}

/// What is said of a bound, if there is one.
fn bound(most: f64, unit: &str) -> String {
    if most.is_finite() {
        format!(", at most {most}{unit}")
    } else {
        String::new()
    }
}

/// As much memory as a table of 2^20 attempts takes.
struct Memory {
    words: Vec<u32>,
    random: u32,
}

impl Memory {
    fn new(words: u32) -> Self {
        Self {
            words: (0..words).map(|n| n.wrapping_mul(0x9e37_79b1)).collect(),
            random: 1,
        }
    }

    /// Nanoseconds a read, over `reads` at random places, each of which depends on the last.
    fn read(&mut self, reads: u32) -> f64 {
        let start = cpu_seconds();
        for n in 0..reads {
            let place = usize::try_from(self.random).unwrap_or(0) % self.words.len();
            let word = self.words.get(place).copied().unwrap_or(0);
            self.random = (self.random ^ word).wrapping_mul(0x0019_660d);
            self.random = self.random.wrapping_add(n);
            self.random ^= self.random >> 15;
        }
        black_box(self.random);
        (cpu_seconds() - start) * 1e9 / f64::from(reads)
    }
}

/// The daemon's.
struct Caches;

impl Prefetch for Caches {
    fn prefetch<T>(&self, place: &T) {
        fetch(place);
    }
}

impl HugePages for Caches {
    fn back<T>(&self, memory: &Vec<T>) {
        let _as_it_can = use_huge_pages(memory).is_ok();
    }
}

/// What a packet of a flood is.
#[derive(Copy, Clone)]
enum Kind {
    /// The first step of one of the doors.
    FirstKnock,
    /// A port that no door names.
    NoDoor,
}

/// An engine under packets from random sources, at such a rate that as many attempts begin as end.
struct Flood {
    engine: Engine,
    kind: Kind,
    doors: u16,
    random: u64,
    /// Nanoseconds.
    now: u64,
    /// Nanoseconds from packet to packet.
    pace: u64,
    /// Packets that are prepared before the first of them is handled.
    batch: u32,
}

impl Flood {
    /// A table with `alive` attempts, which end by time.
    fn new(doors: u16, capacity: u32, alive: u32, kind: Kind) -> Self {
        let timeout = u64::try_from(SEQ_TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        Self::filled(doors, capacity, alive, timeout / u64::from(alive), kind)
    }

    /// A table with `alive` attempts, which is all that it has room for, and no time passing.
    fn full(doors: u16, alive: u32) -> Self {
        Self::filled(doors, alive, alive, 1, Kind::FirstKnock)
    }

    fn filled(doors: u16, capacity: u32, alive: u32, pace: u64, kind: Kind) -> Self {
        let mut flood = Self {
            engine: Engine::new(&self::doors(doors), limits(capacity), [3, 4]),
            kind: Kind::FirstKnock,
            doors,
            random: 1,
            now: 0,
            pace,
            batch: BATCH,
        };
        flood.run(alive + alive / 2);
        flood.engine.use_huge_pages(&Caches);
        flood.kind = kind;
        if matches!(kind, Kind::NoDoor) {
            flood.pace = 0;
        }
        flood
    }

    /// Without looking ahead.
    fn one_by_one(self) -> Self {
        Self { batch: 1, ..self }
    }

    /// Nanoseconds a packet, over `packets`.
    fn run(&mut self, packets: u32) -> f64 {
        let start = cpu_seconds();
        let mut batch = Vec::new();
        for n in 0..packets / self.batch {
            for _ in 0..self.batch {
                let packet = self.packet();
                let prepared =
                    (self.batch > 1).then(|| self.engine.prepare(&packet, batch.len(), &Caches));
                batch.push((packet, prepared));
            }
            for (packet, prepared) in batch.drain(..) {
                self.now += self.pace;
                let now = Timestamp::from_nanos(self.now);
                match prepared {
                    Some(prepared) => {
                        let tell = |event| {
                            black_box(event);
                        };
                        self.engine
                            .handle_prepared(&packet, prepared, true, now, tell);
                    }
                    None => self.engine.handle_packet(&packet, true, now),
                }
                while let Some(event) = self.engine.poll_event() {
                    black_box(event);
                }
            }
            if n.is_multiple_of(64 / self.batch) {
                self.end_due(Timestamp::from_nanos(self.now));
            }
        }
        (cpu_seconds() - start) * 1e9 / f64::from(packets)
    }

    fn end_due(&mut self, now: Timestamp) {
        while self.engine.poll_timeout().is_some_and(|due| due <= now) {
            let tell = |event| {
                black_box(event);
            };
            self.engine.handle_timeout_prefetched(now, &Caches, tell);
        }
    }

    fn packet(&mut self) -> Packet {
        // xorshift64: no source comes twice within a run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let [a, b, c, d, e, f, ..] = self.random.to_le_bytes();
        let port = match self.kind {
            Kind::FirstKnock => 20_000 + u16::from_le_bytes([e, f]) % self.doors,
            Kind::NoDoor => u16::from_le_bytes([e, f]) % 20_000,
        };
        Packet {
            source: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            destination: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            protocol: Protocol::Tcp,
            source_port: 40_000,
            destination_port: port,
            flags: TcpFlags::SYN,
        }
    }
}

/// Doors of three steps, each with a first step of its own, from port 20,000.
fn doors(count: u16) -> Vec<Door> {
    (0..count)
        .filter_map(|n| {
            let steps = [20_000 + n, 32_000 + n, 44_000 + n].map(Step::tcp);
            let sequence = Sequence::new(steps.to_vec()).ok()?;
            Some(Door {
                name: format!("door{n}"),
                trigger: Trigger {
                    source: SequenceSource::Fixed(sequence),
                    seq_timeout: SEQ_TIMEOUT,
                    flags: FlagMatch::ANY.and_set(TcpFlags::SYN),
                    targets: Vec::new(),
                    strict: false,
                    cooldown: Duration::ZERO,
                },
                spa: None,
                action: Action::default(),
            })
        })
        .collect()
}

const fn limits(max_attempts: u32) -> Limits {
    Limits { max_attempts }
}

/// CPU time of this thread: what others do on the machine counts less than on a wall clock.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).map_or(f64::NAN, |time| time.as_secs_f64())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(times: &[f64]) -> [f64; 2] {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = times.iter().copied().fold(0.0, f64::max);
    [least, greatest]
}
