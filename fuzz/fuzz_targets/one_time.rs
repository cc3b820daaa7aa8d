//! Any file of one-time sequences is struck to its end: every strike makes the next line current,
//! no spent line comes back, and bad lines stay what they were.
#![no_main]

use knock_core::one_time::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let before = parse(data);
    for bad in &before.bad {
        assert!(bad.span.start <= bad.span.end && bad.span.end <= data.len());
    }
    let mut file = data.to_vec();
    let mut last = 0;
    let mut left = before.left;
    while let Some(line) = parse(&file).current {
        assert!(line.number > last);
        assert_ne!(file[line.offset], b'#');
        last = line.number;
        left -= 1;
        file[line.offset] = b'#';
        let after = parse(&file);
        assert_eq!(after.left, left);
        assert_eq!(after.bad, before.bad);
    }
    assert_eq!(left, 0);
});
