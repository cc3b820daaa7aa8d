//! User certificates of OpenSSH (`PROTOCOL.certkeys`): read from the packet, believed only when
//! the authority's signature over these very bytes is good.

use alloc::vec::Vec;
use core::fmt;

use super::key::{BadKey, KeyType, PublicKey};
use super::signature::{BadSignature, Signature};
use crate::keys::AddressList;
use crate::wire::{Cursor, put_string};

/// A user certificate, as it was sent. Nothing of it is true before [`Certificate::is_signed_by`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate<'a> {
    subject: PublicKey,
    serial: u64,
    key_id: &'a str,
    principals: Vec<&'a str>,
    valid_from: u64,
    valid_before: u64,
    critical: Critical,
    no_touch: bool,
    authority: &'a [u8],
    signed: &'a [u8],
    signature: Signature,
}

/// The critical options that are known. `force-command` is for the session that comes after.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Critical {
    source_address: Option<AddressList>,
    verify_required: bool,
}

impl<'a> Certificate<'a> {
    /// The longest, in bytes: what the longest datagram has room for, without any signature.
    pub const MAX: usize = crate::block::Block::MAX;
    /// The most principals of one certificate.
    pub const MAX_PRINCIPALS: usize = 64;

    /// Reads a certificate.
    ///
    /// # Errors
    /// If it is malformed, not of a user, or has a critical option that is not known.
    pub fn from_blob(blob: &'a [u8]) -> Result<Self, BadCertificate> {
        if blob.len() > Self::MAX {
            return Err(BadCertificate::Malformed);
        }
        Self::read(blob).unwrap_or(Err(BadCertificate::Malformed))
    }

    /// `None` if it ends too soon or is not of the form.
    fn read(blob: &'a [u8]) -> Option<Result<Self, BadCertificate>> {
        let mut cursor = Cursor::new(blob);
        let name = core::str::from_utf8(cursor.string()?).ok()?;
        let Some((kind, fields)) = kind(name) else {
            return Some(Err(BadCertificate::Kind));
        };
        let _nonce = cursor.string()?;
        let mut key = Vec::with_capacity(128);
        put_string(&mut key, kind.name().as_bytes());
        for _ in 0..fields {
            put_string(&mut key, cursor.string()?);
        }
        let subject = match PublicKey::from_blob(&key) {
            Ok(subject) => subject,
            Err(why) => return Some(Err(BadCertificate::Subject(why))),
        };
        let serial = cursor.u64()?;
        if cursor.u32()? != 1 {
            return Some(Err(BadCertificate::NotOfAUser));
        }
        let key_id = core::str::from_utf8(cursor.string()?).ok()?;
        let principals = principals(cursor.string()?)?;
        let (valid_from, valid_before) = (cursor.u64()?, cursor.u64()?);
        let critical = match critical(cursor.string()?)? {
            Ok(critical) => critical,
            Err(why) => return Some(Err(why)),
        };
        let no_touch = no_touch(cursor.string()?)?;
        let _reserved = cursor.string()?;
        let authority = cursor.string()?;
        let signed = blob.get(..blob.len().checked_sub(cursor.rest().len())?)?;
        let signature = match Signature::from_agent(cursor.string()?) {
            Ok(signature) => signature,
            Err(why) => return Some(Err(BadCertificate::Signature(why))),
        };
        cursor.is_empty().then_some(Ok(Self {
            subject,
            serial,
            key_id,
            principals,
            valid_from,
            valid_before,
            critical,
            no_touch,
            authority,
            signed,
            signature,
        }))
    }

    /// Whether this authority made it.
    #[must_use]
    pub fn is_signed_by(&self, authority: &PublicKey) -> bool {
        authority.blob() == self.authority && authority.signed(self.signed, &self.signature)
    }

    /// The key that it is for.
    #[must_use]
    pub const fn subject(&self) -> &PublicKey {
        &self.subject
    }

    /// The bytes of the authority's key, as the certificate names it.
    #[must_use]
    pub const fn authority(&self) -> &'a [u8] {
        self.authority
    }

    /// The authority's number for it; 0 if it gives none.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// The authority's name for it, any text.
    #[must_use]
    pub const fn key_id(&self) -> &'a str {
        self.key_id
    }

    /// Whom it is for.
    #[must_use]
    pub fn principals(&self) -> &[&'a str] {
        &self.principals
    }

    /// Seconds since 1970 at which it begins.
    #[must_use]
    pub const fn valid_from(&self) -> u64 {
        self.valid_from
    }

    /// Seconds since 1970 at which it has ended.
    #[must_use]
    pub const fn valid_before(&self) -> u64 {
        self.valid_before
    }

    /// The critical option `source-address`: from where it may be used.
    #[must_use]
    pub const fn source_address(&self) -> Option<&AddressList> {
        self.critical.source_address.as_ref()
    }

    /// The critical option `verify-required`.
    #[must_use]
    pub const fn verify_required(&self) -> bool {
        self.critical.verify_required
    }

    /// The extension `no-touch-required`.
    #[must_use]
    pub const fn no_touch_required(&self) -> bool {
        self.no_touch
    }
}

/// The kind of key in a certificate of this name, and of how many strings the key consists.
fn kind(name: &str) -> Option<(KeyType, usize)> {
    let stem = name.strip_suffix("-cert-v01@openssh.com")?;
    let kind = KeyType::ALL
        .into_iter()
        .find(|each| each.name().trim_end_matches("@openssh.com") == stem)?;
    let fields = match kind {
        KeyType::Ed25519 => 1,
        KeyType::SkEcdsaP256 => 3,
        _ => 2,
    };
    Some((kind, fields))
}

fn principals(list: &[u8]) -> Option<Vec<&str>> {
    let mut cursor = Cursor::new(list);
    let mut principals = Vec::new();
    while !cursor.is_empty() {
        principals.push(core::str::from_utf8(cursor.string()?).ok()?);
        if principals.len() > Certificate::MAX_PRINCIPALS {
            return None;
        }
    }
    Some(principals)
}

/// Names and values in ascending order of names, each once.
fn options(list: &[u8], mut each: impl FnMut(&str, &[u8]) -> Option<()>) -> Option<()> {
    let mut cursor = Cursor::new(list);
    let mut last: Option<&[u8]> = None;
    while !cursor.is_empty() {
        let name = cursor.string()?;
        if last.is_some_and(|last| last >= name) {
            return None;
        }
        last = Some(name);
        each(core::str::from_utf8(name).ok()?, cursor.string()?)?;
    }
    Some(())
}

fn critical(list: &[u8]) -> Option<Result<Critical, BadCertificate>> {
    let mut critical = Critical::default();
    let mut unknown = false;
    options(list, |name, value| {
        match name {
            "force-command" => {}
            "verify-required" if value.is_empty() => critical.verify_required = true,
            "source-address" => {
                let mut value = Cursor::new(value);
                let text = core::str::from_utf8(value.string()?).ok()?;
                let list = AddressList::of_networks(text).ok()?;
                critical.source_address = Some(list).filter(|_| value.is_empty());
                critical.source_address.as_ref()?;
            }
            _ => unknown = true,
        }
        Some(())
    })?;
    if unknown {
        return Some(Err(BadCertificate::Critical));
    }
    Some(Ok(critical))
}

fn no_touch(list: &[u8]) -> Option<bool> {
    let mut no_touch = false;
    options(list, |name, value| {
        no_touch |= name == "no-touch-required" && value.is_empty();
        Some(())
    })?;
    Some(no_touch)
}

/// Why bytes are no certificate that is taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BadCertificate {
    /// Not the bytes of a certificate.
    Malformed,
    /// Of no kind of key that is taken.
    Kind,
    /// Of a host.
    NotOfAUser,
    /// With a critical option that is not known.
    Critical,
    /// The key in it is not taken.
    Subject(BadKey),
    /// The authority's signature is not of a kind that is taken.
    Signature(BadSignature),
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the certificate is malformed"),
            Self::Kind => f.write_str("certificates of this kind are not taken"),
            Self::NotOfAUser => f.write_str("the certificate is not a user's"),
            Self::Critical => f.write_str("the certificate has a critical option not known here"),
            Self::Subject(why) => write!(f, "in the certificate: {why}"),
            Self::Signature(why) => write!(f, "of the certificate's authority: {why}"),
        }
    }
}

impl core::error::Error for BadCertificate {}
