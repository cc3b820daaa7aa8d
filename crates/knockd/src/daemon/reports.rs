//! What comes of what the packet side says.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Closing, SequenceSource};
use knock_core::sequence::Protocol;
use knock_core::time::Timestamp;

use super::confinement;
use super::gatekeeper::closed;
use super::serve::Daemon;
use crate::events::{Happened, Kind, Reason};
use crate::keeper::{DoorRef, Why};
use crate::listen::{self, InterfaceChange, Notice, Problem, Report, ReportKind};
use crate::log::{Level, Line};
use crate::sandbox::{Layer, State};

impl Daemon {
    pub(super) fn handle_side(&mut self) {
        self.side.handle_readable();
        while let Some(notice) = self.side.poll_notice() {
            match notice {
                Notice::Knock(knock) => self.handle_knocks(knock),
                Notice::Report(report) => self.handle_report(&report),
                Notice::Interface { name, change } => {
                    let level = match change {
                        InterfaceChange::Absent
                        | InterfaceChange::Gone
                        | InterfaceChange::Down
                        | InterfaceChange::NoAddress => Level::Warning,
                        _ => Level::Info,
                    };
                    let text = format!("interface {name} {change}");
                    let happened = Happened::new(Kind::Interface);
                    self.log(Line::new(level, "interface", text).means(happened));
                }
                Notice::Ready { layers, again } => self.handle_ready(&layers, again),
                Notice::Problem(problem) => {
                    let line = Line::new(Level::Error, "listener", format!("error: {problem}"));
                    let died = matches!(problem, Problem::Listener(_));
                    let happened = Happened {
                        reason: died.then_some(Reason::Died),
                        ..Happened::new(Kind::Listener)
                    };
                    self.log(line.means(happened));
                }
            }
        }
    }

    /// A listener is ready: says what is missing of its sandbox, once.
    fn handle_ready(&mut self, layers: &[(Layer, State)], again: Option<Duration>) {
        let ready = |text: String| {
            let happened = Happened::new(Kind::Listener).because(Reason::Started);
            Line::new(Level::Info, "listener", text).means(happened)
        };
        self.log(match again {
            Some(again) => ready(format!(
                "a new listener is ready after {} ms",
                again.as_millis()
            )),
            None => ready("a listener is ready".to_owned()).quietly(),
        });
        if layers == self.told_layers.as_slice() {
            return;
        }
        for (level, text) in confinement::lines(layers, self.settings.sandbox) {
            self.scribe.note(level, "sandbox", text);
        }
        self.told_layers = layers.to_vec();
    }

    fn handle_report(&mut self, report: &Report) {
        match report.kind {
            ReportKind::LeftOut { lines } => {
                let text = format!("{lines} log lines about knocks were left out");
                let line = Line::new(Level::Info, "left-out", text);
                let happened = Happened::new(Kind::LeftOut).of(lines);
                return self.log(line.means(happened));
            }
            ReportKind::Dump { packet, bytes } => {
                let time = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
                let protocol = packet.protocol;
                let from = format!("{}:{}", packet.source, packet.source_port);
                let to = format!("{}:{}", packet.destination, packet.destination_port);
                let text = format!("{time}: {protocol}: {from} -> {to} {bytes} bytes");
                return crate::log::to_stdout(&text);
            }
            ReportKind::Dropped { packets } => {
                let text = format!(
                    "{packets} packets came faster than they could be read, and were dropped by \
                     the kernel"
                );
                let line = Line::new(Level::Warning, "dropped", text);
                let happened = Happened::new(Kind::Dropped).of(packets);
                return self.log(line.means(happened));
            }
            ReportKind::Code(code) => return self.handle_code(code, report.source),
            _ => {}
        }
        let door = match self.doors.check(report) {
            Ok(door) => door,
            Err(why) => return self.side.misbehaved(why),
        };
        let line = |event, text: &str| Line::of_source(report.source, &door.name, event, text);
        match report.kind {
            ReportKind::Stage(stage) => {
                let happened = Happened::new(Kind::Step).at(stage);
                self.log(line("stage", &format!("Stage {stage}")).means(happened));
            }
            ReportKind::Timeout { stage } => {
                let text = format!("sequence timeout (stage {stage})");
                let happened = Happened::new(Kind::Timeout).at(stage);
                self.log(line("timeout", &text).means(happened));
            }
            ReportKind::Broken { stage, by } => {
                let port = by.port;
                let text = match by.protocol {
                    Protocol::Tcp => format!("wrong knock {port}:tcp (stage {stage})"),
                    Protocol::Udp => format!("wrong knock {port}:udp (stage {stage})"),
                };
                let line = line("wrong-knock", &text).at(Level::Debug);
                self.log(line.means(Happened::new(Kind::Broken).at(stage)));
            }
            ReportKind::Opening => self.handle_opening(&door, report),
            _ => {}
        }
    }

    fn handle_opening(&mut self, door: &DoorRef, report: &Report) {
        // Once the end has begun nothing is opened any more: the keeper says so, and no line is
        // spent for it.
        let spends = matches!(door.trigger.source, SequenceSource::OneTime(_));
        if spends && self.ending.is_none() {
            let Some(spent) = self.one_time.spend(door) else {
                let text = "the door is gone since a reload; nothing was run";
                return self.log(refused(
                    report.source,
                    &door.name,
                    Reason::UnknownDoor,
                    text,
                ));
            };
            self.side.set_sequence(spent.door, spent.next);
            spent.lines.into_iter().for_each(|line| self.log(line));
            if !spent.is_struck {
                let text = "its one-time sequence could not be struck off; nothing was run";
                return self.log(refused(report.source, &door.name, Reason::NotWritten, text));
            }
        }
        self.handle_opened(door, report.source, listen::now());
        self.perform();
    }

    /// The gate comes first: whoever has knocked connects at once.
    fn handle_opened(&mut self, door: &DoorRef, source: IpAddr, now: Timestamp) {
        if self.settings.shadow {
            return self.would_open(door, source, None, now);
        }
        let gatekeeper = self.gatekeeper.as_mut().filter(|_| self.ending.is_none());
        let opened = gatekeeper.and_then(|gate| gate.handle_opening(door, source, None, now));
        let opened = opened.map(|opened| opened.line);
        self.keeper.handle_opening(door, source, now);
        opened
            .into_iter()
            .for_each(|line| self.keeper.tell(line, now));
        if let Some(closing) = &door.action.close
            && self.ending.is_none()
        {
            let text = format!("closed by {}", door.name);
            let why = Why::new(&text, Reason::CloseKnock);
            self.take_back_for(closing, door, source, &why, now);
        }
    }

    /// Takes back what another door has opened for `source`.
    pub(super) fn take_back_for(
        &mut self,
        closing: &Closing,
        door: &DoorRef,
        source: IpAddr,
        why: &Why<'_>,
        now: Timestamp,
    ) {
        if self.settings.shadow {
            let text = format!("would close {}", closing.door);
            let line = Line::of_source(source, &door.name, "shadow", &text);
            return self.keeper.tell(line, now);
        }
        let mut count = self.keeper.take_back(&closing.door, source, why, now);
        if let Some(gatekeeper) = &mut self.gatekeeper {
            let taken = gatekeeper.take_back(closing, source, now);
            if !taken.closed.is_empty() {
                let line = Line::of_source(source, &closing.door, "closed", why.text);
                self.keeper.tell(line, now);
            }
            count += taken.closed.len();
            // One line for all of them, and an event for each.
            let events = taken.closed.iter().map(|key| closed(key, why).quietly());
            events
                .chain(taken.lines)
                .for_each(|line| self.keeper.tell(line, now));
        }
        if count == 0 {
            let text = format!("closes nothing: {} is not open", closing.door);
            let line = Line::of_source(source, &door.name, "closed", &text);
            self.keeper.tell(line, now);
        }
    }
}

/// Who has knocked right is not let in.
fn refused(source: IpAddr, door: &str, reason: Reason, text: &str) -> Line {
    let line = Line::of_source(source, door, "refused", text).at(Level::Error);
    line.means(Happened::new(Kind::Refuse).because(reason))
}
