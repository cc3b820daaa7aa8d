//! What comes of what the packet side says.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Closing, SequenceSource};
use knock_core::sequence::Protocol;
use knock_core::time::Timestamp;

use super::confinement;
use super::serve::Daemon;
use crate::keeper::DoorRef;
use crate::listen::{self, InterfaceChange, Notice, Report, ReportKind};
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
                    self.scribe.note(level, "interface", text);
                }
                Notice::Ready { layers, again } => self.handle_ready(&layers, again),
                Notice::Problem(problem) => {
                    let text = format!("error: {problem}");
                    self.scribe.note(Level::Error, "listener", text);
                }
            }
        }
    }

    /// A listener is ready: says what is missing of its sandbox, once.
    fn handle_ready(&mut self, layers: &[(Layer, State)], again: Option<Duration>) {
        if let Some(again) = again {
            let text = format!("a new listener is ready after {} ms", again.as_millis());
            self.scribe.note(Level::Info, "listener", text);
        }
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
                return self.scribe.note(Level::Info, "left-out", text);
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
                return self.scribe.note(Level::Warning, "dropped", text);
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
            ReportKind::Stage(stage) => self.log(line("stage", &format!("Stage {stage}"))),
            ReportKind::Timeout { stage } => {
                let text = format!("sequence timeout (stage {stage})");
                self.log(line("timeout", &text));
            }
            ReportKind::Broken { stage, by } => {
                let port = by.port;
                let text = match by.protocol {
                    Protocol::Tcp => format!("wrong knock {port}:tcp (stage {stage})"),
                    Protocol::Udp => format!("wrong knock {port}:udp (stage {stage})"),
                };
                self.log(line("wrong-knock", &text).at(Level::Debug));
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
                let line = Line::of_source(report.source, &door.name, "refused", text);
                return self.log(line.at(Level::Error));
            };
            self.side.set_sequence(spent.door, spent.next);
            spent.lines.into_iter().for_each(|line| self.log(line));
            if !spent.is_struck {
                let text = "its one-time sequence could not be struck off; nothing was run";
                let line = Line::of_source(report.source, &door.name, "refused", text);
                return self.log(line.at(Level::Error));
            }
        }
        self.handle_opened(door, report.source, listen::now());
        self.perform();
    }

    /// The gate comes first: whoever has knocked connects at once.
    fn handle_opened(&mut self, door: &DoorRef, source: IpAddr, now: Timestamp) {
        let gatekeeper = self.gatekeeper.as_mut().filter(|_| self.ending.is_none());
        let opened = gatekeeper.and_then(|gate| gate.handle_opening(door, source, now));
        let opened = opened.map(|opened| opened.line);
        self.keeper.handle_opening(door, source, now);
        opened
            .into_iter()
            .for_each(|line| self.keeper.tell(line, now));
        if let Some(closing) = &door.action.close
            && self.ending.is_none()
        {
            let why = format!("closed by {}", door.name);
            self.take_back_for(closing, door, source, &why, now);
        }
    }

    /// Takes back what another door has opened for `source`.
    pub(super) fn take_back_for(
        &mut self,
        closing: &Closing,
        door: &DoorRef,
        source: IpAddr,
        why: &str,
        now: Timestamp,
    ) {
        let mut count = self.keeper.take_back(&closing.door, source, why, now);
        if let Some(gatekeeper) = &mut self.gatekeeper {
            let (grants, lines) = gatekeeper.take_back(closing, source, now);
            if grants > 0 {
                let line = Line::of_source(source, &closing.door, "closed", why);
                self.keeper.tell(line, now);
            }
            count += grants;
            lines
                .into_iter()
                .for_each(|line| self.keeper.tell(line, now));
        }
        if count == 0 {
            let text = format!("closes nothing: {} is not open", closing.door);
            let line = Line::of_source(source, &door.name, "closed", &text);
            self.keeper.tell(line, now);
        }
    }
}
