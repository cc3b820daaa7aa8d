//! Single-packet authorization: one sealed, signed datagram that says who wants which door.
//!
//! Nothing here reads a clock, a file, a socket or a random number: time, bytes, keys and a source
//! of randomness are arguments. `docs/spa-protocol.md` describes every byte.
//!
//! | part | whose | what |
//! |---|---|---|
//! | [`client`] | the client's | build, have signed, seal, read the answer, confirm |
//! | [`site`] | the listener's | [`Site::admit`]: one hash; [`Site::unseal`]: public-key work |
//! | [`unsealed`] | between them | a message of bounded length |
//! | [`verify`](mod@verify) | the keeper's | [`verify::verify`]: who; [`Knock::judge`]: whether |
//! | [`window`] | the keeper's | each request once |
//! | [`keys`] | the keeper's | `authorized_keys`, the revocation list |
//! | [`reply`] | the keeper's | an answer that only the sender can read |
//! | [`code`] | the keeper's | codes on paper; [`code::Sieve`] is the listener's |
//! | [`ssh`] | all | OpenSSH's keys, signatures and certificates |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod block;
pub mod client;
pub mod code;
pub mod door;
pub mod keys;
pub mod reply;
pub mod request;
mod secret;
mod signed;
pub mod site;
pub mod ssh;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod unsealed;
pub mod verify;
pub mod window;
mod wire;

pub use client::{Draft, Pending, Profile, SealError};
pub use door::DoorName;
/// What randomness is asked for.
pub use hpke::rand_core;
pub use keys::{AuthorizedKey, KeyId, KeyRing, Revoked};
pub use reply::{Cookie, Outcome, Refusal, Reply};
pub use request::{Purpose, Request, Suite, UnixMillis};
pub use secret::{Exchange, ServerKey, ServerPublic, SiteKey};
pub use site::{Admitted, Epoch, EpochNumber, Site};
pub use unsealed::{Channel, Confirmation, Unsealed, UnsealedRequest};
pub use verify::{Circumstances, CookieKey, Decision, DoorRule, Knock, Servers, Unproven, verify};
pub use window::{Mark, Window};
