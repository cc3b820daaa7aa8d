//! What the listener hands to the keeper: a message of bounded length, of which the keeper
//! believes nothing but what it verifies.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::block::Block;
use crate::reply::Cookie;
use crate::request::{Request, RequestBytes};
use crate::secret::{Enc, Exchange, Tag};
use crate::site::EpochNumber;
use crate::wire::{Cursor, address, is_zero};

/// What was in a datagram.
#[derive(Clone, Debug)]
pub enum Unsealed {
    /// A request and its signature.
    Request(UnsealedRequest),
    /// The answer to a question for confirmation.
    Confirmation(Confirmation),
}

/// What belongs to one exchange: enough to rebuild what was signed, and to seal an answer.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The epoch whose keys fitted.
    pub epoch: EpochNumber,
    pub(crate) tag: Tag,
    pub(crate) enc: Enc,
    pub(crate) exchange: Exchange,
}

/// A request that nobody has believed yet.
#[derive(Clone, Debug)]
pub struct UnsealedRequest {
    pub(crate) channel: Channel,
    pub(crate) request: RequestBytes,
    pub(crate) block: Box<[u8]>,
}

/// A confirmation that nobody has believed yet.
#[derive(Clone, Debug)]
pub struct Confirmation {
    pub(crate) channel: Channel,
    pub(crate) request: RequestBytes,
    pub(crate) cookie: Cookie,
    pub(crate) seen: IpAddr,
}

impl UnsealedRequest {
    /// For the answer.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Confirmation {
    /// Bytes of it that are sealed.
    pub(crate) const PLAIN: usize = 128;

    /// For the answer.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn from_plain(channel: Channel, plain: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let request = cursor.array()?;
        let cookie = Cookie(cursor.array()?);
        let family = cursor.u8()?;
        let seen = address::take(family, cursor.array()?)??;
        (plain.len() == Self::PLAIN && is_zero(cursor.rest())).then_some(Self {
            channel,
            request,
            cookie,
            seen,
        })
    }

    pub(crate) fn plain(request: &RequestBytes, cookie: Cookie, seen: IpAddr) -> Vec<u8> {
        let (family, seen) = address::put(Some(seen));
        let mut plain = Vec::with_capacity(Self::PLAIN);
        plain.extend(request);
        plain.extend(cookie.0);
        plain.push(family);
        plain.extend(seen);
        plain.resize(Self::PLAIN, 0);
        plain
    }
}

impl Unsealed {
    /// Bytes before the two halves of a request.
    const HEAD: usize = 1 + 4 + 16 + 32 + 32;
    /// The longest message, in bytes.
    pub const MAX: usize = Self::HEAD + Request::LENGTH + Block::MAX;

    /// For the answer.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        match self {
            Self::Request(request) => &request.channel,
            Self::Confirmation(confirmation) => &confirmation.channel,
        }
    }

    /// The message from the listener to the keeper. It carries the secret of one exchange.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Channel {
            epoch,
            tag,
            enc,
            exchange,
        } = self.channel();
        let mut out = Vec::with_capacity(Self::MAX);
        out.push(match self {
            Self::Request(_) => 1,
            Self::Confirmation(_) => 2,
        });
        out.extend(epoch.0.to_be_bytes());
        out.extend(tag);
        out.extend(enc);
        out.extend(exchange.expose());
        match self {
            Self::Request(request) => {
                out.extend(request.request);
                out.extend(&request.block);
            }
            Self::Confirmation(Confirmation {
                request,
                cookie,
                seen,
                ..
            }) => {
                out.extend(Confirmation::plain(request, *cookie, *seen));
            }
        }
        out
    }

    /// Reads such a message. The block of a request is looked at only when it is verified.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MAX {
            return None;
        }
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.u8()?;
        let channel = Channel {
            epoch: EpochNumber(cursor.u32()?),
            tag: cursor.array()?,
            enc: cursor.array()?,
            exchange: Exchange::from_bytes(cursor.array()?),
        };
        match kind {
            1 => Some(Self::Request(UnsealedRequest {
                channel,
                request: cursor.array()?,
                block: Box::from(cursor.rest()),
            })),
            2 => Confirmation::from_plain(channel, cursor.rest()).map(Self::Confirmation),
            _ => None,
        }
    }
}
