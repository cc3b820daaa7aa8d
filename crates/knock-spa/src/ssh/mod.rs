//! What this protocol takes over from OpenSSH: keys, signatures and certificates as bytes.
//!
//! `verify.rs` is the only place that knows which crate does the arithmetic.

pub(crate) mod base64;
pub mod certificate;
pub mod key;
pub mod signature;
pub mod sshsig;
mod verify;

pub use certificate::{BadCertificate, Certificate};
pub use key::{BadKey, KeyType, PublicKey};
pub use signature::{Algorithm, BadSignature, Fido, Signature};

#[cfg(test)]
pub(crate) use verify::count;
