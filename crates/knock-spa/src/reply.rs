//! What the keeper answers, and only to a request whose signature was good: 160 bytes.
//!
//! ```text
//!  0  16  salt, random
//! 16 144  sealed, with a key of the exchange and the salt; the request's tag is bound to it
//! ```

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use hpke::rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::request::{Suite, UnixMillis};
use crate::secret::{Use, salt};
use crate::site::REPLY_LENGTH;
use crate::unsealed::Channel;
use crate::wire::{Cursor, address, is_zero};

/// A datagram that answers.
pub type ReplyBytes = [u8; REPLY_LENGTH];

/// What the server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The server's clock.
    pub time: UnixMillis,
    /// The address from which the server saw the datagram come.
    pub seen: IpAddr,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is open: the kernel has said so.
    Opened {
        /// When it closes again; `None`: not by itself.
        until: Option<UnixMillis>,
        /// What is open.
        what: What,
    },
    /// It is closed, for this key and address.
    Closed,
    /// [`crate::Purpose::Ask`]: it would be opened.
    WouldOpen {
        /// Until then; `None`: it would not close by itself.
        until: Option<UnixMillis>,
        /// What would be open.
        what: What,
    },
    /// The client is to send a confirmation with this cookie.
    Confirm(Cookie),
    /// It was not done.
    Refused(Refusal),
}

/// Why an authentic request was not granted.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// There is no such door for this key.
    UnknownDoor,
    /// The client's clock is so many milliseconds ahead of the server's; negative: behind.
    ClockOff(i64),
    /// This very request was seen, or a later one and too many since.
    Replay,
    /// The key or its certificate ended at this second.
    Expired(u64),
    /// The certificate begins at this second.
    NotYetValid(u64),
    /// The key, its certificate or its authority is on the revocation list.
    Revoked,
    /// The certificate is for none of the principals that may open this.
    Principal,
    /// The key may not be used from this address.
    AddressNotAllowed,
    /// The request names another address than the one that it came from.
    AddressMismatch,
    /// The security key was not touched.
    TouchRequired,
    /// The security key did not verify who touched it.
    VerifyRequired,
    /// Too many requests of this key.
    Rate,
    /// The packet filter did not do it.
    GateError,
}

impl Refusal {
    const fn number_and_value(self) -> (u8, u64) {
        match self {
            Self::UnknownDoor => (32, 0),
            Self::ClockOff(by) => (33, by.cast_unsigned()),
            Self::Replay => (34, 0),
            Self::Expired(at) => (35, at),
            Self::NotYetValid(at) => (36, at),
            Self::Revoked => (37, 0),
            Self::Principal => (38, 0),
            Self::AddressNotAllowed => (39, 0),
            Self::AddressMismatch => (40, 0),
            Self::TouchRequired => (41, 0),
            Self::VerifyRequired => (42, 0),
            Self::Rate => (43, 0),
            Self::GateError => (44, 0),
        }
    }

    fn from_number(number: u8, value: u64) -> Option<Self> {
        let refusal = match number {
            32 => Self::UnknownDoor,
            33 => Self::ClockOff(value.cast_signed()),
            34 => Self::Replay,
            35 => Self::Expired(value),
            36 => Self::NotYetValid(value),
            37 => Self::Revoked,
            38 => Self::Principal,
            39 => Self::AddressNotAllowed,
            40 => Self::AddressMismatch,
            41 => Self::TouchRequired,
            42 => Self::VerifyRequired,
            43 => Self::Rate,
            44 => Self::GateError,
            _ => return None,
        };
        (refusal.number_and_value() == (number, value)).then_some(refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::UnknownDoor => "no such door for this key",
            Self::ClockOff(by) => {
                let way = if *by < 0 { "behind" } else { "ahead of" };
                return write!(
                    f,
                    "the clock is {} ms {way} the server's",
                    by.unsigned_abs()
                );
            }
            Self::Replay => "the request was seen before",
            Self::Expired(_) => "the key or its certificate has expired",
            Self::NotYetValid(_) => "the certificate is not valid yet",
            Self::Revoked => "the key or its certificate is revoked",
            Self::Principal => "the certificate is for none of the principals",
            Self::AddressNotAllowed => "the key may not be used from this address",
            Self::AddressMismatch => "the request names another address than it came from",
            Self::TouchRequired => "the security key was not touched",
            Self::VerifyRequired => "the security key did not verify its user",
            Self::Rate => "too many requests",
            Self::GateError => "the packet filter failed",
        };
        f.write_str(text)
    }
}

/// What a door opens, in a few words: up to 64 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct What(Box<str>);

impl What {
    /// The longest, in bytes.
    pub const MAX: usize = 64;

    /// Takes a text, cut to what fits and without control characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut kept = alloc::string::String::new();
        for c in text.chars().filter(|c| !c.is_control()) {
            if kept.len() + c.len_utf8() > Self::MAX {
                break;
            }
            kept.push(c);
        }
        Self(kept.into_boxed_str())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(field: &[u8], length: u8) -> Option<Self> {
        let (text, padding) = field.split_at_checked(length.into())?;
        let text = core::str::from_utf8(text).ok()?;
        (is_zero(padding) && !text.chars().any(char::is_control))
            .then(|| Self(text.to_owned().into_boxed_str()))
    }
}

/// 16 bytes that only the sender of the request can read, and only the keeper can make.
#[derive(Copy, Clone, Debug)]
pub struct Cookie(pub(crate) [u8; 16]);

impl PartialEq for Cookie {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Cookie {}

impl Reply {
    const PLAIN: usize = REPLY_LENGTH - 32;

    /// Seals the answer to the request (or confirmation) of this channel.
    #[must_use]
    pub fn seal(&self, channel: &Channel, rng: &mut impl CryptoRng) -> ReplyBytes {
        let salt = salt(rng);
        let sealed = channel
            .exchange
            .seal(Use::Reply, &salt, &self.plain(), &channel.tag);
        let parts = salt.into_iter().chain(sealed.unwrap_or_default());
        let mut out = [0; REPLY_LENGTH];
        out.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        out
    }

    /// Opens an answer on the client's side of the channel.
    ///
    /// # Errors
    /// If it is not an answer to this very datagram.
    pub fn open(datagram: &[u8], channel: &Channel) -> Result<Self, BadReply> {
        let datagram: &ReplyBytes = datagram.try_into().map_err(|_| BadReply::Length)?;
        let (salt, sealed) = datagram.split_first_chunk().ok_or(BadReply::Length)?;
        let plain = channel
            .exchange
            .open(Use::Reply, salt, sealed, &channel.tag);
        let plain = plain.ok_or(BadReply::NotForThis)?;
        Self::from_plain(&plain)
    }

    fn plain(&self) -> Vec<u8> {
        let nothing = What::default();
        let ms = |until: &Option<UnixMillis>| until.map_or(0, |until| until.0);
        let (number, value, cookie, what) = match &self.outcome {
            Outcome::Opened { until, what } => (1, ms(until), [0; 16], what),
            Outcome::Closed => (2, 0, [0; 16], &nothing),
            Outcome::WouldOpen { until, what } => (3, ms(until), [0; 16], what),
            Outcome::Confirm(cookie) => (4, 0, cookie.0, &nothing),
            Outcome::Refused(refusal) => {
                let (number, value) = refusal.number_and_value();
                (number, value, [0; 16], &nothing)
            }
        };
        let (family, seen) = address::put(Some(self.seen));
        let text = what.as_str().as_bytes();
        let length = u8::try_from(text.len()).unwrap_or(0);
        let mut out = Vec::with_capacity(Self::PLAIN);
        out.extend([Suite::X25519.number(), number, family, length]);
        out.extend([0; 4]);
        out.extend(self.time.0.to_be_bytes());
        out.extend(value.to_be_bytes());
        out.extend(seen);
        out.extend(cookie);
        out.extend([0; 8]);
        out.extend(text);
        out.resize(Self::PLAIN, 0);
        out
    }

    /// Reads what was sealed; there is one way to write each.
    ///
    /// # Errors
    /// If it is malformed, or says something that is not known.
    pub fn from_plain(plain: &[u8]) -> Result<Self, BadReply> {
        let reply = Self::read(Cursor::new(plain)).ok_or(BadReply::Malformed)??;
        if reply.plain() == plain {
            Ok(reply)
        } else {
            Err(BadReply::Malformed)
        }
    }

    fn read(mut cursor: Cursor<'_>) -> Option<Result<Self, BadReply>> {
        let [suite, number, family, length] = cursor.array()?;
        Suite::from_number(suite)?;
        let _reserved: [u8; 4] = cursor.array()?;
        let (time, value) = (UnixMillis(cursor.u64()?), cursor.u64()?);
        let seen = address::take(family, cursor.array()?)??;
        let cookie = cursor.array()?;
        let _reserved: [u8; 8] = cursor.array()?;
        let what = What::read(cursor.rest(), length)?;
        let until = Some(UnixMillis(value)).filter(|until| until.0 != 0);
        let outcome = match number {
            1 => Outcome::Opened { until, what },
            2 => Outcome::Closed,
            3 => Outcome::WouldOpen { until, what },
            4 => Outcome::Confirm(Cookie(cookie)),
            _ => match Refusal::from_number(number, value) {
                Some(refusal) => Outcome::Refused(refusal),
                None => return Some(Err(BadReply::Unknown(number))),
            },
        };
        Some(Ok(Self {
            time,
            seen,
            outcome,
        }))
    }
}

/// Why a datagram is no answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadReply {
    /// Not of a reply's length.
    Length,
    /// Not sealed for this request: somebody else's, or nobody's.
    NotForThis,
    /// Authentic, and malformed.
    Malformed,
    /// Authentic, and with an outcome that this program does not know.
    Unknown(u8),
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("not of a reply's length"),
            Self::NotForThis => f.write_str("not an answer to this request"),
            Self::Malformed => f.write_str("the reply is malformed"),
            Self::Unknown(number) => write!(f, "the server's outcome {number} is not known here"),
        }
    }
}

impl core::error::Error for BadReply {}
