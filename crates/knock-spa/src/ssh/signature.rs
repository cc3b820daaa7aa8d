//! One signature by an SSH key, in the shortest form that has no second way to be written.

use alloc::vec::Vec;
use core::fmt;

use crate::wire::{Cursor, put_string};

/// How a signature was made; OpenSSH's names.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// `ssh-ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`
    EcdsaP521,
    /// `rsa-sha2-256`
    RsaSha256,
    /// `rsa-sha2-512`
    RsaSha512,
    /// `sk-ssh-ed25519@openssh.com`
    SkEd25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    SkEcdsaP256,
}

impl Algorithm {
    /// All, in the order of their numbers, which start at 1.
    const ALL: [Self; 8] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::RsaSha256,
        Self::RsaSha512,
        Self::SkEd25519,
        Self::SkEcdsaP256,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::EcdsaP256 => 2,
            Self::EcdsaP384 => 3,
            Self::EcdsaP521 => 4,
            Self::RsaSha256 => 5,
            Self::RsaSha512 => 6,
            Self::SkEd25519 => 7,
            Self::SkEcdsaP256 => 8,
        }
    }

    /// The algorithm with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.number() == number)
    }

    /// OpenSSH's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::RsaSha256 => "rsa-sha2-256",
            Self::RsaSha512 => "rsa-sha2-512",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|each| each.name().as_bytes() == name)
    }

    /// Whether the key is in a security key, whose signatures carry [`Fido`].
    #[must_use]
    pub const fn is_security_key(self) -> bool {
        matches!(self, Self::SkEd25519 | Self::SkEcdsaP256)
    }

    /// Bytes of each of r and s.
    const fn scalar(self) -> Option<usize> {
        match self {
            Self::EcdsaP256 | Self::SkEcdsaP256 => Some(32),
            Self::EcdsaP384 => Some(48),
            Self::EcdsaP521 => Some(66),
            _ => None,
        }
    }

    fn may_have(self, length: usize) -> bool {
        match (self, self.scalar()) {
            (_, Some(scalar)) => length == 2 * scalar,
            (Self::Ed25519 | Self::SkEd25519, None) => length == 64,
            _ => (256..=Signature::MAX).contains(&length),
        }
    }
}

/// What a security key says of how it came to sign, itself signed.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub struct Fido {
    /// Bit 0: somebody touched it. Bit 2: it knew who (PIN, finger).
    pub flags: u8,
    /// Signatures so far, as the security key counts them.
    pub counter: u32,
}

impl Fido {
    /// Somebody touched it.
    #[must_use]
    pub const fn user_present(self) -> bool {
        self.flags & 1 != 0
    }

    /// It knew who touched it.
    #[must_use]
    pub const fn user_verified(self) -> bool {
        self.flags & 4 != 0
    }
}

/// A signature of a length that its algorithm can have.
///
/// ECDSA is r, then s, each as long as the curve's order; RSA as long as the modulus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    algorithm: Algorithm,
    fido: Option<Fido>,
    bytes: Vec<u8>,
}

impl Signature {
    /// The longest, in bytes: RSA of 8,192 bits.
    pub const MAX: usize = 1024;

    pub(crate) fn new(
        algorithm: Algorithm,
        fido: Option<Fido>,
        bytes: &[u8],
    ) -> Result<Self, BadSignature> {
        if fido.is_some() != algorithm.is_security_key() {
            return Err(BadSignature::Fido);
        }
        if !algorithm.may_have(bytes.len()) {
            return Err(BadSignature::Length(bytes.len()));
        }
        Ok(Self {
            algorithm,
            fido,
            bytes: bytes.to_vec(),
        })
    }

    /// Reads what an agent answers to `SSH_AGENTC_SIGN_REQUEST`: the name of the algorithm, the
    /// signature, and of a security key flags and counter (OpenSSH's `PROTOCOL.u2f`).
    ///
    /// # Errors
    /// If it is of another algorithm, or malformed.
    pub fn from_agent(blob: &[u8]) -> Result<Self, BadSignature> {
        let mut cursor = Cursor::new(blob);
        let name = cursor.string().ok_or(BadSignature::Malformed)?;
        let algorithm = Algorithm::from_name(name).ok_or(BadSignature::Algorithm)?;
        let raw = cursor.string().ok_or(BadSignature::Malformed)?;
        let fido = if algorithm.is_security_key() {
            let flags = cursor.u8().ok_or(BadSignature::Malformed)?;
            let counter = cursor.u32().ok_or(BadSignature::Malformed)?;
            Some(Fido { flags, counter })
        } else {
            None
        };
        if !cursor.is_empty() {
            return Err(BadSignature::Malformed);
        }
        match algorithm.scalar() {
            None => Self::new(algorithm, fido, raw),
            Some(size) => {
                let bytes = scalars(raw, size).ok_or(BadSignature::Malformed)?;
                Self::new(algorithm, fido, &bytes)
            }
        }
    }

    /// How it was made.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What the security key said; `None` of other keys.
    #[must_use]
    pub const fn fido(&self) -> Option<Fido> {
        self.fido
    }

    /// The bytes that go over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The inner part as OpenSSH has it: ECDSA as two `mpint`; flags and counter at the end.
    pub(crate) fn to_ssh(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 16);
        match self.algorithm.scalar() {
            Some(size) => self
                .bytes
                .chunks(size)
                .for_each(|scalar| put_mpint(&mut out, scalar)),
            None => out.extend(&self.bytes),
        }
        if let Some(Fido { flags, counter }) = self.fido {
            out.push(flags);
            out.extend(counter.to_be_bytes());
        }
        out
    }
}

/// Two `mpint` to two numbers of `size` bytes.
fn scalars(raw: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(raw);
    let mut out = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let number = positive(cursor.string()?)?;
        let missing = size.checked_sub(number.len())?;
        out.resize(out.len() + missing, 0);
        out.extend(number);
    }
    cursor.is_empty().then_some(out)
}

/// The bytes of a positive `mpint` (RFC 4251, section 5), which is as short as it can be.
pub(crate) fn positive(mpint: &[u8]) -> Option<&[u8]> {
    match mpint {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
        [1..=0x7f, ..] => Some(mpint),
        _ => None,
    }
}

fn put_mpint(out: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut mpint = Vec::with_capacity(number.len() + 1);
    let digits = number.iter().skip(zeros);
    if digits.clone().next().is_some_and(|first| *first >= 0x80) {
        mpint.push(0);
    }
    mpint.extend(digits);
    put_string(out, &mpint);
}

/// Why bytes are no signature.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadSignature {
    /// Cut off, or with bytes after it, or a number that is not written as short as it can be.
    Malformed,
    /// An algorithm that is not taken: SHA-1, DSA, or one that is not known.
    Algorithm,
    /// Flags and counter without a security key, or a security key without them.
    Fido,
    /// So many bytes, which the algorithm cannot have.
    Length(usize),
    /// An SSHSIG for another namespace.
    Namespace,
    /// An SSHSIG over another hash than SHA-512.
    Hash,
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the signature is malformed"),
            Self::Algorithm => f.write_str("the signature is of an algorithm that is not taken"),
            Self::Fido => f.write_str("flags and counter do not fit the signature's algorithm"),
            Self::Length(bytes) => write!(f, "{bytes} bytes do not fit the signature's algorithm"),
            Self::Namespace => f.write_str("the signature is for another purpose"),
            Self::Hash => f.write_str("the signature is over another hash than SHA-512"),
        }
    }
}

impl core::error::Error for BadSignature {}
