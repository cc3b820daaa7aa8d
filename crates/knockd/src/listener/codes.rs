//! Codes on paper: what may be one is for the keeper to decide.
//!
//! The sieve stands before the limits, so that guesses, however many, take nothing from who has a
//! code. What it lets through costs the keeper a write to the disk, and is limited; of what it holds
//! back, a little is told, for the log.

use std::time::Duration;

use knock_core::spa::Spa;
use knock_core::time::Timestamp;
use knock_spa::code::{Code, Sieve};

use crate::bucket::Bucket;
use crate::wire::CodeBytes;

/// Codes that may be good: as many as there can be, then ten a second.
const LIKELY: u32 = 64;
const LIKELY_PERIOD: Duration = Duration::from_millis(100);

/// Others: a few lines, and then one in ten seconds.
const OTHERS: u32 = 8;
const OTHERS_PERIOD: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Codes {
    pub(super) sieve: Option<Sieve>,
    likely: Bucket,
    others: Bucket,
    pub(super) unknown: u64,
    pub(super) limited: u64,
}

/// What a datagram is, as far as codes go.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Not of the form of a code.
    NoCode,
    /// One that the keeper should hear of.
    Tell(CodeBytes),
    /// One that was counted, and is over.
    Counted,
}

impl Codes {
    pub(super) fn new() -> Self {
        Self {
            sieve: None,
            likely: Bucket::new(LIKELY, LIKELY_PERIOD),
            others: Bucket::new(OTHERS, OTHERS_PERIOD),
            unknown: 0,
            limited: 0,
        }
    }

    /// Looks at a datagram that came to a port of sealed packets.
    pub(super) fn see(&mut self, datagram: &[u8], now: Timestamp) -> Seen {
        let Some(sieve) = self
            .sieve
            .as_ref()
            .filter(|_| Spa::fits_code(datagram.len()))
        else {
            return Seen::NoCode;
        };
        let Some(code) = Code::parse(datagram) else {
            return Seen::NoCode;
        };
        let bucket = if sieve.may_be(&code) {
            &mut self.likely
        } else {
            self.unknown = self.unknown.saturating_add(1);
            &mut self.others
        };
        if bucket.take(now) {
            return Seen::Tell(CodeBytes(*code.expose()));
        }
        self.limited = self.limited.saturating_add(1);
        Seen::Counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knock_spa::code::{CodeHash, CodeSalt};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(50_000 + millis)
    }

    fn codes(good: &Code) -> Codes {
        let salt = CodeSalt([1; 32]);
        let hashes: [CodeHash; 1] = [good.hash(&salt)];
        Codes {
            sieve: Some(Sieve::new(&salt, &hashes)),
            ..Codes::new()
        }
    }

    #[test]
    fn a_flood_of_guesses_keeps_no_code_out_and_is_a_few_lines() {
        let good = Code::from_bytes([7; 10]);
        let mut codes = codes(&good);
        let mut told = 0;
        for n in 0..20_000_u64 {
            let [_, _, _, _, _, _, bytes @ ..] = u128::from(n).to_be_bytes();
            let guess = Code::from_bytes(bytes);
            let seen = codes.see(guess.reveal().as_bytes(), at(n));
            told += usize::from(matches!(seen, Seen::Tell(_)));
        }
        assert_eq!(told, 8 + 1);
        assert_eq!((codes.unknown, codes.limited), (20_000, 20_000 - 9));
        let seen = codes.see(good.reveal().as_bytes(), at(20_000));
        assert_eq!(seen, Seen::Tell(CodeBytes([7; 10])));
    }

    #[test]
    fn one_code_sent_over_and_over_is_limited() {
        let good = Code::from_bytes([7; 10]);
        let mut codes = codes(&good);
        let text = good.reveal().to_lowercase().replace('-', "") + "\n";
        let mut told = |count, at| {
            (0..count)
                .filter(|_| codes.see(text.as_bytes(), at) != Seen::Counted)
                .count()
        };
        assert_eq!(told(1_000, at(0)), 64);
        assert_eq!(told(1_000, at(1_000)), 10);
    }

    #[test]
    fn what_has_not_the_form_of_a_code_is_none_and_without_codes_nothing_is() {
        let good = Code::from_bytes([7; 10]);
        let mut some = codes(&good);
        for text in [
            "0123-4567-89AB-CDEU",
            "0123456789ABCDE",
            "",
            "hello, are you there?",
        ] {
            assert_eq!(some.see(text.as_bytes(), at(0)), Seen::NoCode, "{text}");
        }
        let mut none = Codes::new();
        assert_eq!(none.see(good.reveal().as_bytes(), at(0)), Seen::NoCode);
    }

    #[test]
    fn the_filter_and_the_codes_agree_on_lengths() {
        let spa = (usize::from(Spa::CODE_MIN), usize::from(Spa::CODE_MAX));
        assert_eq!(spa, (Code::MIN_LENGTH, Code::MAX_LENGTH));
    }
}
