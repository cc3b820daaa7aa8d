//! The status lines of SIGUSR1.

use super::confinement::summary;
use super::gatekeeper::Gatekeeper;
use super::sealed::Sealed;
use super::serve::Daemon;
use super::shadow;
use crate::keeper::Keeper;
use crate::listen::Counters;
use crate::log::Level;
use crate::sandbox::{Layer, State};

impl Daemon {
    /// Says in the log how the daemon is.
    pub(super) fn say_status(&mut self) {
        let counters = self.side.counters();
        let doors = self.doors.now().len();
        let layers = self.side.layers();
        if self.settings.shadow {
            let text = format!("status: {}", shadow::TEXT);
            self.scribe.note(Level::Info, "status", text);
        }
        for line in lines(
            doors,
            &self.keeper,
            &counters,
            layers,
            self.gatekeeper.as_ref(),
            self.sealed.as_ref(),
        ) {
            self.scribe.note(Level::Info, "status", line);
        }
    }
}

/// A few lines that say how the daemon is, for a person.
fn lines(
    doors: usize,
    keeper: &Keeper,
    counters: &Counters,
    layers: &[(Layer, State)],
    gatekeeper: Option<&Gatekeeper>,
    sealed: Option<&Sealed>,
) -> Vec<String> {
    let (grants, running, waiting) = keeper.counts();
    let (lines_left_out, refused) = keeper.losses();
    let left_out = counters.lines_left_out.saturating_add(lines_left_out);
    let engine = &counters.engine;
    let mut lines = vec![
        format!(
            "status: {doors} doors, {} attempts, {grants} grants, {running} commands running, \
             {waiting} waiting",
            counters.attempts
        ),
        format!(
            "status: {} packets seen, {} dropped by the kernel, {} no knocks, {} knocks, \
             {} wrong, {} too late, {} openings",
            counters.seen,
            counters.dropped,
            counters.not_knocks,
            engine.knocks,
            engine.broken,
            engine.timeouts,
            engine.openings
        ),
        format!(
            "status: {} attempts given up, {} openings lost, {refused} without commands, \
             {left_out} log lines left out",
            engine.evictions, counters.openings_lost
        ),
        format!("status: listener: {}", summary(layers)),
    ];
    lines.extend(sealed.map(|sealed| {
        let of = &counters.sealed;
        format!(
            "status: sealed packets: {} junk, {} over a limit, {} broken, {} opened; {}",
            of.junk,
            of.limited,
            of.broken,
            of.opened,
            sealed.status()
        )
    }));
    lines.extend(sealed.map(|sealed| {
        let of = &counters.sealed;
        format!(
            "status: codes on paper: {}, {} unknown, {} over a limit",
            sealed.paper.status(),
            of.codes_unknown,
            of.codes_limited
        )
    }));
    lines.extend(gatekeeper.map(|gatekeeper| format!("status: gate: {}", gatekeeper.status())));
    lines
}
