//! Doors that a sealed packet opens: times that contradict each other, and ports that are knocked
//! at too.

use alloc::format;
use core::time::Duration;

use super::super::keys::Key;
use super::super::report::Report;
use super::Linted;
use crate::sequence::{Protocol, Step};
use crate::time::InUnits;

/// `ports`: where sealed packets arrive, if any do.
pub(super) fn lint(doors: &[Linted<'_>], ports: &[u16], report: &mut Report) {
    for linted in doors {
        steps(linted, ports, report);
        times(linted, report);
    }
}

/// A sealed packet to a port of a sequence is a knock too.
fn steps(linted: &Linted<'_>, ports: &[u16], report: &mut Report) {
    let sealed = |step: &&Step| step.protocol == Protocol::Udp && ports.contains(&step.port);
    let steps = linted.sequence().map_or(&[][..], |s| s.steps());
    if let Some(step) = steps.iter().find(sealed) {
        report.warn(
            linted.span(Key::Sequence),
            format!(
                "sealed packets arrive at {}, which is knocked at here",
                step.port
            ),
            "ports that are not those of `spa_port`",
            "each sealed packet is a knock there as well",
        );
    }
}

/// Who asks for nothing would get more than who asks for the most.
fn times(linted: &Linted<'_>, report: &mut Report) {
    let action = &linted.door.action;
    let Some(most) = linted.door.spa.as_ref().and_then(|spa| spa.ttl_max) else {
        return;
    };
    let stops = [&action.v4, &action.v6].into_iter().flatten();
    let mut stops = stops.filter(|commands| commands.stop.is_some());
    let open_for = action.native.as_ref().map(|native| native.open_for);
    let cmd_timeout = stops.next().map(|_| action.cmd_timeout);
    let usual: [(&str, Option<Duration>); 2] =
        [("open_for", open_for), ("cmd_timeout", cmd_timeout)];
    let longer = |(name, time): (_, Option<Duration>)| Some((name, time.filter(|t| *t > most)?));
    if let Some((name, time)) = usual.into_iter().find_map(longer) {
        report.warn(
            linted.span(Key::TtlMax),
            format!("this is less than `{name}`, for which the door is open unless asked"),
            format!("at least {}", InUnits(time)),
            "it is the longest time that may be asked for",
        );
    }
}
