//! The revocation list: the text that `ssh-keygen -k` makes its lists of (KEY REVOCATION LISTS in
//! ssh-keygen(1)). Serial numbers and names count for every authority.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::option::words;
use super::reader::{Mistake, Problem, Report};
use crate::ssh::{Certificate, PublicKey, base64};

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

    /// Reads a list, a line each: `serial: N`, `serial: N-M`, `id: NAME`, `key: KEY`,
    /// `sha256: SHA256:…`, `hash: SHA256:…`, or just a public key. A list with a mistake should
    /// not be used: it may not name what it was to name.
    ///
    /// # Errors
    /// All mistakes.
    pub fn read(text: &[u8]) -> Result<Self, Vec<Mistake>> {
        let mut report = Report::default();
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
            Some(("key", key)) => self.key(key)?,
            Some(("sha256" | "hash", hash)) => {
                let digits = hash.strip_prefix("SHA256:").ok_or(Problem::Hash)?;
                let padded = String::from(digits) + "=";
                let bytes = base64::decode(padded.as_bytes()).ok_or(Problem::Hash)?;
                self.keys
                    .insert(bytes.try_into().map_err(|_| Problem::Hash)?);
            }
            Some(("sha1", _)) => return Err(Problem::Sha1),
            _ => self.key(line)?,
        }
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
