//! Any memory of a receive ring is walked to an end, and no packet is larger than its frame.
#![no_main]

use std::sync::atomic::AtomicU32;

use knock_sys::Frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((size, memory)) = data.split_first() else {
        return;
    };
    let anywhere = size & 0x80 != 0;
    let size = 16 * usize::from(size % 32);
    let words = memory
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_ne_bytes(*word));
    let memory: Vec<AtomicU32> = words.map(AtomicU32::new).collect();
    let mut frames = if anywhere {
        Frames::anywhere(size)
    } else {
        Frames::new(size)
    };
    let mut packets = 0;
    while let Some(frame) = frames.poll(&memory) {
        assert!(frame.bytes.len() <= size);
        packets += 1;
        assert!(packets <= memory.len());
    }
});
