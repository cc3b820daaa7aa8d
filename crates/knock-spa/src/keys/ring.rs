//! The keys by their short names.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{AddressList, KeyId, Revoked};
use crate::door::DoorName;
use crate::ssh::{PublicKey, Signature};

/// One line of `authorized_keys`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizedKey {
    /// The key, or the authority's.
    pub key: PublicKey,
    /// What the line says before the key.
    pub options: Options,
    /// What it says after: who that is, for the log.
    pub comment: Box<str>,
    /// The line's number, from 1.
    pub line: u32,
    /// Which file, by the caller's count.
    pub file: u16,
}

/// The options of a line that mean something here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// `from=`: from where it may be used.
    pub from: Option<AddressList>,
    /// `expiry-time=`: the second since 1970 at which it ends.
    pub expires: Option<u64>,
    /// `cert-authority` and `principals=`: it signs certificates, and for whom.
    pub authority: Option<Box<[Box<str>]>>,
    /// `verify-required`: a security key must know who touches it.
    pub verify_required: bool,
    /// `no-touch-required`: a security key need not be touched.
    pub no_touch_required: bool,
    /// `doors=`: only these; `None`: all.
    pub doors: Option<Box<[DoorName]>>,
}

impl Options {
    /// Whether this line gives this door.
    #[must_use]
    pub fn gives(&self, door: &DoorName) -> bool {
        self.doors.as_ref().is_none_or(|doors| doors.contains(door))
    }
}

/// All keys, looked up by name: a search by halves, the same for ten keys or ten thousand.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Box<[AuthorizedKey]>,
    /// The place of one key of each kind and length.
    each_kind: Box<[usize]>,
    authorities: Box<[AuthorizedKey]>,
    revoked: Revoked,
}

impl KeyRing {
    /// The most lines that one ring takes. More are left out by [`super::read`], each a mistake.
    pub const MAX: usize = 65_536;

    /// A ring of these keys. Lines with one key stay in their order: the first that fits counts.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = AuthorizedKey>, revoked: Revoked) -> Self {
        let (mut authorities, mut plain): (Vec<_>, Vec<_>) = keys
            .into_iter()
            .take(Self::MAX)
            .partition(|line| line.options.authority.is_some());
        authorities.sort_by_key(|line| line.key.id());
        plain.sort_by_key(|line| line.key.id());
        let mut each_kind: Vec<usize> = Vec::new();
        let look = |line: &AuthorizedKey| (line.key.kind(), line.key.modulus());
        for (place, line) in plain.iter().enumerate() {
            let mut known = each_kind.iter().filter_map(|known| plain.get(*known));
            if !known.any(|known| look(known) == look(line)) {
                each_kind.push(place);
            }
        }
        Self {
            each_kind: each_kind.into_boxed_slice(),
            keys: plain.into_boxed_slice(),
            authorities: authorities.into_boxed_slice(),
            revoked,
        }
    }

    /// How many lines there are, authorities among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() + self.authorities.len()
    }

    /// Whether nobody may knock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All lines: keys by their names, then authorities by theirs.
    pub fn lines(&self) -> impl Iterator<Item = &AuthorizedKey> {
        self.keys.iter().chain(&self.authorities)
    }

    /// What was taken back.
    #[must_use]
    pub const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// The lines whose key has this name.
    pub(crate) fn with_id(&self, id: KeyId) -> &[AuthorizedKey] {
        range(&self.keys, id)
    }

    /// Some key that such a signature may be of, whoever has it.
    pub(crate) fn alike(&self, signature: &Signature) -> Option<&PublicKey> {
        let mut keys = self
            .each_kind
            .iter()
            .filter_map(|place| self.keys.get(*place));
        let found = keys.find(|line| line.key.fits(signature));
        found.map(|line| &line.key)
    }

    /// Whether some certificates are taken.
    pub(crate) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// The authorities with exactly these bytes.
    pub(crate) fn authorities<'a>(
        &'a self,
        blob: &'a [u8],
    ) -> impl Iterator<Item = &'a AuthorizedKey> + Clone {
        let same = range(&self.authorities, KeyId::of(blob)).iter();
        same.filter(move |line| line.key.blob() == blob)
    }
}

fn range(lines: &[AuthorizedKey], id: KeyId) -> &[AuthorizedKey] {
    let start = lines.partition_point(|line| line.key.id() < id);
    let rest = lines.get(start..).unwrap_or_default();
    let count = rest.partition_point(|line| line.key.id() == id);
    rest.get(..count).unwrap_or_default()
}
