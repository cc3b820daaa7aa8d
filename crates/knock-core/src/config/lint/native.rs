//! Doors that the kernel opens: ports that are opened and knocked at, and networks that are wide.

use alloc::collections::BTreeSet;
use alloc::format;

use super::super::guard::Guards;
use super::super::keys::Key;
use super::super::report::Report;
use super::Linted;
use crate::sequence::Protocol;

/// An IPv4 prefix shorter than this is more than 65,536 addresses.
const NARROW_V4: u8 = 16;
/// An IPv6 prefix shorter than this is more than a site gets (RFC 6177, 2).
const NARROW_V6: u8 = 48;

pub(super) fn lint(doors: &[Linted<'_>], report: &mut Report) {
    let guards = Guards::of(doors.iter().map(|linted| linted.door));
    for linted in doors {
        steps(linted, &guards, report);
        width(linted, report);
    }
}

/// The daemon sees packets before the gate does, so a step that is guarded can still be knocked.
/// But once the port is open for somebody, whatever they send there is a knock too, and it answers.
fn steps(linted: &Linted<'_>, guards: &Guards<'_>, report: &mut Report) {
    let steps = linted.sequence().map_or(&[][..], |s| s.steps());
    let mut told = BTreeSet::new();
    for step in steps {
        let Some(opener) = guards.opener(step.protocol, step.port) else {
            continue;
        };
        if !told.insert((step.protocol, step.port)) {
            continue;
        }
        let (protocol, port) = (step.protocol, step.port);
        let help = match protocol {
            Protocol::Tcp if linted.door.trigger.flags.is_any() => {
                "the segments of its connections end attempts; add `tcpflags = syn`, or take another"
            }
            Protocol::Tcp => "who is let in and connects to it knocks",
            Protocol::Udp => "who is let in knocks with each packet",
        };
        report.warn(
            linted.span(Key::Sequence),
            format!(
                "the door `{}` opens {protocol}/{port}, which is knocked at here",
                opener.name
            ),
            "ports that no door opens",
            help,
        );
    }
}

fn width(linted: &Linted<'_>, report: &mut Report) {
    let Some(native) = &linted.door.action.native else {
        return;
    };
    let (v4, v6) = (native.open_to.v4, native.open_to.v6);
    let narrow = match (v4 < NARROW_V4, v6 < NARROW_V6) {
        (false, false) => return,
        (true, true) => "/24 and /64",
        (true, false) => "/24",
        (false, true) => "/64",
    };
    let message = if v4 < NARROW_V4 {
        let addresses = 1_u64 << (32 - u32::from(v4));
        let addresses = super::scan::Grouped(addresses);
        format!("one knock opens the door for {addresses} addresses")
    } else {
        format!("one knock opens the door for networks of whole providers (/{v6})")
    };
    report.warn(
        linted.span(Key::OpenTo),
        message,
        format!("a network that is known, such as {narrow}"),
        "without `open_to` it opens for who knocked alone",
    );
}
