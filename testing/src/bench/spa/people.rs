//! Who has a key, and what they send: the client's part, as `knock` has it.

use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::ssh::{PublicKey, Signature};
use knock_spa::{DoorName, Draft, KeyId, Pending, Profile, Purpose, Request, Suite, UnixMillis};
use knockd::spa::SystemRng;
use knockd::spa::base64::encode;

use crate::Result;

/// The door of all that is measured here.
pub(super) const DOOR: &str = "ssh";

/// Somebody with a key, whose requests each have a later time than the one before.
#[derive(Debug)]
pub(super) struct Person {
    key: SigningKey,
    last: u64,
}

/// A datagram, and what reads its answer.
pub(super) type Sealed = (Vec<u8>, Pending);

impl Person {
    /// The one with this number: the same key each time.
    pub(super) fn new(number: u32) -> Self {
        let mut seed = [7; 32];
        let places = seed.iter_mut().zip(number.to_be_bytes());
        places.for_each(|(place, byte)| *place = byte);
        Self {
            key: SigningKey::from_bytes(&seed),
            last: 0,
        }
    }

    /// The line of `authorized_keys`.
    pub(super) fn line(&self) -> String {
        format!("ssh-ed25519 {} somebody@somewhere\n", encode(&self.blob()))
    }

    /// A request of now, sealed and signed.
    pub(super) fn seal(&mut self, profile: &Profile, purpose: Purpose) -> Result<Sealed> {
        let id = self.id()?;
        self.seal_as(profile, purpose, id)
    }

    /// The same, in which the key of `name` is named, and this one signs.
    pub(super) fn seal_as(
        &mut self,
        profile: &Profile,
        purpose: Purpose,
        name: KeyId,
    ) -> Result<Sealed> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        self.last = u64::try_from(now)?.max(self.last + 1);
        let request = Request {
            suite: Suite::X25519,
            purpose,
            time: UnixMillis(self.last),
            key: name,
            door: DoorName::new(DOOR)?,
            open_for: None,
            claimed: None,
        };
        let draft = Draft::new(profile, request, &mut SystemRng)?;
        let signature = self.key.sign(&draft.to_sign()).to_bytes();
        let blob = [string(b"ssh-ed25519"), string(&signature)].concat();
        let signature = Signature::from_agent(&blob).map_err(|why| why.to_string())?;
        Ok(draft.seal(signature, None)?)
    }

    pub(super) fn id(&self) -> Result<KeyId> {
        let key = PublicKey::from_blob(&self.blob()).map_err(|why| why.to_string())?;
        Ok(key.id())
    }

    fn blob(&self) -> Vec<u8> {
        let public = self.key.verifying_key();
        [string(b"ssh-ed25519"), string(public.as_bytes())].concat()
    }
}

/// A string as SSH has them (RFC 4251, 5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}
