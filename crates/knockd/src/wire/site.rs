//! The keys of sealed packets, on their way from the keeper to the listener.

use std::fmt;

use knock_spa::{Epoch, EpochNumber, ServerKey, SiteKey};

use super::bytes::{Malformed, Reader, Writer};

/// The keys that open sealed packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// This epoch's keys.
    pub current: Keys,
    /// The keys of the one before.
    pub previous: Option<Keys>,
}

/// The keys of an epoch, both secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Keys {
    /// Its number.
    pub epoch: u32,
    /// The server's key.
    pub server: [u8; 32],
    /// The site's key.
    pub site: [u8; 32],
}

impl Site {
    pub(super) fn write(&self, to: &mut Writer) {
        self.current.write(to);
        to.option(self.previous.as_ref(), |to, keys| keys.write(to));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            current: Keys::read(from)?,
            previous: from.option(Keys::read)?,
        })
    }

    /// What opens packets.
    #[must_use]
    pub fn open(&self) -> knock_spa::Site {
        let previous = self.previous.as_ref().map(Keys::epoch);
        knock_spa::Site::new(&self.current.epoch(), previous.as_ref())
    }
}

impl Keys {
    /// Of these.
    #[must_use]
    pub fn of(epoch: &Epoch) -> Self {
        Self {
            epoch: epoch.number.0,
            server: *epoch.server.expose(),
            site: *epoch.site.expose(),
        }
    }

    fn epoch(&self) -> Epoch {
        Epoch {
            number: EpochNumber(self.epoch),
            server: ServerKey::from_bytes(self.server),
            site: SiteKey::from_bytes(self.site),
        }
    }

    fn write(&self, to: &mut Writer) {
        to.u32(self.epoch);
        to.0.extend(self.server);
        to.0.extend(self.site);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            epoch: from.u32()?,
            server: from.take()?,
            site: from.take()?,
        })
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
