//! Metrics: the numbers of a [`Status`] in the OpenMetrics text format, for Prometheus and what reads
//! the same.
//!
//! Labels have the names of doors and interfaces, which the configuration bounds, and words of ours:
//! never an address, a key, or anything else that a stranger can make more of.

pub mod server;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::control::{GateState, Status};

/// How the text is written.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The older text format of Prometheus, 0.0.4: what node_exporter reads from files.
    Classic,
}

impl Format {
    /// The type of the content, as HTTP says it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics of `status`.
#[must_use]
pub fn text(status: &Status, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut text = String::new();
    // Writing to a string cannot fail, and nothing of ours does.
    encode(&mut text, &registry).unwrap_or_default();
    match format {
        Format::OpenMetrics => text,
        Format::Classic => classic(&text),
    }
}

/// The same in the older format, where a counter is described under its whole name, and nothing says
/// that it is the end.
fn classic(text: &str) -> String {
    let is_counter = |name: &str| text.contains(&format!("# TYPE {name} counter\n"));
    let lines = text.lines().filter(|line| *line != "# EOF").map(|line| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                format!("# {what} {name}_total {rest}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[derive(Debug)]
struct Snapshot(Status);

/// A label and its value.
type Label<'a> = (&'static str, &'a str);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        process(&mut page, &self.0)?;
        packets(&mut page, &self.0)?;
        openings(&mut page, &self.0)?;
        gate(&mut page, &self.0)
    }
}

fn process(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    page.gauges(
        "knockd_build_info",
        "The version of the daemon; always 1",
        [(("version", status.program.as_str()), 1)],
    )?;
    let started = u64::try_from(status.started.as_second()).unwrap_or(0);
    page.gauge(
        "knockd_start_time_seconds",
        "When the daemon was started, in seconds since 1970",
        started,
    )?;
    page.gauges(
        "knockd_processes",
        "Processes that run",
        [
            (("role", "keeper"), 1),
            (("role", "listener"), status.listener.is_some().into()),
        ],
    )?;
    let interfaces = status.interfaces.iter();
    page.gauges(
        "knockd_interface_up",
        "Whether an interface that was asked for is there and up",
        interfaces.map(|one| (("interface", one.name.as_str()), one.up.into())),
    )?;
    page.gauges(
        "knockd_commands",
        "Commands of doors that run, and that wait",
        [
            (("state", "running"), status.keeper.commands_running),
            (("state", "waiting"), status.keeper.commands_waiting),
        ],
    )
}

fn packets(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let counters = &status.counters;
    page.counter(
        "knockd_packets",
        "Packets that passed the kernel's filter",
        counters.packets,
    )?;
    page.counter(
        "knockd_packets_not_knocks",
        "Of these, packets that no door could count",
        counters.not_knocks,
    )?;
    page.counter(
        "knockd_kernel_drops",
        "Packets that the kernel dropped because they came faster than they could be read",
        counters.kernel_drops,
    )?;
    page.counter("knockd_knocks", "Right knocks", counters.knocks)?;
    page.counter(
        "knockd_wrong_knocks",
        "Wrong knocks that have ended an attempt",
        counters.wrong,
    )?;
    page.counter(
        "knockd_attempt_timeouts",
        "Attempts that took too long",
        counters.timeouts,
    )?;
    page.counter(
        "knockd_attempts_evicted",
        "Attempts that were given up for want of room",
        counters.evictions,
    )?;
    page.counters(
        "knockd_sealed_packets",
        "Sealed packets, by what became of them",
        [
            (("result", "junk"), counters.sealed_junk),
            (("result", "limited"), counters.sealed_limited),
            (("result", "broken"), counters.sealed_broken),
            (("result", "opened"), counters.sealed_opened),
        ],
    )?;
    page.counters(
        "knockd_codes_refused",
        "Codes on paper that came to nothing",
        [
            (("result", "unknown"), counters.codes_unknown),
            (("result", "limited"), counters.codes_limited),
        ],
    )?;
    page.gauge(
        "knockd_attempts",
        "Attempts that are under way, as far as they were reported",
        status.attempts.total,
    )
}

fn openings(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let counters = &status.counters;
    page.counter(
        "knockd_sequences_completed",
        "Sequences that were completed",
        counters.openings,
    )?;
    page.counter(
        "knockd_openings_lost",
        "Openings that were lost because the keeper was busy for too long",
        counters.openings_lost,
    )?;
    page.counter(
        "knockd_openings_without_commands",
        "Openings for which nothing was run because too much was running",
        counters.without_commands,
    )?;
    page.counter(
        "knockd_log_lines_left_out",
        "Log lines that were left out",
        counters.lines_left_out,
    )?;
    let doors = status.doors.iter();
    page.counters(
        "knockd_door_openings",
        "Grants that a door has given, by whatever it was opened",
        doors.map(|door| (("door", door.name.as_str()), door.openings)),
    )?;
    let by = |label, counts| words(label, counts);
    page.counters(
        "knockd_events",
        "Events, by their kind",
        by("kind", &counters.events),
    )?;
    page.counters(
        "knockd_refusals",
        "Refusals, by their reason",
        by("reason", &counters.refusals),
    )?;
    page.counters(
        "knockd_closings",
        "Grants that have ended, by the reason",
        by("reason", &counters.closings),
    )?;
    page.gauge("knockd_grants", "What is open", status.grants.total)
}

/// Only where a door is native.
fn gate(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let Some(gate) = &status.gate else {
        return Ok(());
    };
    let is_up = gate.state == GateState::Up && gate.trouble.is_none();
    page.gauge(
        "knockd_gate_up",
        "Whether the gate stands and is as it should be, as the kernel has it",
        is_up.into(),
    )?;
    page.gauge(
        "knockd_gate_elements",
        "Elements of the gate's sets of grants, one for each source and service",
        gate.elements.total,
    )?;
    page.counter(
        "knockd_gate_admitted_packets",
        "Packets of new connections that a grant has let through, since the gate was put up",
        gate.admitted,
    )?;
    page.counter(
        "knockd_gate_dropped_packets",
        "Packets that were dropped for want of a grant, since the gate was put up",
        gate.dropped,
    )
}

/// Counts by a word of ours.
fn words<'a>(
    label: &'static str,
    counts: &'a std::collections::BTreeMap<String, u64>,
) -> impl Iterator<Item = (Label<'a>, u64)> {
    counts
        .iter()
        .map(move |(word, count)| ((label, word.as_str()), *count))
}

/// What is written to.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.describe(name, help, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.describe(name, help, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Label<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Counter)?;
        for (label, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&[label])?)?;
        }
        Ok(())
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Label<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.describe(name, help, MetricType::Gauge)?;
        for (label, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&[label])?)?;
        }
        Ok(())
    }

    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

#[cfg(test)]
mod tests;
