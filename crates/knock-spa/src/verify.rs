//! The keeper's part: whether a request is by somebody we know, and whether it is granted.
//!
//! It takes the listener's word for nothing but where a packet came from: what was signed is built
//! again, with the keeper's own copy of the server's public key and of the users' keys.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use hpke::rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::block::{BadBlock, Block};
use crate::keys::{AuthorizedKey, KeyRing, Revoked};
use crate::reply::{Cookie, Refusal};
use crate::request::{BadRequest, Purpose, Request, RequestBytes, UnixMillis};
use crate::secret::{Secret, ServerPublic, keyed_hash};
use crate::signed::message;
use crate::site::EpochNumber;
use crate::ssh::{BadCertificate, Certificate, Fido, PublicKey, Signature, sshsig};
use crate::unsealed::{Channel, Confirmation, UnsealedRequest};
use crate::window::{Mark, Window};
use crate::wire::address;

/// The server's public keys, as the keeper knows them.
#[derive(Copy, Clone, Debug)]
pub struct Servers {
    /// This epoch's.
    pub current: (EpochNumber, ServerPublic),
    /// The one's before.
    pub previous: Option<(EpochNumber, ServerPublic)>,
}

impl Servers {
    fn key(&self, epoch: EpochNumber) -> Option<&ServerPublic> {
        let mut all = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten();
        all.find_map(|(number, key)| (*number == epoch).then_some(key))
    }
}

/// A request whose signature is good, by a key or certificate of the ring. What comes of it is
/// answered, whatever it is.
#[derive(Clone, Debug)]
pub struct Knock<'a> {
    request: Request,
    bytes: RequestBytes,
    channel: &'a Channel,
    fido: Option<Fido>,
    /// The lines of the ring that have this key, or the authority of its certificate. Never empty.
    lines: Vec<&'a AuthorizedKey>,
    certificate: Option<Certificate<'a>>,
    revoked: &'a Revoked,
}

/// Verifies a request: one or two signatures, whatever the number of keys.
///
/// # Errors
/// If nobody that we know made it. It must not be answered.
pub fn verify<'a>(
    unsealed: &'a UnsealedRequest,
    servers: &Servers,
    ring: &'a KeyRing,
) -> Result<Knock<'a>, Unproven> {
    let channel = &unsealed.channel;
    let server = servers.key(channel.epoch).ok_or(Unproven::Epoch)?;
    let request = Request::from_bytes(&unsealed.request).map_err(Unproven::Request)?;
    let block = Block::from_bytes(&unsealed.block).map_err(Unproven::Block)?;
    let data = sshsig::signed_data(&message(server, &channel.enc, &unsealed.request));
    let signature = &block.signature;
    let (lines, certificate) = match block.certificate {
        None => (by_key(ring, &request, &data, signature)?, None),
        Some(bytes) => {
            let certificate = Certificate::from_blob(bytes).map_err(Unproven::Certificate)?;
            let lines = by_certificate(ring, &request, &data, signature, &certificate)?;
            (lines, Some(certificate))
        }
    };
    Ok(Knock {
        request,
        bytes: unsealed.request,
        channel,
        fido: signature.fido(),
        lines,
        certificate,
        revoked: ring.revoked(),
    })
}

/// The most keys of one name that are tried: nobody can make two, let alone more.
const SAME_NAME: usize = 4;

/// Who has the site key can send a request that gets here. By the time that it takes, he learns whether
/// there are keys of a kind, but not whose: for a name that nobody has, or whose key makes no such
/// signatures, another key's arithmetic is done.
fn by_key<'a>(
    ring: &'a KeyRing,
    request: &Request,
    data: &[u8],
    signature: &Signature,
) -> Result<Vec<&'a AuthorizedKey>, Unproven> {
    let named = ring.with_id(request.key);
    let mut tried: Vec<&PublicKey> = Vec::new();
    for line in named {
        if tried.contains(&&line.key) || tried.len() == SAME_NAME {
            continue;
        }
        if line.key.signed(data, signature) {
            return Ok(named.iter().filter(|each| each.key == line.key).collect());
        }
        tried.push(&line.key);
    }
    if !tried.iter().any(|key| key.fits(signature))
        && let Some(other) = ring.alike(signature)
    {
        core::hint::black_box(other.signed(data, signature));
    }
    Err(if tried.is_empty() {
        Unproven::UnknownKey
    } else {
        Unproven::Signature
    })
}

/// Both signatures are verified, whoever the authority is: see [`by_key`].
fn by_certificate<'a>(
    ring: &'a KeyRing,
    request: &Request,
    data: &[u8],
    signature: &Signature,
    certificate: &Certificate<'a>,
) -> Result<Vec<&'a AuthorizedKey>, Unproven> {
    if certificate.subject().id() != request.key {
        return Err(Unproven::OtherKey);
    }
    if !ring.has_authorities() {
        return Err(Unproven::UnknownKey);
    }
    let lines: Vec<_> = ring.authorities(certificate.authority()).collect();
    let authority = PublicKey::from_blob(certificate.authority());
    let made = authority.is_ok_and(|authority| certificate.is_signed_by(&authority));
    let signed = certificate.subject().signed(data, signature);
    if lines.is_empty() {
        return Err(Unproven::UnknownKey);
    }
    if made && signed {
        Ok(lines)
    } else {
        Err(Unproven::Signature)
    }
}

/// What the keeper knows besides the request.
#[derive(Copy, Clone, Debug)]
pub struct Circumstances<'a> {
    /// Where the listener says that the datagram came from.
    pub source: IpAddr,
    /// The server's clock.
    pub now: UnixMillis,
    /// The door that the request names, if there is one.
    pub door: Option<DoorRule>,
    /// The key of cookies.
    pub cookies: &'a CookieKey,
}

/// What a door wants of a request.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct DoorRule {
    /// `confirm = yes`: an address that the request does not itself name is confirmed first.
    pub confirm: bool,
}

/// What is decided.
#[derive(Clone, Debug)]
pub enum Decision<'a> {
    /// It is granted. The mark must be durable before anything is done.
    Granted {
        /// The line that allows it.
        line: &'a AuthorizedKey,
        /// What to write down.
        mark: Mark,
    },
    /// The client is to confirm the address. Nothing was remembered.
    Confirm(Cookie),
    /// It is not granted. Nothing was remembered.
    Refused(Refusal),
}

impl<'a> Knock<'a> {
    /// What is asked for.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// For the answer.
    #[must_use]
    pub const fn channel(&self) -> &'a Channel {
        self.channel
    }

    /// The certificate that it came with.
    #[must_use]
    pub const fn certificate(&self) -> Option<&Certificate<'a>> {
        self.certificate.as_ref()
    }

    /// The lines of the ring that may allow it: those of the key, or of the authority.
    #[must_use]
    pub fn lines(&self) -> &[&'a AuthorizedKey] {
        &self.lines
    }

    /// Decides. Only a granted request is remembered.
    #[must_use]
    pub fn judge(&self, here: &Circumstances<'_>, window: &mut Window) -> Decision<'a> {
        match self.try_judge(here, window) {
            Ok(decision) => decision,
            Err(refusal) => Decision::Refused(refusal),
        }
    }

    fn try_judge(
        &self,
        here: &Circumstances<'_>,
        window: &mut Window,
    ) -> Result<Decision<'a>, Refusal> {
        let Request {
            key,
            time,
            purpose,
            claimed,
            ..
        } = self.request;
        window.check(key, time, here.now)?;
        self.check_certificate(here)?;
        let source = here.source.to_canonical();
        let same_family = claimed.filter(|claimed| claimed.is_ipv4() == source.is_ipv4());
        if same_family.is_some_and(|claimed| claimed != source) {
            return Err(Refusal::AddressMismatch);
        }
        let line = self.line(here)?;
        let rule = here.door.ok_or(Refusal::UnknownDoor)?;
        if rule.confirm && same_family.is_none() && purpose == Purpose::Open {
            let cookie = here.cookies.cookie(self.channel, &self.bytes, source);
            return Ok(Decision::Confirm(cookie));
        }
        let mark = window.accept(key, time, here.now)?;
        Ok(Decision::Granted { line, mark })
    }

    /// The first line that allows it; otherwise why the first does not.
    fn line(&self, here: &Circumstances<'_>) -> Result<&'a AuthorizedKey, Refusal> {
        let mut why = None;
        for line in self.lines.iter().copied() {
            match self.check_line(line, here) {
                Ok(()) => return Ok(line),
                Err(refusal) => why = why.or(Some(refusal)),
            }
        }
        Err(why.unwrap_or(Refusal::UnknownDoor))
    }

    fn check_line(&self, line: &AuthorizedKey, here: &Circumstances<'_>) -> Result<(), Refusal> {
        let options = &line.options;
        if self.revoked.has_key(&line.key) {
            return Err(Refusal::Revoked);
        }
        if let Some(at) = options.expires.filter(|at| *at <= here.now.as_secs()) {
            return Err(Refusal::Expired(at));
        }
        if options
            .from
            .as_ref()
            .is_some_and(|from| !from.allows(here.source))
        {
            return Err(Refusal::AddressNotAllowed);
        }
        if let (Some(certificate), Some(names)) = (&self.certificate, &options.authority) {
            let mut theirs = certificate.principals().iter();
            if !theirs.any(|name| names.iter().any(|ours| **ours == **name)) {
                return Err(Refusal::Principal);
            }
        }
        self.check_touch(line)?;
        if options.gives(&self.request.door) {
            Ok(())
        } else {
            Err(Refusal::UnknownDoor)
        }
    }

    /// A security key's flags, which no signature crate looks at. As in sshd, touch is spared only
    /// if line and certificate both say so, and verification wanted if either does.
    fn check_touch(&self, line: &AuthorizedKey) -> Result<(), Refusal> {
        let of_certificate = self.certificate.as_ref();
        let spared = line.options.no_touch_required
            && of_certificate.is_none_or(Certificate::no_touch_required);
        let verify = line.options.verify_required
            || of_certificate.is_some_and(Certificate::verify_required);
        let fido = self.fido;
        if verify && !fido.is_some_and(Fido::user_verified) {
            return Err(Refusal::VerifyRequired);
        }
        if fido.is_some_and(|fido| !fido.user_present()) && !spared {
            return Err(Refusal::TouchRequired);
        }
        Ok(())
    }

    fn check_certificate(&self, here: &Circumstances<'_>) -> Result<(), Refusal> {
        let Some(certificate) = &self.certificate else {
            return Ok(());
        };
        let now = here.now.as_secs();
        if self.revoked.has_certificate(certificate) {
            return Err(Refusal::Revoked);
        }
        if now < certificate.valid_from() {
            return Err(Refusal::NotYetValid(certificate.valid_from()));
        }
        if now >= certificate.valid_before() {
            return Err(Refusal::Expired(certificate.valid_before()));
        }
        match certificate.source_address() {
            Some(list) if !list.allows(here.source) => Err(Refusal::AddressNotAllowed),
            _ => Ok(()),
        }
    }
}

/// The keeper's key of cookies: new with every start and every change of keys or doors, so that
/// nothing is confirmed that would not be asked again. With it the keeper remembers nothing of
/// those whom it has asked.
pub struct CookieKey(Secret);

impl CookieKey {
    /// A new one.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    fn cookie(&self, channel: &Channel, request: &RequestBytes, seen: IpAddr) -> Cookie {
        let (family, seen) = address::put(Some(seen));
        let epoch = channel.epoch.0.to_be_bytes();
        let parts: [&[u8]; 5] = [&epoch, &channel.enc, request, &[family], &seen];
        Cookie(keyed_hash(&self.0, &parts))
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

impl Confirmation {
    /// The request that it confirms, if the keeper has asked for that: then, and only then, it is
    /// answered. The caller looks up its door, and goes on with [`Confirmed::judge`].
    ///
    /// # Errors
    /// If the keeper never gave that cookie, or not since its last start or change.
    pub fn verify(&self, cookies: &CookieKey) -> Result<Confirmed<'_>, Unproven> {
        let cookie = cookies.cookie(&self.channel, &self.request, self.seen);
        if cookie != self.cookie {
            return Err(Unproven::Cookie);
        }
        let request = Request::from_bytes(&self.request).map_err(Unproven::Request)?;
        Ok(Confirmed {
            request,
            confirmation: self,
        })
    }
}

/// A request whose signature and line were good when the keeper asked for confirmation.
#[derive(Clone, Debug)]
pub struct Confirmed<'a> {
    request: Request,
    confirmation: &'a Confirmation,
}

impl Confirmed<'_> {
    /// What is asked for.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// For the answer.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.confirmation.channel
    }

    /// Decides. Only a granted request is remembered, and its mark must be durable before anything
    /// is done.
    ///
    /// # Errors
    /// Why it is not granted.
    pub fn judge(&self, here: &Circumstances<'_>, window: &mut Window) -> Result<Mark, Refusal> {
        if here.source.to_canonical() != self.confirmation.seen {
            return Err(Refusal::AddressMismatch);
        }
        here.door.ok_or(Refusal::UnknownDoor)?;
        window.accept(self.request.key, self.request.time, here.now)
    }
}

/// Why a request is nobody's. There is no answer to it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Unproven {
    /// Of an epoch that the keeper does not have.
    Epoch,
    /// The request is malformed.
    Request(BadRequest),
    /// The signature block is malformed.
    Block(BadBlock),
    /// The certificate is none that is taken.
    Certificate(BadCertificate),
    /// The key, or the certificate's authority, is not in the ring.
    UnknownKey,
    /// The certificate is of another key than the request names.
    OtherKey,
    /// The signature is not good.
    Signature,
    /// The cookie is not ours.
    Cookie,
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch => f.write_str("the epoch is not known"),
            Self::Request(why) => why.fmt(f),
            Self::Block(why) => why.fmt(f),
            Self::Certificate(why) => why.fmt(f),
            Self::UnknownKey => f.write_str("the key is not authorized"),
            Self::OtherKey => f.write_str("the certificate is of another key than the request"),
            Self::Signature => f.write_str("the signature is not good"),
            Self::Cookie => f.write_str("the cookie is not one of ours"),
        }
    }
}

impl core::error::Error for Unproven {}
