//! What port scans do to each door, as a table.

use knock_core::config::Config;
use knock_core::config::scan::{Exposure, Grouped, exposures};
use knock_core::door::{Door, SequenceSource};

/// The sequence comes last, as it can be long.
const HEADER: [&str; 6] = [
    "door",
    "strict",
    "ascending",
    "descending",
    "random order",
    "sequence",
];

/// A header and a line for each door.
pub(super) fn table(config: &Config) -> String {
    let rows = config.doors.iter().zip(exposures(config));
    let rows = rows.map(|(door, exposure)| row(door, exposure));
    let rows: Vec<_> = [HEADER.map(String::from)].into_iter().chain(rows).collect();
    let widths = rows.iter().fold([0; 6], |mut widths, row| {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
        widths
    });
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(door: &Door, exposure: Option<Exposure>) -> [String; 6] {
    let opens = |speed: Option<u64>| match speed {
        None => "no".to_owned(),
        Some(0) => "opens".to_owned(),
        Some(speed) => format!("opens from {}/s", Grouped(speed)),
    };
    let cell = |text: &dyn Fn(Exposure) -> String| exposure.map_or_else(|| "-".to_owned(), text);
    [
        // A section's name may hold any bytes.
        door.name.escape_debug().to_string(),
        if door.trigger.strict { "yes" } else { "no" }.to_owned(),
        cell(&|exposure| opens(exposure.ascending)),
        cell(&|exposure| opens(exposure.descending)),
        cell(&|exposure| exposure.random.to_string()),
        match &door.trigger.source {
            SequenceSource::Fixed(sequence) => sequence.to_string(),
            SequenceSource::OneTime(path) => format!("one-time: {}", path.escape_debug()),
            SequenceSource::None => "none".to_owned(),
        },
    ]
}
