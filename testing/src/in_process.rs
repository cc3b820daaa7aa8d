//! Runs a case through `knock_core`: configuration, kernel filter, packet view, engine, one-time
//! sequences; in virtual time, so it takes none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use knock_core::config::{self, Config, Severity};
use knock_core::door::{Door, DoorId, SequenceSource};
use knock_core::engine::{Engine, EventKind, Limits};
use knock_core::filter::{self, Instruction};
use knock_core::one_time;
use knock_core::packet::{LinkType, Packet};
use knock_core::sequence::{Protocol, Sequence};
use knock_core::time::Timestamp;

use crate::Result;
use crate::case::{Case, OtherStep, Step};
use crate::frame::{self, Link};
use crate::script::{Knock, Signal, Word, address};
use crate::trace::{self, Mark, What};

/// From one packet to the next, unless the case says otherwise.
const SPACING: Duration = Duration::from_millis(30);
/// After the last step, so that time-outs that are due are seen.
const AFTERWARDS: Duration = Duration::from_millis(200);
/// The longest wait for a line of the log.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `case` and returns what is wrong; nothing if all is as expected.
///
/// # Errors
/// If the case itself cannot be run.
pub fn run(case: &Case) -> Result<Vec<String>> {
    let dir = Path::new("/case");
    let text = case.configuration(&case.config, dir);
    let parsed = config::parse(text.as_bytes(), &well_known_services);
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.message.clone())
        .collect();
    let Some(config) = parsed.config else {
        return Ok(match case.starts {
            true => vec![format!(
                "the configuration is refused: {}",
                errors.join("; ")
            )],
            false => Vec::new(),
        });
    };
    if !case.starts {
        return Ok(vec!["the configuration is accepted".into()]);
    }
    let mut world = World::new(config, files(case, dir));
    let mut wrong = Vec::new();
    for step in &case.steps {
        world.step(case, step, dir, &mut wrong)?;
    }
    world.advance(AFTERWARDS);
    if let Some(expected) = case.marks()?
        && expected != world.marks
    {
        wrong.push(format!(
            "trace: expected {}\n          got      {}",
            trace::write(&expected, case.v6),
            trace::write(&world.marks, case.v6)
        ));
    }
    Ok(wrong)
}

/// The marks that `knocks` make at the doors of the configuration `text`.
///
/// # Errors
/// If the configuration is refused.
pub fn marks(text: &str, knocks: &[Knock]) -> Result<Vec<Mark>> {
    let config = config::parse(text.as_bytes(), &well_known_services).config;
    let mut world = World::new(config.ok_or("a configuration is refused")?, HashMap::new());
    for knock in knocks {
        world.packet(knock)?;
        world.advance(Duration::from_millis(1));
    }
    Ok(world.marks)
}

fn files(case: &Case, dir: &Path) -> HashMap<String, Vec<u8>> {
    let path = |name: &String| dir.join(name).display().to_string();
    case.files
        .iter()
        .map(|(name, text)| (path(name), text.clone().into_bytes()))
        .collect()
}

/// The services that cases name.
fn well_known_services(name: &str, protocol: Protocol) -> Option<u16> {
    match (name, protocol) {
        ("ssh", Protocol::Tcp) => Some(22),
        ("http", Protocol::Tcp) => Some(80),
        ("https", _) => Some(443),
        ("domain", _) => Some(53),
        ("ntp", Protocol::Udp) => Some(123),
        _ => None,
    }
}

/// A daemon without a process: the engine, its clock, and the files of one-time sequences.
struct World {
    engine: Engine,
    doors: Vec<Door>,
    /// The current sequence of each door.
    sequences: Vec<Option<Sequence>>,
    filter: Vec<Instruction>,
    files: HashMap<String, Vec<u8>>,
    now: Timestamp,
    marks: Vec<Mark>,
    next_config: Option<Config>,
}

impl World {
    fn new(config: Config, files: HashMap<String, Vec<u8>>) -> Self {
        let limits = Limits {
            max_attempts: config.options.max_attempts,
        };
        let mut world = Self {
            engine: Engine::new(&config.doors, limits, [1, 2]),
            doors: config.doors,
            sequences: Vec::new(),
            filter: Vec::new(),
            files,
            now: Timestamp::from_millis(1_000_000),
            marks: Vec::new(),
            next_config: None,
        };
        world.give_sequences();
        world
    }

    fn give_sequences(&mut self) {
        let fixed = |door: &Door| door.trigger.source.fixed().cloned();
        self.sequences = self.doors.iter().map(fixed).collect();
        for index in 0..self.doors.len() {
            self.give_sequence(index);
        }
        self.renew_filter();
    }

    fn renew_filter(&mut self) {
        let triggers = self.doors.iter().map(|door| &door.trigger);
        let doors = triggers.zip(self.sequences.iter().map(Option::as_ref));
        self.filter = filter::compile(doors, &filter::Scope::default());
    }

    /// Tells the engine the current line of a one-time door, as the daemon would.
    fn give_sequence(&mut self, index: usize) {
        let Some(SequenceSource::OneTime(path)) =
            self.doors.get(index).map(|door| &door.trigger.source)
        else {
            return;
        };
        let current = self.current_line(path).map(|line| line.sequence);
        let id = DoorId(u16::try_from(index).unwrap_or(u16::MAX));
        if let Some(place) = self.sequences.get_mut(index) {
            place.clone_from(&current);
        }
        self.engine.set_sequence(id, current);
    }

    fn current_line(&self, path: &str) -> Option<one_time::Line> {
        one_time::parse(self.files.get(path)?).current
    }

    fn strike(&mut self, index: usize) {
        let Some(door) = self.doors.get(index) else {
            return;
        };
        if let SequenceSource::OneTime(path) = &door.trigger.source {
            if let Some(line) = self.current_line(path)
                && let Some(file) = self.files.get_mut(path)
                && let Some(byte) = file.get_mut(line.offset)
            {
                *byte = b'#';
            }
            self.give_sequence(index);
            self.renew_filter();
        }
    }

    fn step(
        &mut self,
        case: &Case,
        step: &Step,
        dir: &Path,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        match step {
            Step::Script(text) => {
                let spacing = case.spacing.map_or(SPACING, Duration::from_millis);
                for word in case.words(text)? {
                    self.word(&word, spacing)?;
                }
            }
            Step::Other(OtherStep::Config(text)) => {
                let text = case.configuration(text, dir);
                self.next_config = config::parse(text.as_bytes(), &well_known_services).config;
            }
            Step::Other(OtherStep::Until(text)) => {
                let end = self.now.saturating_add(PATIENCE);
                while !self.log().iter().any(|line| line.contains(text.as_str())) {
                    if self.now >= end {
                        wrong.push(format!("no log line with `{text}`"));
                        return Ok(());
                    }
                    self.advance(Duration::from_millis(10));
                }
            }
            Step::Other(OtherStep::Trace(text)) => {
                let expected = trace::parse(text, case.v6)?;
                if expected != self.marks {
                    let got = trace::write(&self.marks, case.v6);
                    wrong.push(format!("trace: expected {text}\n          got      {got}"));
                }
            }
            Step::Other(other) => return Err(format!("{other:?} needs a process").into()),
        }
        Ok(())
    }

    fn word(&mut self, word: &Word, spacing: Duration) -> Result<()> {
        match word {
            Word::Packet(knock) => {
                self.packet(knock)?;
                self.advance(spacing);
            }
            Word::Pause(pause) => self.advance(*pause),
            Word::Align(fraction) => {
                let second = 1_000_000_000;
                let into = self.now.as_nanos() % second;
                let wanted = u64::try_from(fraction.as_nanos())?;
                let wait = (second + wanted - into) % second;
                self.advance(Duration::from_nanos(wait));
            }
            Word::Signal(Signal::Hup) => {
                if let Some(config) = self.next_config.take() {
                    self.engine.set_doors(&config.doors);
                    self.doors = config.doors;
                    self.give_sequences();
                }
                self.collect();
            }
            Word::Signal(signal) => return Err(format!("{signal:?} needs a process").into()),
        }
        Ok(())
    }

    fn packet(&mut self, knock: &Knock) -> Result<()> {
        let frame = frame::build(knock, Link::NOMINAL, 40_000);
        let by_link = Packet::from_link(LinkType::Ethernet, &frame);
        let (ether_type, ip) = frame::ip_packet(knock, 40_000);
        let by_type = Packet::from_ether_type(ether_type, &ip);
        if by_link != by_type {
            return Err(format!("{knock:?} is {by_link:?} or {by_type:?}").into());
        }
        let metadata = filter::Metadata {
            packet_type: 0,
            interface: 1,
            ether_type,
        };
        let passes = filter::interpret(&self.filter, &ip, metadata)
            .map_err(|_| "the filter is no program")?;
        if let Ok(packet) = by_link
            && passes > 0
        {
            let local = address::of_the_server().contains(&knock.destination);
            self.engine.handle_packet(&packet, local, self.now);
        }
        self.collect();
        Ok(())
    }

    /// Lets `duration` pass, waking the engine when it asks for it.
    fn advance(&mut self, duration: Duration) {
        let end = self.now.saturating_add(duration);
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.collect();
            if self.engine.poll_timeout() == Some(at) && at < self.now {
                break;
            }
        }
        self.now = end;
    }

    fn collect(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let index = usize::from(event.door.0);
            let what = match event.kind {
                EventKind::Stage(n) => What::Stage(n),
                EventKind::Opening => What::Opening,
                EventKind::Timeout { stage } => What::Timeout(stage),
                EventKind::Broken { .. } => continue,
            };
            let name = self.doors.get(index).map(|door| door.name.clone());
            self.marks.push(Mark {
                door: name.unwrap_or_default(),
                source: event.source,
                what,
            });
            if what == What::Opening {
                self.strike(index);
            }
        }
    }

    /// The lines that the daemon would have written for the marks.
    fn log(&self) -> Vec<String> {
        let line = |mark: &Mark| {
            let source: IpAddr = mark.source;
            let what = match mark.what {
                What::Stage(n) => format!("Stage {n}"),
                What::Opening => "OPEN SESAME".into(),
                What::Timeout(n) => format!("sequence timeout (stage {n})"),
            };
            format!("{source}: {}: {what}", mark.door)
        };
        self.marks.iter().map(line).collect()
    }
}
