//! Break-glass: single-use codes on paper, each one datagram that any machine can send.
//!
//! A code is 80 random bits, written as sixteen characters of Crockford's base 32 in groups of
//! four. The server stores a keyed hash of each, never the code.

use alloc::vec::Vec;
use core::fmt;

use hpke::rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The alphabet, by value. `I` and `L` are read as 1, `O` as 0, small letters as great ones.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 16;

/// A code. It is shown once, when it is made.
#[derive(Clone)]
pub struct Code(Zeroizing<[u8; 10]>);

impl Code {
    /// The shortest datagram that can hold a code, in bytes.
    pub const MIN_LENGTH: usize = CHARACTERS;
    /// The longest: with three hyphens and the end of a line.
    pub const MAX_LENGTH: usize = CHARACTERS + 3 + 2;

    /// A new one.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 10]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// Reads a datagram: sixteen characters, with a hyphen after every four or without any, and
    /// the end of a line or none.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        if !(Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&datagram.len()) {
            return None;
        }
        let text = datagram.strip_suffix(b"\n").unwrap_or(datagram);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let hyphens = match text.len() {
            CHARACTERS => false,
            19 => true,
            _ => return None,
        };
        let mut bits = 0_u128;
        for (at, c) in text.iter().enumerate() {
            if hyphens && at % 5 == 4 {
                if *c != b'-' {
                    return None;
                }
                continue;
            }
            bits = (bits << 5) | u128::from(value(*c)?);
        }
        let [_, _, _, _, _, _, code @ ..] = bits.to_be_bytes();
        Some(Self(Zeroizing::new(code)))
    }

    /// The code of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, secret until it is spent.
    #[must_use]
    pub fn expose(&self) -> &[u8; 10] {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self, salt: &CodeSalt) -> CodeHash {
        CodeHash(*blake3::keyed_hash(&salt.0, self.0.as_ref()).as_bytes())
    }

    /// The sixteen characters with hyphens: for paper.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<alloc::string::String> {
        let mut bits = self
            .0
            .iter()
            .fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        bits <<= 48;
        let mut text = Zeroizing::new(alloc::string::String::with_capacity(19));
        for at in 0..CHARACTERS {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            bits = bits.rotate_left(5);
            let digit = usize::try_from(bits & 31).unwrap_or(0);
            text.push(ALPHABET.get(digit).map_or('?', |c| char::from(*c)));
            bits &= !31;
        }
        text
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

fn value(c: u8) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    };
    let at = ALPHABET.iter().position(|each| *each == c)?;
    u8::try_from(at).ok()
}

/// The key of a machine's code hashes, beside them in the file: so that a table made for one
/// machine is no use for another, and nobody can choose a code by its hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeSalt(pub [u8; 32]);

/// What is stored of a code.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CodeHash(pub [u8; 32]);

impl CodeHash {
    fn mark(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The most codes of one machine: what a lookup may cost.
    pub const MAX: usize = 64;

    /// Which of the stored codes this is. Every one is compared in full, whether it fits or not;
    /// those after [`CodeHash::MAX`] are not looked at.
    #[must_use]
    pub fn find(&self, stored: &[Self]) -> Option<usize> {
        let mut found = Choice::from(0);
        let mut place = 0_u64;
        for (at, each) in (0_u64..).zip(stored.iter().take(Self::MAX)) {
            let same = self.0.ct_eq(&each.0);
            place.conditional_assign(&at, same);
            found |= same;
        }
        bool::from(found)
            .then(|| usize::try_from(place).ok())
            .flatten()
    }
}

/// What the listener knows of the codes: enough to leave aside what is none, so that guesses cost
/// a hash each and take nothing from who has a code; not enough to make one.
///
/// A code has to be found among 2^80 for its mark, as for its hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sieve {
    /// The key of the hashes.
    pub salt: CodeSalt,
    /// Of each code the first eight bytes of its hash, at most [`CodeHash::MAX`].
    pub marks: Vec<u64>,
}

impl Sieve {
    /// For the codes with these hashes.
    #[must_use]
    pub fn new<'a>(salt: &CodeSalt, hashes: impl IntoIterator<Item = &'a CodeHash>) -> Self {
        let marks = hashes.into_iter().take(CodeHash::MAX).map(CodeHash::mark);
        Self {
            salt: salt.clone(),
            marks: marks.collect(),
        }
    }

    /// Whether this may be one of them. Of what is none, one in 2^58 may be.
    #[must_use]
    pub fn may_be(&self, code: &Code) -> bool {
        let mark = code.hash(&self.salt).mark();
        self.marks.contains(&mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;

    #[test]
    fn a_code_is_read_as_it_is_written_and_as_it_is_typed() {
        let mut rng = TestRng::new(7);
        for _ in 0..100 {
            let code = Code::generate(&mut rng);
            let text = code.reveal();
            assert_eq!(text.len(), 19);
            let plain = text.replace('-', "");
            let sloppy = plain.to_lowercase().replace('0', "o").replace('1', "l") + "\r\n";
            for written in [text.as_str(), &plain, &sloppy, &(plain.clone() + "\n")] {
                let read = Code::parse(written.as_bytes()).expect(written);
                assert_eq!(read.0, code.0, "{written}");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_none() {
        for text in [
            "",
            "0123-4567-89AB-CDE",
            "0123456789ABCDEU",
            "01234-567-89AB-CDEF",
            "0123-4567-89AB-CDEF\n\n\n",
            "0123456789ABCDEF01234",
        ] {
            assert!(Code::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_code_is_found_by_its_hash() {
        let mut rng = TestRng::new(1);
        let salt = CodeSalt([3; 32]);
        let codes: Vec<_> = (0..70).map(|_| Code::generate(&mut rng)).collect();
        let stored: Vec<_> = codes.iter().map(|code| code.hash(&salt)).collect();
        for (at, code) in codes.iter().enumerate() {
            let expected = (at < CodeHash::MAX).then_some(at);
            assert_eq!(code.hash(&salt).find(&stored), expected);
        }
        assert_eq!(Code::generate(&mut rng).hash(&salt).find(&stored), None);
        assert_eq!(codes[0].hash(&CodeSalt([4; 32])).find(&stored), None);
    }

    #[test]
    fn the_sieve_lets_its_codes_through_and_no_other() {
        let mut rng = TestRng::new(3);
        let salt = CodeSalt([9; 32]);
        let codes: Vec<_> = (0..64).map(|_| Code::generate(&mut rng)).collect();
        let hashes: Vec<_> = codes.iter().map(|code| code.hash(&salt)).collect();
        let sieve = Sieve::new(&salt, &hashes);
        for code in &codes {
            let typed = Code::from_bytes(*code.expose());
            assert!(sieve.may_be(&typed));
            assert!(!sieve.may_be(&Code::generate(&mut rng)));
        }
        let left = Sieve::new(&salt, hashes.iter().skip(1));
        assert!(!left.may_be(&codes[0]) && left.may_be(&codes[1]));
    }
}
