//! Any bytes are a configuration or have an error, every place lies within them and between
//! characters, and every mistake can be shown.
#![no_main]

use std::ops::Range;
use std::path::Path;

use knock_core::config::{Severity, lint, parse};
use knock_core::door::{Door, Native};
use knock_core::sequence::Protocol;
use knockd::diagnostics::{one_line, render};
use libfuzzer_sys::fuzz_target;

/// What the kernel is asked to open is bounded, whatever was written.
fn opens_what_it_may(door: &Door) {
    let Some(native) = &door.action.native else {
        return;
    };
    let ports = native.open.iter().filter_map(|service| service.ports());
    let count: usize = ports.map(|(_, ports)| ports.count()).sum();
    assert!(count <= Native::MAX_PORTS && !native.open.is_empty());
    assert!((Native::MIN_TIME..=Native::MAX_TIME).contains(&native.open_for));
    assert!((1..=32).contains(&native.open_to.v4) && (1..=128).contains(&native.open_to.v6));
}

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
        config.doors.iter().for_each(opens_what_it_may);
        lint(config, &parsed.places)
            .iter()
            .for_each(|diagnostic| within(&diagnostic.span));
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
