//! The keyed hash of sources.
//!
//! An IPv4 source is hashed by simple tabulation: a secret random word for each value of each of its
//! bytes, combined by exclusive or. Whatever set of sources somebody chooses who does not see the
//! words, or what comes of them, they spread over buckets as evenly as random numbers nearly do
//! (Pătraşcu and Thorup, "The Power of Simple Tabulation Hashing", Journal of the ACM 59, 2012), and
//! nobody sees them: who knocks is told nothing, by time neither. It takes a third of the instructions
//! of SipHash, which gives the words, and is what an IPv6 source is hashed by.

use alloc::boxed::Box;
use core::array::from_fn;
use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::source::Source;

/// The hash of a source.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Hash(pub(super) u64);

/// A word for each value of a byte.
type Words = [u64; 256];

pub(super) struct Hasher {
    /// For each byte of an IPv4 address.
    words: Box<[Words; 4]>,
    sip: SipHasher13,
}

impl Hasher {
    /// A hasher with a secret random `seed`.
    pub(super) fn new(seed: [u64; 2]) -> Self {
        let [k0, k1] = seed;
        let sip = SipHasher13::new_with_keys(k0, k1);
        // Three bytes, which is no length of an IPv6 source.
        let word = |byte: u8, value: u8| sip.hash(&[byte, value, 0]);
        let words = [0, 1, 2, 3].map(|byte| from_fn(|value| word(byte, low_byte(value))));
        Self {
            words: Box::new(words),
            sip,
        }
    }

    pub(super) fn hash(&self, source: Source) -> Hash {
        Hash(match u32::try_from(source.low) {
            Ok(low) if !source.v6 => {
                let bytes = self.words.iter().zip(low.to_ne_bytes());
                let words = bytes.filter_map(|(words, byte)| words.get(usize::from(byte)));
                words.fold(0, |all, word| all ^ word)
            }
            _ => {
                let mut sip = self.sip;
                sip.write_u64(source.high);
                sip.write_u64(source.low);
                sip.finish()
            }
        })
    }
}

fn low_byte(n: usize) -> u8 {
    let [low, ..] = n.to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::net::IpAddr;

    const BUCKETS: u64 = 8_192;

    /// Of buckets with eight sources in the mean, how many of 1,000 have more than 15.
    fn overfull(seed: u64, source: impl Fn(u32) -> IpAddr) -> usize {
        let hasher = Hasher::new([seed, !seed]);
        let mut buckets: Vec<u32> = vec![0; usize::try_from(BUCKETS).unwrap()];
        for n in 0..65_536 {
            let Hash(hash) = hasher.hash(Source::from(source(n)));
            let bucket = ((hash >> 32) * BUCKETS) >> 32;
            buckets[usize::try_from(bucket).unwrap()] += 1;
        }
        let more = buckets.iter().filter(|count| **count > 15);
        more.count() * 1000 / buckets.len()
    }

    /// By the distribution of Poisson it would be 8.
    #[test]
    fn crowds_of_any_shape_spread_as_random_numbers_do() {
        for seed in 0..8 {
            let at = |bits: u32| IpAddr::from(bits.to_be_bytes());
            let one_network = overfull(seed, |n| at(0x0a00_0000 + n));
            let every_256th = overfull(seed, |n| at(n << 8));
            let far_apart = overfull(seed, |n| at(n << 16));
            let strided = overfull(seed, |n| at(n.wrapping_mul(65_521)));
            let all = [one_network, every_256th, far_apart, strided];
            assert!(all.iter().all(|share| *share < 14), "{seed}: {all:?}");
            let in_a_64 =
                |n: u32| IpAddr::from(((0xfd00_u128 << 112) | u128::from(n)).to_be_bytes());
            assert!(overfull(seed, in_a_64) < 14);
        }
    }

    #[test]
    fn another_seed_or_family_is_another_hash() {
        let [one, other] = [[1, 2], [1, 3]].map(Hasher::new);
        for n in 0..1_000_u32 {
            let four = Source::from(IpAddr::from(n.to_be_bytes()));
            let six = Source::from(IpAddr::from(u128::from(n).to_be_bytes()));
            assert_ne!(one.hash(four), other.hash(four));
            assert_ne!(one.hash(six), other.hash(six));
            assert_ne!(one.hash(four), one.hash(six));
        }
    }
}
