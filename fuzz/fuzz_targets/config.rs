//! Any bytes are a configuration or have an error, every place lies within them and between
//! characters, and every mistake can be shown.
#![no_main]

use std::ops::Range;
use std::path::Path;

use knock_core::config::{Severity, parse};
use knock_core::sequence::Protocol;
use knockd::diagnostics::{one_line, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let services = |name: &str, protocol| match (name, protocol) {
        ("ssh", Protocol::Tcp) => Some(22),
        ("domain", _) => Some(53),
        _ => None,
    };
    let parsed = parse(data, &services);
    let text = std::str::from_utf8(data).ok();
    let within = |span: &Range<usize>| {
        assert!(span.start <= span.end && span.end <= data.len(), "{span:?}");
        let parts = text.is_none_or(|text| text.get(span.clone()).is_some());
        assert!(parts, "{span:?} cuts a character");
    };
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error);
    assert_eq!(parsed.config.is_none(), errors.count() > 0);
    parsed
        .diagnostics
        .iter()
        .for_each(|diagnostic| within(&diagnostic.span));
    let in_doors = parsed.places.doors.iter().flat_map(|door| &door.keys);
    for place in parsed.places.options.iter().chain(in_doors) {
        within(&place.line);
        within(&place.value);
    }
    if let Some(config) = &parsed.config {
        assert_eq!(config.doors.len(), parsed.places.doors.len());
    }

    let path = Path::new("knockd.conf");
    if let Some(first) = parsed.diagnostics.first() {
        let line = one_line(path, data, first);
        assert!(
            !line.contains(|c: char| c.is_control() && c != '\t'),
            "{line:?}"
        );
        let shown = render(path, data, &parsed.diagnostics, false);
        assert!(
            !shown.contains(|c: char| c.is_control() && !['\t', '\n'].contains(&c)),
            "{shown:?}"
        );
    }
});
