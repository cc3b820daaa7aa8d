//! The listener's part: which datagrams are worth public-key work, and what is in those.
//!
//! ```text
//!  0  16  tag     keyed BLAKE3, 128 bits, over the length and up to 240 bytes that follow
//! 16  32  enc     the X25519 encapsulation, masked
//! 48   n  sealed  the request, the signature block, zeros up to one of four lengths
//! ```

use alloc::boxed::Box;
use core::fmt;

use crate::request::{Request, Suite};
use crate::secret::{Enc, Exchange, ServerKey, SiteKey, SiteSecrets, Tag, Use};
use crate::unsealed::{Channel, Confirmation, Unsealed, UnsealedRequest};
use crate::wire::Cursor;

/// The lengths that the datagram of a request can have.
pub const LENGTHS: [usize; 4] = [256, 448, 704, 1184];
/// The length of a confirmation.
pub const CONFIRM_LENGTH: usize = 208;
/// The length of a reply: shorter than anything that it answers.
pub const REPLY_LENGTH: usize = 160;

/// Bytes before what is sealed.
pub(crate) const HEAD: usize = 48;
/// Bytes that sealing adds.
pub(crate) const AEAD_TAG: usize = 16;
/// The most that can be sealed.
pub(crate) const SEALED_MAX: usize = 1184 - HEAD - AEAD_TAG;

/// The number of a pair of server key and site key; the next pair has the next number.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EpochNumber(pub u32);

/// The keys of one epoch.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Its number.
    pub number: EpochNumber,
    /// The server's key.
    pub server: ServerKey,
    /// The site's key.
    pub site: SiteKey,
}

struct Held {
    number: EpochNumber,
    server: ServerKey,
    secrets: SiteSecrets,
}

impl Held {
    fn new(epoch: &Epoch) -> Self {
        Self {
            number: epoch.number,
            server: epoch.server.clone(),
            secrets: epoch.site.derive(),
        }
    }
}

/// What a listener holds: the keys of this epoch and of the one before.
pub struct Site {
    current: Held,
    previous: Option<Held>,
}

impl Site {
    /// A site with these keys.
    #[must_use]
    pub fn new(current: &Epoch, previous: Option<&Epoch>) -> Self {
        Self {
            current: Held::new(current),
            previous: previous.map(Held::new),
        }
    }

    /// Whether a datagram comes from somebody who has a site key of ours: one hash for each epoch,
    /// however many keys there are, and no other work. Anybody may ask.
    #[must_use]
    pub fn tag_is_good(&self, datagram: &[u8]) -> bool {
        self.admit(datagram).is_some()
    }

    /// The same, and remembers the epoch: what [`Site::unseal`] wants. Between the two, the
    /// caller's token buckets.
    #[must_use]
    pub fn admit<'a>(&'a self, datagram: &'a [u8]) -> Option<Admitted<'a>> {
        let kind = match datagram.len() {
            CONFIRM_LENGTH => Kind::Confirm,
            length if LENGTHS.contains(&length) => Kind::Request,
            _ => return None,
        };
        let (tag, rest) = datagram.split_first_chunk()?;
        let epochs = [Some(&self.current), self.previous.as_ref()];
        let held = epochs
            .into_iter()
            .flatten()
            .find(|held| held.secrets.tag_is_good(tag, rest))?;
        Some(Admitted {
            held,
            tag: *tag,
            rest,
            kind,
        })
    }

    /// Opens what was let in: one X25519 and some hashing.
    ///
    /// # Errors
    /// If it is not sealed for this server, or with another site key.
    pub fn unseal(admitted: &Admitted<'_>) -> Result<Unsealed, NotForUs> {
        admitted.unseal().ok_or(NotForUs)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("current", &self.current.number)
            .field("previous", &self.previous.as_ref().map(|held| held.number))
            .finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug)]
enum Kind {
    Request,
    Confirm,
}

/// A datagram whose tag is good.
#[derive(Copy, Clone)]
pub struct Admitted<'a> {
    held: &'a Held,
    tag: Tag,
    rest: &'a [u8],
    kind: Kind,
}

impl fmt::Debug for Admitted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("epoch", &self.held.number)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Admitted<'_> {
    fn unseal(&self) -> Option<Unsealed> {
        let suite = Suite::X25519;
        let Held {
            number,
            server,
            secrets,
        } = self.held;
        let (masked, sealed) = self.rest.split_first_chunk::<32>()?;
        let mut enc: Enc = *masked;
        secrets.mask(&mut enc, sealed.first_chunk()?);
        // X25519 does not look at the top bit, so one packet would have two names.
        if enc.last()? & 0x80 != 0 {
            return None;
        }
        let mut context = secrets.receiver(suite, &server.decode()?, &enc)?;
        let channel = Channel {
            epoch: *number,
            tag: self.tag,
            enc,
            exchange: Exchange::of_receiver(&context)?,
        };
        match self.kind {
            Kind::Request => {
                let plain = context.open(sealed, b"").ok()?;
                let (request, block) = plain.split_first_chunk::<{ Request::LENGTH }>()?;
                Some(Unsealed::Request(UnsealedRequest {
                    channel,
                    request: *request,
                    block: Box::from(block),
                }))
            }
            Kind::Confirm => {
                let mut cursor = Cursor::new(sealed);
                let salt = cursor.array()?;
                let plain = channel
                    .exchange
                    .open(Use::Confirm, &salt, cursor.rest(), b"")?;
                let confirmation = Confirmation::from_plain(channel, &plain)?;
                Some(Unsealed::Confirmation(confirmation))
            }
        }
    }
}

/// A datagram with a good tag that cannot be opened.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NotForUs;

impl fmt::Display for NotForUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sealed for this server and site")
    }
}

impl core::error::Error for NotForUs {}
