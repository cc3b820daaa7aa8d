//! The keys of a site, and what is derived of them. Every use of BLAKE3, HPKE and ChaCha20-Poly1305
//! is here, each with a label of its own.

use alloc::vec::Vec;
use core::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305 as HpkeAead};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::CryptoRng;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::request::Suite;

/// 32 secret bytes, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;
/// The X25519 encapsulation, with its top bit zero.
pub(crate) type Enc = [u8; 32];
/// The first bytes of a datagram.
pub(crate) type Tag = [u8; 16];
pub(crate) type Sender = AeadCtxS<HpkeAead, HkdfSha256, X25519HkdfSha256>;
pub(crate) type Receiver = AeadCtxR<HpkeAead, HkdfSha256, X25519HkdfSha256>;

type ServerSecret = <X25519HkdfSha256 as Kem>::PrivateKey;

/// How many bytes after the tag it covers at most.
const TAGGED: usize = 240;

const GATE: &str = "postern spa v1: gate tag";
const MASK: &str = "postern spa v1: mask of the encapsulation";
const PSK: &str = "postern spa v1: pre-shared key of HPKE";
const PSK_ID: &[u8] = b"postern site key";
const INFO: &[u8] = b"postern spa";
const EXPORT: &[u8] = b"postern spa v1: answers";

/// The secret of a site, which every client of it has: without it a datagram is noise.
#[derive(Clone)]
pub struct SiteKey(Secret);

impl SiteKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new one.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// The 32 bytes: for the server's files and the clients' profiles, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn derive(&self) -> SiteSecrets {
        let of = |label| Zeroizing::new(blake3::derive_key(label, self.0.as_ref()));
        SiteSecrets {
            gate: of(GATE),
            mask: of(MASK),
            psk: of(PSK),
        }
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteKey(..)")
    }
}

/// The server's X25519 key: only the listener needs it.
#[derive(Clone)]
pub struct ServerKey(Secret);

impl ServerKey {
    /// Takes the 32 bytes; any will do (RFC 7748, section 5).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new one.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// The 32 bytes, for the server's file.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What clients and the keeper have of it.
    #[must_use]
    pub fn public(&self) -> ServerPublic {
        let public = self
            .decode()
            .map(|secret| X25519HkdfSha256::sk_to_pk(&secret));
        ServerPublic(public.map_or([0; 32], |public| public.to_bytes().into()))
    }

    /// Any 32 bytes are a key, so never `None`.
    pub(crate) fn decode(&self) -> Option<ServerSecret> {
        ServerSecret::from_bytes(self.0.as_ref()).ok()
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(..)")
    }
}

/// The server's public key.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServerPublic(pub [u8; 32]);

/// What a site key is used for.
#[derive(Clone)]
pub(crate) struct SiteSecrets {
    gate: Secret,
    mask: Secret,
    psk: Secret,
}

impl SiteSecrets {
    /// The tag over the length and the first 240 bytes after it: a stranger's longest datagram
    /// costs no more than the shortest. Everything is under the seal in any case.
    pub(crate) fn tag(&self, rest: &[u8]) -> Tag {
        let length = u16::try_from(16 + rest.len()).unwrap_or(u16::MAX);
        let covered = rest.get(..TAGGED).unwrap_or(rest);
        let mut input = [0; 2 + TAGGED];
        let (head, body) = input.split_at_mut(2);
        head.copy_from_slice(&length.to_be_bytes());
        if let Some(body) = body.get_mut(..covered.len()) {
            body.copy_from_slice(covered);
        }
        let input = input.get(..2 + covered.len()).unwrap_or_default();
        first(blake3::keyed_hash(&self.gate, input))
    }

    pub(crate) fn tag_is_good(&self, tag: &Tag, rest: &[u8]) -> bool {
        self.tag(rest).ct_eq(tag).into()
    }

    /// Hides that an encapsulation is a point of a curve, or takes that off again: XOR with a
    /// keyed hash of the 32 bytes that follow it, which never come twice.
    pub(crate) fn mask(&self, enc: &mut Enc, following: &[u8; 32]) {
        let hash = blake3::keyed_hash(&self.mask, following);
        enc.iter_mut()
            .zip(hash.as_bytes())
            .for_each(|(to, with)| *to ^= with);
    }

    fn psk(&self) -> Option<PskBundle<'_>> {
        PskBundle::new(self.psk.as_ref(), PSK_ID).ok()
    }

    /// `None` if the server's key is none.
    pub(crate) fn sender(
        &self,
        suite: Suite,
        server: &ServerPublic,
        rng: &mut impl CryptoRng,
    ) -> Option<(Enc, Sender)> {
        let server = Deserializable::from_bytes(&server.0).ok()?;
        let mode = OpModeS::Psk(self.psk()?);
        let (enc, context) = hpke::setup_sender_with_rng(&mode, &server, &info(suite), rng).ok()?;
        let enc: <X25519HkdfSha256 as Kem>::EncappedKey = enc;
        Some((enc.to_bytes().into(), context))
    }

    /// `None` if no secret comes of this encapsulation.
    pub(crate) fn receiver(
        &self,
        suite: Suite,
        server: &ServerSecret,
        enc: &Enc,
    ) -> Option<Receiver> {
        let enc = Deserializable::from_bytes(enc).ok()?;
        let mode = OpModeR::Psk(self.psk()?);
        hpke::setup_receiver(&mode, server, &enc, &info(suite)).ok()
    }
}

/// The HPKE `info`.
fn info(suite: Suite) -> Vec<u8> {
    let mut info = INFO.to_vec();
    info.push(suite.number());
    info
}

fn first(hash: blake3::Hash) -> Tag {
    let mut tag = [0; 16];
    tag.iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    tag
}

/// The secret of one exchange, of the HPKE exporter: what follows the request is sealed with keys
/// of it, each with a salt of its own, because one request may be sent twice and answered twice.
#[derive(Clone)]
pub struct Exchange(Secret);

impl Exchange {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn of_sender(context: &Sender) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        context.export(EXPORT, secret.as_mut()).ok()?;
        Some(Self(secret))
    }

    pub(crate) fn of_receiver(context: &Receiver) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        context.export(EXPORT, secret.as_mut()).ok()?;
        Some(Self(secret))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self, use_: Use, salt: &Tag) -> ChaCha20Poly1305 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(use_.label()).update(salt);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        ChaCha20Poly1305::new(&(*key).into())
    }

    /// Seals once with a key of its own, so the nonce is zero.
    pub(crate) fn seal(&self, use_: Use, salt: &Tag, plain: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: plain, aad };
        self.cipher(use_, salt)
            .encrypt(&Nonce::default(), payload)
            .ok()
    }

    pub(crate) fn open(&self, use_: Use, salt: &Tag, sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed, aad };
        self.cipher(use_, salt)
            .decrypt(&Nonce::default(), payload)
            .ok()
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange(..)")
    }
}

/// What a key of an exchange seals.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Use {
    Reply,
    Confirm,
}

impl Use {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Reply => b"reply",
            Self::Confirm => b"confirm",
        }
    }
}

/// A fresh salt.
pub(crate) fn salt(rng: &mut impl CryptoRng) -> Tag {
    let mut salt = [0; 16];
    rng.fill_bytes(&mut salt);
    salt
}

/// A keyed hash of several parts of fixed length, cut to 16 bytes.
pub(crate) fn keyed_hash(key: &Secret, parts: &[&[u8]]) -> Tag {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    first(hasher.finalize())
}
