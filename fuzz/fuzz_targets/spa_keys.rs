//! Any bytes are a file of keys and a revocation list, with every mistake inside the text.
#![no_main]

use knock_spa::keys::{KeyRing, Mistake, Revoked, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let within = |mistakes: &[Mistake]| {
        assert!(mistakes.len() <= Mistake::MAX);
        for Mistake {
            span,
            line,
            column,
            problem,
        } in mistakes
        {
            assert!(
                span.start <= span.end && span.end <= data.len(),
                "{span:?}: {problem}"
            );
            assert!(*line >= 1 && *column >= 1);
        }
    };
    let read = read(data, 0, &|civil| Some(civil.utc()));
    within(&read.mistakes);
    let address = [10, 0, 0, 1].into();
    for key in &read.keys {
        let _ = key.options.from.as_ref().map(|from| from.allows(address));
    }
    let count = read.keys.len();
    match Revoked::read(data) {
        Ok(revoked) => assert_eq!(KeyRing::new(read.keys, revoked).len(), count),
        Err(mistakes) => within(&mistakes),
    }
});
