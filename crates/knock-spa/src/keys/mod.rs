//! Who may knock: keys, authorities, and what was taken back.
//!
//! | module | what |
//! |---|---|
//! | [`reader`] | text in the format of `authorized_keys` to keys, and every mistake with its place |
//! | [`addresses`] | `from=` |
//! | [`expiry`] | `expiry-time=` |
//! | [`ring`] | the keys by their short names |
//! | [`revoked`] | the revocation list |

use core::fmt;

use sha2::{Digest, Sha256};

pub mod addresses;
pub mod expiry;
mod option;
pub mod reader;
pub mod revoked;
pub mod ring;
#[cfg(test)]
mod tests;

pub use addresses::{AddressList, BadAddress};
pub use expiry::{Civil, LocalTime};
pub use reader::{Mistake, Problem, Read, read};
pub use revoked::Revoked;
pub use ring::{AuthorizedKey, KeyRing, Options};

/// A key's short name: the first 16 bytes of SHA-256 of its public bytes. Two keys with one name
/// are possible and change nothing but that both are tried.
#[derive(Copy, Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// The name of the key with these bytes.
    #[must_use]
    pub fn of(blob: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(blob).into();
        Self(hash.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
