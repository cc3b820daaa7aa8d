//! Public keys of OpenSSH.

use alloc::boxed::Box;
use core::fmt;

use sha2::{Digest, Sha256};

use super::signature::{Algorithm, Signature, positive};
use super::verify;
use crate::keys::KeyId;
use crate::wire::Cursor;

/// The kind of a key.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// `ssh-ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`
    EcdsaP521,
    /// `ssh-rsa`, which signs with SHA-2 here and never with SHA-1
    Rsa,
    /// `sk-ssh-ed25519@openssh.com`
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    SkEcdsaP256,
}

impl KeyType {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
        Self::SkEd25519,
        Self::SkEcdsaP256,
    ];

    /// OpenSSH's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }

    /// Whether a key of this kind can have made a signature like that.
    #[must_use]
    pub const fn makes(self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Ed25519, Algorithm::Ed25519)
                | (Self::EcdsaP256, Algorithm::EcdsaP256)
                | (Self::EcdsaP384, Algorithm::EcdsaP384)
                | (Self::EcdsaP521, Algorithm::EcdsaP521)
                | (Self::Rsa, Algorithm::RsaSha256 | Algorithm::RsaSha512)
                | (Self::SkEd25519, Algorithm::SkEd25519)
                | (Self::SkEcdsaP256, Algorithm::SkEcdsaP256)
        )
    }
}

/// A public key that this protocol takes, in OpenSSH's bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    kind: KeyType,
    id: KeyId,
    blob: Box<[u8]>,
}

impl PublicKey {
    /// The longest, in bytes: RSA of 8,192 bits is 1,046; a security key's application is bounded
    /// by this alone.
    pub const MAX: usize = 2048;
    /// The smallest RSA modulus, in bits.
    pub const MIN_RSA: usize = 2048;
    /// The greatest: what fits a datagram, and what a verification may cost.
    pub const MAX_RSA: usize = 8192;

    /// Reads the bytes that stand in base64 in a `.pub` file.
    ///
    /// # Errors
    /// If it is a kind that is not taken, malformed, or RSA of a size that is not taken.
    pub fn from_blob(blob: &[u8]) -> Result<Self, BadKey> {
        if blob.len() > Self::MAX {
            return Err(BadKey::Malformed);
        }
        let mut cursor = Cursor::new(blob);
        let name = cursor.string().ok_or(BadKey::Malformed)?;
        let name = core::str::from_utf8(name).map_err(|_| BadKey::Malformed)?;
        let kind = KeyType::from_name(name).ok_or(BadKey::Kind)?;
        check_fields(kind, cursor)?;
        if !verify::understands(blob) {
            return Err(BadKey::Malformed);
        }
        Ok(Self {
            kind,
            id: KeyId::of(blob),
            blob: blob.into(),
        })
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> KeyType {
        self.kind
    }

    /// Its short name on the wire.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// OpenSSH's bytes.
    #[must_use]
    pub const fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// SHA-256 of the bytes: what `ssh-keygen -l` shows in base64.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.blob).into()
    }

    /// Whether a signature looks like one of this key's: of its kind and, of RSA, as long as its
    /// modulus. To verify such a one takes the same work, whether it is good or not; to verify any
    /// other takes none.
    pub(crate) fn fits(&self, signature: &Signature) -> bool {
        let modulus = self.modulus();
        self.kind.makes(signature.algorithm())
            && modulus.is_none_or(|bytes| bytes == signature.as_bytes().len())
    }

    /// The bytes of an RSA key's modulus.
    pub(crate) fn modulus(&self) -> Option<usize> {
        if self.kind != KeyType::Rsa {
            return None;
        }
        let mut cursor = Cursor::new(&self.blob);
        let (_name, _exponent) = (cursor.string()?, cursor.string()?);
        positive(cursor.string()?).map(<[u8]>::len)
    }

    /// Whether it signed `data`. Nothing is said of a security key's flags.
    #[must_use]
    pub fn signed(&self, data: &[u8], signature: &Signature) -> bool {
        self.kind.makes(signature.algorithm()) && verify::is_good(&self.blob, data, signature)
    }
}

/// The lengths that each kind has. What they mean is the arithmetic's to say.
fn check_fields(kind: KeyType, mut cursor: Cursor<'_>) -> Result<(), BadKey> {
    match kind {
        KeyType::Ed25519 | KeyType::SkEd25519 => cursor.string().filter(|point| point.len() == 32),
        KeyType::Rsa => {
            let exponent = cursor
                .string()
                .and_then(positive)
                .ok_or(BadKey::Malformed)?;
            let modulus = cursor
                .string()
                .and_then(positive)
                .ok_or(BadKey::Malformed)?;
            return check_rsa(exponent, modulus, cursor);
        }
        KeyType::EcdsaP256 | KeyType::SkEcdsaP256 => curve(&mut cursor, b"nistp256", 65),
        KeyType::EcdsaP384 => curve(&mut cursor, b"nistp384", 97),
        KeyType::EcdsaP521 => curve(&mut cursor, b"nistp521", 133),
    }
    .ok_or(BadKey::Malformed)?;
    if matches!(kind, KeyType::SkEd25519 | KeyType::SkEcdsaP256) {
        cursor.string().ok_or(BadKey::Malformed)?;
    }
    if cursor.is_empty() {
        Ok(())
    } else {
        Err(BadKey::Malformed)
    }
}

/// An uncompressed point on a curve of this name.
fn curve<'a>(cursor: &mut Cursor<'a>, name: &[u8], length: usize) -> Option<&'a [u8]> {
    cursor.string().filter(|given| *given == name)?;
    cursor
        .string()
        .filter(|point| point.len() == length && point.first() == Some(&4))
}

fn check_rsa(exponent: &[u8], modulus: &[u8], rest: Cursor<'_>) -> Result<(), BadKey> {
    if !cfg!(feature = "rsa") {
        return Err(BadKey::NoRsa);
    }
    let top = modulus.first().copied().unwrap_or(0);
    let zeros = usize::try_from(top.leading_zeros()).unwrap_or(0);
    let bits = (modulus.len() * 8).saturating_sub(zeros);
    if !(PublicKey::MIN_RSA..=PublicKey::MAX_RSA).contains(&bits) {
        return Err(BadKey::RsaBits(bits));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let small = exponent.len() <= 4 && exponent != [1];
    if odd(exponent) && small && odd(modulus) && rest.is_empty() {
        Ok(())
    } else {
        Err(BadKey::Malformed)
    }
}

/// Why bytes are no key that is taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadKey {
    /// A kind that is not taken: DSA, or one that is not known.
    Kind,
    /// Not the bytes of a key of its kind.
    Malformed,
    /// RSA with a modulus of so many bits.
    RsaBits(usize),
    /// RSA, in a program that was built without.
    NoRsa,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("keys of this kind are not taken"),
            Self::Malformed => f.write_str("the key is malformed"),
            Self::RsaBits(bits) => write!(
                f,
                "RSA of {bits} bits is not taken, only of {} to {}",
                PublicKey::MIN_RSA,
                PublicKey::MAX_RSA
            ),
            Self::NoRsa => f.write_str("this program was built without RSA"),
        }
    }
}

impl core::error::Error for BadKey {}
