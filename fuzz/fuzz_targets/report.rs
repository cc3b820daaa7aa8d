//! Any bytes are a report or are refused, and the bytes of a report are its only ones.
#![no_main]

use knockd::listen::Report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(report) = Report::decode(data) {
        assert_eq!(report.encode(), data);
    }
});
