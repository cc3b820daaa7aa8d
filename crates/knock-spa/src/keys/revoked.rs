//! The revocation list: the text that `ssh-keygen -k` makes its lists of (KEY REVOCATION LISTS in
//! ssh-keygen(1)). Serial numbers and names count for every authority.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::option::words;
use super::reader::{Mistake, Problem, Report};
use crate::ssh::{Certificate, PublicKey, base64};

/// With what a list begins that `ssh-keygen -k` has made (`PROTOCOL.krl` of OpenSSH).
const BINARY: &[u8] = b"SSHKRL\n\0";

/// What was taken back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revoked {
    /// SHA-256 of the bytes of a key.
    keys: BTreeSet<[u8; 32]>,
    /// First and last, ascending by first.
    serials: Vec<(u64, u64)>,
    names: BTreeSet<Box<str>>,
}

impl Revoked {
    /// The most lines of one list; each after them is a mistake.
    pub const MAX: usize = 262_144;

    /// Reads a list, a line each: `serial: N`, `serial: N-M`, `id: NAME`, a public key, alone or after
    /// `key:`, `sha256:` or `sha1:`, or its fingerprint, alone or after `hash:` or `sha256:`. A list with
    /// a mistake should not be used: it may not name what it was to name.
    ///
    /// # Errors
    /// All mistakes.
    pub fn read(text: &[u8]) -> Result<Self, Vec<Mistake>> {
        let mut report = Report::default();
        if text.starts_with(BINARY) {
            report.binary(0..text.len());
            return report.into_result().map(|()| Self::default());
        }
        let mut revoked = Self::default();
        let mut lines = 0;
        for line in report.lines(text) {
            let Some(content) = report.text(&line) else {
                continue;
            };
            lines += 1;
            if lines > Self::MAX {
                report.wrong(&line, 0..content.len(), Problem::TooMany);
                break;
            }
            if let Err(problem) = revoked.line(content) {
                report.wrong(&line, 0..content.len(), problem);
            }
        }
        revoked.serials.sort_unstable();
        report.into_result().map(|()| revoked)
    }

    fn line(&mut self, line: &str) -> Result<(), Problem> {
        match line.split_once(':').map(|(what, rest)| (what, rest.trim())) {
            Some(("serial", range)) => {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| serial(text.trim()).ok_or(Problem::Serial);
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(Problem::Serial);
                }
                self.serials.push((first, last));
            }
            Some(("id", name)) => {
                self.names.insert(name.into());
            }
            Some(("SHA256", _)) => self.fingerprint(line)?,
            Some(("hash", hash)) => self.fingerprint(hash)?,
            // ssh-keygen's own is the key after both, of which it keeps a hash.
            Some(("sha256", hash)) if hash.starts_with("SHA256:") => self.fingerprint(hash)?,
            Some(("key" | "sha256", key)) => self.key(key)?,
            Some(("sha1", key)) => self.key(key).map_err(|problem| match problem {
                Problem::NotARevocation => Problem::Sha1,
                other => other,
            })?,
            _ => self.key(line)?,
        }
        Ok(())
    }

    /// As `ssh-keygen -l` writes it, or, in hexadecimal, `ssh-keygen -Q -l`, which lets a comment follow.
    fn fingerprint(&mut self, text: &str) -> Result<(), Problem> {
        let mut words = words(text);
        let digits = words.next().and_then(|word| word.strip_prefix("SHA256:"));
        let digits = digits.ok_or(Problem::Hash)?;
        if words.next().is_some_and(|word| !word.starts_with('#')) {
            return Err(Problem::Hash);
        }
        let bytes = if digits.len() == 64 {
            hexadecimal(digits)
        } else {
            let padded = String::from(digits) + "=";
            base64::decode(padded.as_bytes())
        };
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        self.keys.insert(hash.ok_or(Problem::Hash)?);
        Ok(())
    }

    fn key(&mut self, text: &str) -> Result<(), Problem> {
        let mut words = words(text);
        let (Some(name), Some(digits)) = (words.next(), words.next()) else {
            return Err(Problem::NotARevocation);
        };
        let key = super::reader::key(name, digits)?;
        self.keys.insert(key.sha256());
        Ok(())
    }

    /// Whether a key was taken back.
    #[must_use]
    pub fn has_key(&self, key: &PublicKey) -> bool {
        !self.keys.is_empty() && self.keys.contains(&key.sha256())
    }

    /// Whether a certificate, or the key in it, was taken back.
    #[must_use]
    pub fn has_certificate(&self, certificate: &Certificate<'_>) -> bool {
        let serial = certificate.serial();
        let numbered = serial != 0
            && self
                .serials
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&serial));
        numbered || self.names.contains(certificate.key_id()) || self.has_key(certificate.subject())
    }
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(value(high)? << 4 | value(low)?).ok();
    pairs.iter().map(byte).collect()
}

/// Decimal, or hexadecimal after `0x`; not 0, which stands for no number.
fn serial(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|serial| *serial != 0)
}
