//! The second half of what is sealed: the certificate, if there is one, and the signature.

use alloc::vec::Vec;
use core::fmt;

use crate::ssh::signature::{Algorithm, BadSignature, Fido, Signature};
use crate::wire::{Cursor, is_zero};

/// Signature and certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block<'a> {
    /// The signature over the request.
    pub signature: Signature,
    /// The certificate of the key that made it, in OpenSSH's bytes; not yet read.
    pub certificate: Option<&'a [u8]>,
}

impl<'a> Block<'a> {
    /// Bytes before certificate and signature.
    pub const HEAD: usize = 10;
    /// The longest, padding included: what the longest datagram has room for.
    pub const MAX: usize = crate::site::SEALED_MAX - crate::request::Request::LENGTH;

    /// The bytes, without padding.
    ///
    /// # Errors
    /// If they do not fit the longest datagram, [`BadBlock::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadBlock> {
        let certificate = self.certificate.unwrap_or_default();
        let signature = self.signature.as_bytes();
        let length = Self::HEAD + certificate.len() + signature.len();
        if length > Self::MAX {
            return Err(BadBlock::TooLong(length));
        }
        let short = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let Fido { flags, counter } = self.signature.fido().unwrap_or(Fido {
            flags: 0,
            counter: 0,
        });
        let mut out = Vec::with_capacity(length);
        out.extend([self.signature.algorithm().number(), flags]);
        out.extend(counter.to_be_bytes());
        out.extend(short(certificate));
        out.extend(short(signature));
        out.extend(certificate);
        out.extend(signature);
        Ok(out)
    }

    /// Reads a block with its padding.
    ///
    /// # Errors
    /// If it is malformed: there is one way to write each.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, BadBlock> {
        Self::read(Cursor::new(bytes)).unwrap_or(Err(BadBlock::Malformed))
    }

    fn read(mut cursor: Cursor<'a>) -> Option<Result<Self, BadBlock>> {
        let [number, flags] = cursor.array()?;
        let counter = cursor.u32()?;
        let (certificate, signature) = (cursor.u16()?, cursor.u16()?);
        let certificate = cursor.bytes(certificate.into())?;
        let signature = cursor.bytes(signature.into())?;
        if !is_zero(cursor.rest()) {
            return None;
        }
        let algorithm = Algorithm::from_number(number)?;
        let fido = if algorithm.is_security_key() {
            Some(Fido { flags, counter })
        } else if (flags, counter) == (0, 0) {
            None
        } else {
            return None;
        };
        let signature = match Signature::new(algorithm, fido, signature) {
            Ok(signature) => signature,
            Err(why) => return Some(Err(BadBlock::Signature(why))),
        };
        Some(Ok(Self {
            signature,
            certificate: Some(certificate).filter(|bytes| !bytes.is_empty()),
        }))
    }
}

/// Why bytes are no block.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadBlock {
    /// Not of the form.
    Malformed,
    /// So many bytes do not fit a datagram.
    TooLong(usize),
    /// The signature is none.
    Signature(BadSignature),
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the signature block is malformed"),
            Self::TooLong(bytes) => write!(
                f,
                "certificate and signature have {bytes} bytes, at most {} fit one datagram",
                Block::MAX
            ),
            Self::Signature(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for BadBlock {}
