//! The arithmetic of signatures, by the crate `ssh-key`: it is named nowhere else.
//!
//! What it leaves to its caller is done elsewhere: a security key's flags in `verify.rs` of this
//! crate; lengths and RSA sizes before it is called, in `key.rs`; SHA-1 is not compiled in.
//! Its Ed25519 takes a few signatures that a strict verifier would not, so nothing here may ever
//! take a signature's bytes for its name (see `window.rs`).

use ssh_key::public::KeyData;
use ssh_key::{Algorithm as SshAlgorithm, EcdsaCurve, HashAlg};

use super::signature::{Algorithm, Signature};

fn decode(blob: &[u8]) -> Option<KeyData> {
    ssh_key::PublicKey::from_bytes(blob)
        .ok()
        .map(|key| key.key_data().clone())
}

/// Whether the bytes are a key.
pub(super) fn understands(blob: &[u8]) -> bool {
    decode(blob).is_some_and(|data| !data.is_certificate() && !data.is_other())
}

/// Whether the key with these bytes signed `data`.
pub(super) fn is_good(blob: &[u8], data: &[u8], signature: &Signature) -> bool {
    #[cfg(test)]
    count::one();
    let good = || {
        let key = decode(blob)?;
        let signature =
            ssh_key::Signature::new(algorithm(signature.algorithm()), signature.to_ssh()).ok()?;
        signature::Verifier::verify(&key, data, &signature).ok()
    };
    good().is_some()
}

const fn algorithm(algorithm: Algorithm) -> SshAlgorithm {
    match algorithm {
        Algorithm::Ed25519 => SshAlgorithm::Ed25519,
        Algorithm::EcdsaP256 => SshAlgorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::EcdsaP384 => SshAlgorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::EcdsaP521 => SshAlgorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
        Algorithm::RsaSha256 => SshAlgorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        },
        Algorithm::RsaSha512 => SshAlgorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        Algorithm::SkEd25519 => SshAlgorithm::SkEd25519,
        Algorithm::SkEcdsaP256 => SshAlgorithm::SkEcdsaSha2NistP256,
    }
}

/// How often a signature was verified on this thread.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    std::thread_local!(static DONE: Cell<u32> = const { Cell::new(0) });

    pub(super) fn one() {
        DONE.set(DONE.get() + 1);
    }

    /// How often while this was done.
    pub(crate) fn during(what: impl FnOnce()) -> u32 {
        let before = DONE.get();
        what();
        DONE.get() - before
    }
}
