//! What a client asks for: 80 bytes, all of them signed.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::door::DoorName;
use crate::keys::KeyId;
use crate::wire::{Cursor, address, is_zero};

/// Numbers of suites. Number 1: HPKE `mode_psk` with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
/// ChaCha20-Poly1305; keyed BLAKE3; SSHSIG with SHA-512.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Suite {
    /// Number 1, the only one there is. Number 2 is kept for a hybrid with ML-KEM.
    #[default]
    X25519,
}

impl Suite {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::X25519 => 1,
        }
    }

    /// The suite with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::X25519),
            _ => None,
        }
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds: the wall clock of either end.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// So much after `other`, negative if before; ends at what an `i64` holds.
    #[must_use]
    pub fn since(self, other: Self) -> i64 {
        let by = i64::try_from(self.0.abs_diff(other.0)).unwrap_or(i64::MAX);
        if self < other {
            by.saturating_neg()
        } else {
            by
        }
    }

    /// Whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// So much earlier, but not before 1970.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(by))
    }
}

/// What is to happen to the door.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// Open it.
    #[default]
    Open,
    /// Close what this key has opened for this address.
    Close,
    /// Do nothing, but say what [`Purpose::Open`] would do.
    Ask,
}

/// A request. It is made by the client, sealed, and read again by the keeper.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The suite that it is sealed with.
    pub suite: Suite,
    /// What is to happen.
    pub purpose: Purpose,
    /// The client's clock.
    pub time: UnixMillis,
    /// The key that signs.
    pub key: KeyId,
    /// The door.
    pub door: DoorName,
    /// For how long, in whole seconds; `None` leaves it to the door. At most what a `u32` holds.
    pub open_for: Option<core::num::NonZeroU32>,
    /// The address that the client believes to have; `None` behind address translation.
    pub claimed: Option<IpAddr>,
}

/// A request in bytes.
pub type RequestBytes = [u8; Request::LENGTH];

impl Request {
    /// Its length in bytes, always.
    pub const LENGTH: usize = 80;

    /// The bytes that are signed and sealed.
    #[must_use]
    pub fn to_bytes(&self) -> RequestBytes {
        let (family, claimed) = address::put(self.claimed);
        let name = self.door.as_str().as_bytes();
        let purpose = match self.purpose {
            Purpose::Open => 0,
            Purpose::Close => 1,
            Purpose::Ask => 2,
        };
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let open_for = self.open_for.map_or(0, core::num::NonZeroU32::get);
        let head = [self.suite.number(), purpose, family, length];
        let parts = head
            .into_iter()
            .chain(open_for.to_be_bytes())
            .chain(self.time.0.to_be_bytes())
            .chain(self.key.0)
            .chain(claimed)
            .chain(name.iter().copied());
        let mut bytes = [0; Self::LENGTH];
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads a request. There is one way to write each, so what is read is written the same.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn from_bytes(bytes: &RequestBytes) -> Result<Self, BadRequest> {
        let mut cursor = Cursor::new(bytes);
        Self::read(&mut cursor).unwrap_or(Err(BadRequest::Door))
    }

    /// `None` never happens: the lengths add up to 80.
    fn read(cursor: &mut Cursor<'_>) -> Option<Result<Self, BadRequest>> {
        let [suite, purpose, family, length] = cursor.array()?;
        let open_for = cursor.u32()?;
        let time = cursor.u64()?;
        let key = cursor.array()?;
        let claimed = cursor.array()?;
        let Some(suite) = Suite::from_number(suite) else {
            return Some(Err(BadRequest::Suite(suite)));
        };
        let purpose = match purpose {
            0 => Purpose::Open,
            1 => Purpose::Close,
            2 => Purpose::Ask,
            other => return Some(Err(BadRequest::Flags(other))),
        };
        let Some(claimed) = address::take(family, claimed) else {
            return Some(Err(BadRequest::Address));
        };
        let Some(door) = door(cursor.rest(), length) else {
            return Some(Err(BadRequest::Door));
        };
        Some(Ok(Self {
            suite,
            purpose,
            time: UnixMillis(time),
            key: KeyId(key),
            door,
            open_for: core::num::NonZeroU32::new(open_for),
            claimed,
        }))
    }
}

fn door(field: &[u8], length: u8) -> Option<DoorName> {
    let (name, padding) = field.split_at_checked(usize::from(length))?;
    if !is_zero(padding) {
        return None;
    }
    DoorName::new(core::str::from_utf8(name).ok()?).ok()
}

/// Why 80 bytes are no request.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadRequest {
    /// A suite that is not known.
    Suite(u8),
    /// Flags that are not known.
    Flags(u8),
    /// An address of no known family, or not in its one form.
    Address,
    /// No door's name, or bytes after it.
    Door,
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite(number) => write!(f, "suite {number} is not known"),
            Self::Flags(flags) => write!(f, "flags {flags:#04x} are not known"),
            Self::Address => f.write_str("the claimed address is malformed"),
            Self::Door => f.write_str("the door's name is malformed"),
        }
    }
}

impl core::error::Error for BadRequest {}
