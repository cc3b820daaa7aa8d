//! Any bytes are converted or refused; what comes out is a configuration, and converting it again
//! changes nothing.
#![no_main]

use knock_core::config::parse;
use knock_core::sequence::Protocol;
use knockd::ctl::convert::{Format, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let services = |name: &str, protocol| match (name, protocol) {
        ("ssh", Protocol::Tcp) => Some(22),
        ("domain", _) => Some(53),
        _ => None,
    };
    let named = Format::ALL.map(Some);
    for format in named.into_iter().chain([None]) {
        let Ok((_, once)) = convert(data, format, &services) else {
            continue;
        };
        assert!(parse(&once.text, &services).config.is_some());
        let lines = data.split(|byte| *byte == b'\n').count();
        assert!(once.notes.iter().all(|note| note.line <= lines));
        if let Ok((_, twice)) = convert(&once.text, Some(Format::Knockd), &services) {
            assert_eq!(once.text, twice.text);
        }
    }
});
