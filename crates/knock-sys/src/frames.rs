//! Walking a ring of `TPACKET_V2` frames (`Documentation/networking/packet_mmap.rst`).
//!
//! A frame is a `struct tpacket2_hdr`, at byte 32 a `struct sockaddr_ll`, and somewhere behind
//! them the packet. Its first word says whose it is. The packet is copied out before the frame
//! goes back, so nothing that is lent can change, and what the header says is believed only
//! within the frame.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fetch::fetch;

/// `PACKET_OUTGOING`: the [`Frame::packet_type`] of what this host sends.
pub const PACKET_OUTGOING: u8 = 4;

/// `TP_STATUS_KERNEL`: the kernel may fill the frame.
const OF_KERNEL: u32 = 0;
/// `TP_STATUS_USER`, a bit: the frame is ours.
const OF_USER: u32 = 1;

/// How many words come into a cache at once.
const WORDS_A_LINE: usize = 16;

/// Bytes of a frame before which no packet can begin (`TPACKET2_HDRLEN`).
const HEADERS: usize = 32 + 20;

/// A packet as the kernel saw it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The index of the interface.
    pub interface: u32,
    /// The ether type, in host byte order; below 1,536 it is one of the kernel's own.
    pub ether_type: u16,
    /// `PACKET_HOST` (0), `PACKET_BROADCAST` (1), …, [`PACKET_OUTGOING`].
    pub packet_type: u8,
    /// When it was received: nanoseconds since 1970 by the system's clock (`CLOCK_REALTIME`).
    pub realtime_nanos: u64,
    /// How long the packet was.
    pub length: u32,
    /// The packet, from its network header on, as much of it as fits a frame.
    pub bytes: &'a [u8],
}

/// A walk over a ring, one frame after the other, around and around.
#[derive(Debug)]
pub struct Frames {
    words_a_frame: usize,
    /// The number of the frame that the kernel fills or has filled next; `None` while it is not
    /// known, in a ring that somebody else has read before.
    next: Option<usize>,
    packet: Box<[u8]>,
    malformed: u64,
}

impl Frames {
    /// A walk from the first frame of a ring whose frames have `frame_size` bytes each, a
    /// multiple of 16.
    #[must_use]
    pub fn new(frame_size: usize) -> Self {
        Self {
            words_a_frame: (frame_size / 4).max(1),
            next: Some(0),
            packet: vec![0; frame_size].into(),
            malformed: 0,
        }
    }

    /// A walk that begins wherever the oldest packet is: over a ring that somebody else may have
    /// read before, and left at any frame.
    #[must_use]
    pub fn anywhere(frame_size: usize) -> Self {
        Self {
            next: None,
            ..Self::new(frame_size)
        }
    }

    /// The next packet in `ring`, if the kernel has filled a frame. Ask again until there is
    /// none, then wait for the socket to be readable; asking too often is harmless.
    #[must_use]
    pub fn poll<'a>(&'a mut self, ring: &[AtomicU32]) -> Option<Frame<'a>> {
        let (header, span) = loop {
            let next = match self.next {
                Some(next) => next,
                None => oldest(ring, self.words_a_frame)?,
            };
            let frame = ring.chunks_exact(self.words_a_frame).nth(next)?;
            let status = frame.first()?;
            if status.load(Ordering::Acquire) & OF_USER == 0 {
                return None;
            }
            let read = copy(frame, &mut self.packet);
            status.store(OF_KERNEL, Ordering::Release);
            let is_last = (next + 2) * self.words_a_frame > ring.len();
            self.next = Some(if is_last { 0 } else { next + 1 });
            match read {
                Some(read) => break read,
                None => self.malformed += 1,
            }
        };
        Some(Frame {
            bytes: self.packet.get(span)?,
            ..header
        })
    }

    /// Has the processor fetch, without waiting for it, what [`Frames::poll`] will read of the frame
    /// that comes after `before` others: memory that another processor has written, which it takes as
    /// long to get as to do much of what is done with a packet. Whether there is a packet yet does not
    /// matter.
    pub fn fetch(&self, ring: &[AtomicU32], before: usize) {
        let frames = ring.len().checked_div(self.words_a_frame).unwrap_or(0);
        let Some(next) = self.next.and_then(|next| next.checked_add(before)) else {
            return;
        };
        let at = if next < frames {
            next
        } else {
            next.wrapping_sub(frames)
        };
        let first = at.saturating_mul(self.words_a_frame);
        for line in [0, 1, 2] {
            if let Some(word) = ring.get(first.saturating_add(line * WORDS_A_LINE)) {
                fetch(word);
            }
        }
    }

    /// How many frames had a header that cannot be, and were skipped.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

/// Which frame has the oldest packet; `None` if there is none.
///
/// The kernel fills one frame after the other, so those that are filled follow each other around
/// the ring. The oldest one is behind a frame that is not filled; or, if all are, behind the
/// latest one. While this looks, the kernel may fill more, so it goes back from what it has found
/// as far as there is something.
fn oldest(ring: &[AtomicU32], words_a_frame: usize) -> Option<usize> {
    let frames = ring.chunks_exact(words_a_frame);
    let count = frames.len();
    let is_filled = |at: usize| {
        let status = frames.clone().nth(at).and_then(<[_]>::first);
        status.is_some_and(|status| status.load(Ordering::Acquire) & OF_USER != 0)
    };
    let before = |at: usize| at.checked_sub(1).unwrap_or(count.saturating_sub(1));
    let Some(mut at) = (0..count).find(|at| is_filled(*at) && !is_filled(before(*at))) else {
        let time = |at: &usize| frames.clone().nth(*at).map(stamp);
        return (0..count).filter(|at| is_filled(*at)).min_by_key(time);
    };
    for _ in 1..count {
        if !is_filled(before(at)) {
            break;
        }
        at = before(at);
    }
    Some(at)
}

/// The time stamp of a frame.
fn stamp(frame: &[AtomicU32]) -> (u32, u32) {
    let word = |at: usize| {
        let word = frame.get(at);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    };
    (word(4), word(5))
}

/// Copies the packet out of `frame`: what is said of it, and where in `packet` it stands.
fn copy(frame: &[AtomicU32], packet: &mut [u8]) -> Option<(Frame<'static>, Range<usize>)> {
    let header = frame.first_chunk::<11>()?;
    let header = header.each_ref().map(|word| word.load(Ordering::Relaxed));
    let [
        _,
        length,
        captured,
        offsets,
        seconds,
        nanos,
        _,
        _,
        protocol,
        interface,
        kinds,
    ] = header;
    let [_, _, n0, n1] = offsets.to_ne_bytes();
    let start = usize::from(u16::from_ne_bytes([n0, n1]));
    let captured = usize::try_from(captured).ok()?;
    let end = start.checked_add(captured)?;
    if start < HEADERS {
        return None;
    }
    let words = frame.get(start / 4..end.div_ceil(4))?;
    let (chunks, _) = packet.as_chunks_mut::<4>();
    for (word, chunk) in words.iter().zip(chunks) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    let [_, _, p0, p1] = protocol.to_ne_bytes();
    let [_, _, packet_type, _] = kinds.to_ne_bytes();
    let said = Frame {
        interface,
        ether_type: u16::from_be_bytes([p0, p1]),
        packet_type,
        realtime_nanos: u64::from(seconds) * 1_000_000_000 + u64::from(nanos),
        length,
        bytes: &[],
    };
    let skipped = start % 4;
    Some((said, skipped..skipped + captured))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 256;

    /// Memory like a ring's, written as the kernel does.
    struct Memory(Vec<AtomicU32>);

    impl Memory {
        fn new(frames: usize) -> Self {
            Self((0..frames * SIZE / 4).map(|_| AtomicU32::new(0)).collect())
        }

        fn word(&self, frame: usize, word: usize) -> &AtomicU32 {
            &self.0[frame * SIZE / 4 + word]
        }

        /// Fills a frame with `packet` at byte `start`.
        fn fill(&self, frame: usize, start: u16, packet: &[u8]) {
            let mut bytes = [0_u8; SIZE];
            let length = u32::try_from(packet.len()).unwrap();
            bytes[4..8].copy_from_slice(&(length + 1000).to_ne_bytes());
            bytes[8..12].copy_from_slice(&length.to_ne_bytes());
            bytes[14..16].copy_from_slice(&start.to_ne_bytes());
            bytes[16..20].copy_from_slice(&3_u32.to_ne_bytes());
            bytes[20..24].copy_from_slice(&7_u32.to_ne_bytes());
            bytes[34..36].copy_from_slice(&[0x86, 0xdd]);
            bytes[36..40].copy_from_slice(&42_u32.to_ne_bytes());
            bytes[42] = PACKET_OUTGOING;
            let start = usize::from(start);
            bytes[start..start + packet.len()].copy_from_slice(packet);
            for (i, chunk) in bytes.chunks_exact(4).enumerate().skip(1) {
                let value = u32::from_ne_bytes(chunk.try_into().unwrap());
                self.word(frame, i).store(value, Ordering::Relaxed);
            }
            self.word(frame, 0).store(OF_USER, Ordering::Release);
        }

        fn is_given_back(&self, frame: usize) -> bool {
            self.word(frame, 0).load(Ordering::Relaxed) == OF_KERNEL
        }
    }

    #[test]
    fn a_frame_is_read_as_the_kernel_wrote_it_and_goes_back() {
        let memory = Memory::new(2);
        let mut frames = Frames::new(SIZE);
        assert_eq!(frames.poll(&memory.0), None);
        memory.fill(0, 80, b"knock");
        let expected = Frame {
            interface: 42,
            ether_type: 0x86dd,
            packet_type: PACKET_OUTGOING,
            realtime_nanos: 3_000_000_007,
            length: 1005,
            bytes: b"knock",
        };
        assert_eq!(frames.poll(&memory.0), Some(expected));
        assert!(memory.is_given_back(0));
        assert_eq!(frames.poll(&memory.0), None);
    }

    #[test]
    fn frames_come_in_their_order_around_and_around() {
        let memory = Memory::new(3);
        let mut frames = Frames::new(SIZE);
        for round in 0..10_u8 {
            let at = usize::from(round) % 3;
            memory.fill(at, 80 + u16::from(round), &[round; 90]);
            assert_eq!(frames.poll(&memory.0).unwrap().bytes, [round; 90]);
        }
        assert_eq!(frames.malformed(), 0);
    }

    /// What is left in a ring of four frames, of which these are filled, in this order.
    fn found_anywhere(filled: &[usize]) -> Vec<u8> {
        let memory = Memory::new(4);
        for (n, frame) in (1_u8..).zip(filled) {
            memory.fill(*frame, 80, &[n; 8]);
            memory.word(*frame, 5).store(n.into(), Ordering::Relaxed);
        }
        let mut frames = Frames::anywhere(SIZE);
        let mut found = Vec::new();
        while let Some(frame) = frames.poll(&memory.0) {
            found.push(frame.bytes[0]);
        }
        assert!((0..4).all(|frame| memory.is_given_back(frame)));
        found
    }

    #[test]
    fn a_walk_begins_at_the_oldest_packet_wherever_another_one_has_ended() {
        assert_eq!(found_anywhere(&[]), []);
        assert_eq!(found_anywhere(&[2]), [1]);
        assert_eq!(found_anywhere(&[1, 2]), [1, 2]);
        assert_eq!(found_anywhere(&[3, 0, 1]), [1, 2, 3]);
        assert_eq!(found_anywhere(&[0, 1, 2, 3]), [1, 2, 3, 4]);
        assert_eq!(found_anywhere(&[2, 3, 0, 1]), [1, 2, 3, 4]);
    }

    #[test]
    fn a_walk_that_found_nothing_begins_where_the_first_packet_comes() {
        let memory = Memory::new(4);
        let mut frames = Frames::anywhere(SIZE);
        assert_eq!(frames.poll(&memory.0), None);
        memory.fill(2, 80, b"knock");
        assert_eq!(frames.poll(&memory.0).unwrap().bytes, b"knock");
        memory.fill(3, 80, b"again");
        memory.fill(0, 80, b"there");
        assert_eq!(frames.poll(&memory.0).unwrap().bytes, b"again");
        assert_eq!(frames.poll(&memory.0).unwrap().bytes, b"there");
        assert_eq!(frames.poll(&memory.0), None);
    }

    #[test]
    fn a_packet_may_fill_its_frame_to_the_last_byte() {
        let memory = Memory::new(1);
        memory.fill(0, 83, &[7; SIZE - 83]);
        let mut frames = Frames::new(SIZE);
        assert_eq!(frames.poll(&memory.0).unwrap().bytes, [7; SIZE - 83]);
    }

    #[test]
    fn a_header_that_cannot_be_is_skipped_and_its_frame_goes_back() {
        let memory = Memory::new(4);
        for frame in 0..4 {
            memory.fill(frame, 80, b"knock");
        }
        let captured = |frame| memory.word(frame, 2);
        captured(0).store(u32::MAX, Ordering::Relaxed);
        captured(1).store(177, Ordering::Relaxed);
        let [n0, n1] = 51_u16.to_ne_bytes();
        let before_the_headers = u32::from_ne_bytes([0, 0, n0, n1]);
        memory
            .word(2, 3)
            .store(before_the_headers, Ordering::Relaxed);
        let mut frames = Frames::new(SIZE);
        assert_eq!(frames.poll(&memory.0).unwrap().bytes, b"knock");
        assert_eq!(frames.malformed(), 3);
        assert!((0..4).all(|frame| memory.is_given_back(frame)));
        assert_eq!(frames.poll(&memory.0), None);
    }

    #[test]
    fn a_ring_without_memory_has_no_frame() {
        assert_eq!(Frames::new(SIZE).poll(&[]), None);
        assert_eq!(Frames::new(0).poll(&[AtomicU32::new(1)]), None);
    }

    #[cfg(not(miri))]
    proptest::proptest! {
        #[test]
        fn any_memory_is_walked_to_an_end(
            words in proptest::collection::vec(proptest::arbitrary::any::<u32>(), 0..400),
            size in 0_usize..300,
            anywhere in proptest::arbitrary::any::<bool>(),
        ) {
            let memory: Vec<AtomicU32> = words.into_iter().map(AtomicU32::new).collect();
            let mut frames = if anywhere { Frames::anywhere(size) } else { Frames::new(size) };
            let mut packets = 0;
            while let Some(frame) = frames.poll(&memory) {
                assert!(frame.bytes.len() <= size);
                packets += 1;
                assert!(packets <= memory.len());
            }
        }
    }
}
