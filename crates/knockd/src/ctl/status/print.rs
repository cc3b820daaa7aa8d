//! The status for a person, in at most 80 columns where names and addresses are not longer than those.

use std::time::Duration;

use knock_core::time::InUnits;

use crate::control::{
    Attempt, Counters, Door, Gate, GateState, GrantState, Granted, LayerState, LogLevel, Status,
};
use crate::events::Grant;
use crate::log::escaped;

/// Columns.
const WIDTH: usize = 80;

/// Of very many things that are guarded only the first are shown.
const MOST: usize = 32;

pub(super) fn text(status: &Status) -> String {
    let mut out = head(status);
    processes(&mut out, status);
    out.push_str("\ninterfaces\n");
    for interface in &status.interfaces {
        let addresses: Vec<_> = interface
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let state = if interface.up { "up" } else { "not up" };
        let lead = format!("  {}  {state}  ", interface.name);
        wrap(&mut out, &lead, ", ", &addresses);
    }
    out.push_str("\ndoors\n");
    let rows: Vec<_> = status.doors.iter().map(door).collect();
    table(&mut out, &rows);
    let attempts = &status.attempts;
    out.push_str(&format!("\nattempts: {}\n", attempts.total));
    let rows: Vec<_> = attempts.shown.iter().map(attempt).collect();
    table(&mut out, &rows);
    more(&mut out, attempts.total, attempts.shown.len());
    let grants = &status.grants;
    out.push_str(&format!("\ngrants: {}\n", grants.total));
    let rows: Vec<_> = grants.shown.iter().map(grant).collect();
    table(&mut out, &rows);
    more(&mut out, grants.total, grants.shown.len());
    if let Some(told) = &status.gate {
        gate(&mut out, told);
    }
    counters(&mut out, &status.counters);
    out
}

fn head(status: &Status) -> String {
    let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let since = status.started.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S");
    let up = Duration::try_from(status.now.duration_since(status.started)).unwrap_or_default();
    let up = InUnits(Duration::from_secs(up.as_secs()));
    let level = match status.log_level {
        LogLevel::Debug => ", log level debug",
        LogLevel::Info => "",
    };
    let shadow = if status.shadow {
        "shadow: it acts on nothing, and logs what it would open\n"
    } else {
        ""
    };
    format!(
        "knockd {} runs since {since} ({up}){level}\n{shadow}configuration {}\nrun {}, {} events\n",
        status.program,
        status.config.display(),
        status.run.as_str(),
        status.last_event
    )
}

fn processes(out: &mut String, status: &Status) {
    let keeper = &status.keeper;
    out.push_str("\nprocesses\n");
    let lead = format!("  keeper {}, uid {}: ", keeper.pid, keeper.uid);
    if keeper.capabilities.is_empty() {
        out.push_str(&format!("{lead}no capabilities\n"));
    } else {
        wrap(out, &lead, " ", &keeper.capabilities);
    }
    if keeper.commands_running + keeper.commands_waiting > 0 {
        out.push_str(&format!(
            "    {} commands run, {} wait\n",
            keeper.commands_running, keeper.commands_waiting
        ));
    }
    let Some(listener) = &status.listener else {
        out.push_str("  listener: none runs; another one is started\n");
        return;
    };
    let layer = |layer: &crate::control::Layer| match layer.state {
        LayerState::On => layer.name.clone(),
        LayerState::Partly(version) => format!("{} (version {version})", layer.name),
        LayerState::Missing => format!("no {}", layer.name),
    };
    let layers: Vec<_> = listener.layers.iter().map(layer).collect();
    let lead = format!("  listener {}, held by: ", listener.pid);
    if layers.is_empty() {
        out.push_str(&format!("{lead}nothing (sandbox = off)\n"));
    } else {
        wrap(out, &lead, ", ", &layers);
    }
}

fn door(door: &Door) -> Vec<String> {
    let mut ways = Vec::new();
    match (door.steps, door.one_time) {
        (_, Some(one_time)) if !one_time.open => ways.push("no sequence left".to_owned()),
        (0, _) => {}
        (1, _) => ways.push("1 knock".to_owned()),
        (steps, _) => ways.push(format!("{steps} knocks")),
    }
    if door.sealed {
        ways.push("sealed packets".to_owned());
    }
    let mut does = Vec::new();
    if let Some(time) = door.open_for_ms {
        does.push(format!(
            "opens {} for {}",
            door.open.join(", "),
            units(time)
        ));
    }
    match (door.commands, door.cmd_timeout_ms) {
        (true, Some(time)) => does.push(format!("commands, {} apart", units(time))),
        (true, None) => does.push("a command".to_owned()),
        (false, _) => {}
    }
    does.extend(door.closes.iter().map(|other| format!("closes {other}")));
    vec![door.name.clone(), ways.join(", "), does.join("; ")]
}

fn attempt(attempt: &Attempt) -> Vec<String> {
    vec![
        attempt.source.to_string(),
        attempt.door.clone(),
        format!("{} of {}", attempt.stage, attempt.steps),
        format!("{} left", units(attempt.left_ms)),
    ]
}

fn grant(grant: &Granted) -> Vec<String> {
    let what = match grant.grant {
        Grant::Gate => grant.services.join(", "),
        Grant::Commands(_) => "by commands".to_owned(),
    };
    let state = match (grant.state, grant.left_ms) {
        (GrantState::Opening, _) => "start command runs".to_owned(),
        (GrantState::Closing, _) => "stop command runs".to_owned(),
        (GrantState::Open, Some(left)) => format!("{} left", units(left)),
        (GrantState::Open, None) => "open".to_owned(),
    };
    let who = grant.who.as_ref().map(ToString::to_string);
    vec![
        grant.to.clone(),
        grant.door.clone(),
        what,
        state,
        who.unwrap_or_default(),
    ]
}

fn gate(out: &mut String, gate: &Gate) {
    let state = match gate.state {
        GateState::Up => "up",
        GateState::Down => "down (knockctl gate down): nothing is guarded",
        GateState::Absent => "NOT THERE: nothing is guarded",
        GateState::Unreadable => "unknown: the kernel cannot be asked",
    };
    out.push_str(&format!("\ngate, as the kernel has it: {state}\n"));
    if let Some(trouble) = &gate.trouble {
        out.push_str(&format!("  error: {trouble}\n"));
    }
    if gate.state != GateState::Up {
        return;
    }
    let first = gate.guarded.iter().take(MOST);
    let guarded = first.map(|guarded| match guarded.left_ms {
        None => guarded.what.clone(),
        Some(left) => format!("{} (on trial, {} left)", guarded.what, units(left)),
    });
    let mut guarded: Vec<_> = guarded.collect();
    if gate.guarded.len() > MOST {
        guarded.push(format!("and {} more", gate.guarded.len() - MOST));
    }
    wrap(out, "  guarded ", ", ", &guarded);
    out.push_str(&format!(
        "  {} ways open; {} connections let through, {} packets dropped\n",
        gate.elements.total, gate.admitted, gate.dropped
    ));
}

fn counters(out: &mut String, of: &Counters) {
    out.push_str("\ncounters\n");
    let words = [
        (of.packets, "packets"),
        (of.not_knocks, "no knocks"),
        (of.kernel_drops, "dropped by the kernel"),
        (of.knocks, "knocks"),
        (of.wrong, "wrong"),
        (of.timeouts, "too late"),
        (of.openings, "openings"),
        (of.openings_lost, "openings lost"),
        (of.without_commands, "without commands"),
        (of.evictions, "attempts given up"),
        (of.lines_left_out, "log lines left out"),
    ];
    let words = words.map(|(count, what)| format!("{count} {what}"));
    wrap(out, "  ", ", ", &words);
    let sealed = [
        (of.sealed_opened, "opened"),
        (of.sealed_junk, "junk"),
        (of.sealed_limited, "over a limit"),
        (of.sealed_broken, "broken"),
    ];
    if sealed.iter().any(|(count, _)| *count > 0) {
        let words = sealed.map(|(count, what)| format!("{count} {what}"));
        wrap(out, "  sealed packets: ", ", ", &words);
    }
    for (what, counts) in [("refused", &of.refusals), ("closed", &of.closings)] {
        if !counts.is_empty() {
            let words = counts.iter().map(|(why, count)| format!("{count} {why}"));
            wrap(
                out,
                &format!("  {what}: "),
                ", ",
                &words.collect::<Vec<_>>(),
            );
        }
    }
}

/// Rows whose columns stand below each other; the last is as wide as it is. Whoever writes a key's
/// comment does not get hold of the terminal with it.
fn table(out: &mut String, rows: &[Vec<String>]) {
    let row = |row: &Vec<String>| row.iter().map(|cell| escaped(cell)).collect();
    let rows: Vec<Vec<_>> = rows.iter().map(row).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            line.push_str(&format!("  {cell:<width$}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// `lead` and the words, on as many lines as it takes.
fn wrap(out: &mut String, lead: &str, between: &str, words: &[String]) {
    let mut line = lead.to_owned();
    let mut is_first = true;
    for (i, word) in words.iter().enumerate() {
        let is_last = i + 1 == words.len();
        let length = word.chars().count() + if is_last { 0 } else { between.len() };
        if !is_first && line.chars().count() + length > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = "    ".to_owned();
        }
        is_first = false;
        line.push_str(word);
        if !is_last {
            line.push_str(between);
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn more(out: &mut String, total: u64, shown: usize) {
    let more = total.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if more > 0 {
        out.push_str(&format!("  and {more} more\n"));
    }
}

/// Whole seconds, rounded up: what is there has more than no time.
fn units(millis: u64) -> InUnits {
    InUnits(Duration::from_secs(millis.div_ceil(1000)))
}

#[cfg(test)]
mod tests;
