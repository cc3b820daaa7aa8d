//! The client's part: build, have it signed, seal, and read what comes back.

use alloc::vec::Vec;
use core::fmt;

use hpke::rand_core::CryptoRng;

use crate::block::{BadBlock, Block};
use crate::reply::{BadReply, Outcome, Reply};
use crate::request::{Request, RequestBytes};
use crate::secret::{Enc, Exchange, Sender, ServerPublic, SiteKey, SiteSecrets, Use, salt};
use crate::signed::message;
use crate::site::{AEAD_TAG, EpochNumber, HEAD, LENGTHS};
use crate::ssh::{Signature, sshsig};
use crate::unsealed::{Channel, Confirmation};

/// What a client knows of a site.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The server's key.
    pub server: ServerPublic,
    /// The site's key.
    pub site: SiteKey,
}

/// A request that is yet to be signed.
pub struct Draft {
    secrets: SiteSecrets,
    server: ServerPublic,
    enc: Enc,
    context: Sender,
    request: Request,
}

impl Draft {
    /// Begins a request. Its time should be now, and its key the one that will sign.
    ///
    /// # Errors
    /// If the profile's server key is none.
    pub fn new(
        profile: &Profile,
        request: Request,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SealError> {
        let secrets = profile.site.derive();
        let (enc, context) = secrets
            .sender(request.suite, &profile.server, rng)
            .ok_or(SealError::ServerKey)?;
        Ok(Self {
            secrets,
            server: profile.server,
            enc,
            context,
            request,
        })
    }

    /// What is signed over: the file that `ssh-keygen -Y sign -n knock@postern` is given.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        message(&self.server, &self.enc, &self.request.to_bytes())
    }

    /// What an agent is asked to sign, for RSA with flag 4 (SHA-512) or 2 (SHA-256).
    #[must_use]
    pub fn to_sign(&self) -> Vec<u8> {
        sshsig::signed_data(&self.message())
    }

    /// Seals it: the datagram, and what is needed to read the answer.
    ///
    /// # Errors
    /// If signature and certificate do not fit a datagram.
    pub fn seal(
        mut self,
        signature: Signature,
        certificate: Option<&[u8]>,
    ) -> Result<(Vec<u8>, Pending), SealError> {
        let block = Block {
            signature,
            certificate,
        };
        let request = self.request.to_bytes();
        let mut plain = request.to_vec();
        plain.extend(block.to_bytes().map_err(SealError::Block)?);
        let overhead = HEAD + AEAD_TAG;
        let length = LENGTHS
            .into_iter()
            .find(|length| plain.len() + overhead <= *length)
            .ok_or(SealError::Block(BadBlock::TooLong(plain.len())))?;
        plain.resize(length - overhead, 0);
        let exchange = Exchange::of_sender(&self.context).ok_or(SealError::ServerKey)?;
        let sealed = self
            .context
            .seal(&plain, b"")
            .map_err(|_| SealError::ServerKey)?;
        let (datagram, tag) = frame(&self.secrets, self.enc, &sealed);
        let channel = Channel {
            // The client knows no other than its profile's, and never says which.
            epoch: EpochNumber(0),
            tag,
            enc: self.enc,
            exchange,
        };
        let pending = Pending {
            secrets: self.secrets,
            channel,
            request,
        };
        Ok((datagram, pending))
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// Masks the encapsulation and puts the tag before it.
fn frame(secrets: &SiteSecrets, mut enc: Enc, sealed: &[u8]) -> (Vec<u8>, [u8; 16]) {
    if let Some(following) = sealed.first_chunk() {
        secrets.mask(&mut enc, following);
    }
    let mut rest = enc.to_vec();
    rest.extend(sealed);
    let tag = secrets.tag(&rest);
    let mut datagram = tag.to_vec();
    datagram.extend(rest);
    (datagram, tag)
}

/// A datagram that was sent and may be answered.
pub struct Pending {
    secrets: SiteSecrets,
    channel: Channel,
    request: RequestBytes,
}

impl Pending {
    /// Opens an answer. It may be called with whatever arrives.
    ///
    /// # Errors
    /// If it is no answer to this datagram: keep listening.
    pub fn open(&self, datagram: &[u8]) -> Result<Reply, BadReply> {
        Reply::open(datagram, &self.channel)
    }

    /// Confirms the address that the server saw: a datagram of 208 bytes, and what is needed to
    /// read its answer. `None` if the reply asks for no confirmation.
    #[must_use]
    pub fn confirm(&self, reply: &Reply, rng: &mut impl CryptoRng) -> Option<(Vec<u8>, Self)> {
        let Outcome::Confirm(cookie) = reply.outcome else {
            return None;
        };
        let salt = salt(rng);
        let plain = Confirmation::plain(&self.request, cookie, reply.seen);
        let sealed = self
            .channel
            .exchange
            .seal(Use::Confirm, &salt, &plain, b"")?;
        let mut rest = salt.to_vec();
        rest.extend(sealed);
        let (datagram, tag) = frame(&self.secrets, self.channel.enc, &rest);
        let channel = Channel {
            tag,
            ..self.channel.clone()
        };
        let pending = Self {
            secrets: self.secrets.clone(),
            channel,
            request: self.request,
        };
        Some((datagram, pending))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending(..)")
    }
}

/// Why a request cannot be sealed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SealError {
    /// The server's key is none.
    ServerKey,
    /// Signature and certificate do not fit.
    Block(BadBlock),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerKey => f.write_str("the profile's server key is none"),
            Self::Block(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for SealError {}
