//! SSHSIG, OpenSSH's `PROTOCOL.sshsig`: what is signed, so that a signature for a knock is good for
//! nothing else, and no other signature is good for a knock.

use alloc::vec::Vec;

use sha2::{Digest, Sha512};

use super::base64;
use super::signature::{BadSignature, Signature};
use crate::wire::{Cursor, put_string};

/// The namespace of `ssh-keygen -Y sign -n`.
pub const NAMESPACE: &str = "knock@postern";

const MAGIC: &[u8; 6] = b"SSHSIG";
const HASH: &[u8] = b"sha512";

/// What the key signs, for `message`: 117 bytes.
#[must_use]
pub fn signed_data(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(117);
    out.extend(MAGIC);
    put_string(&mut out, NAMESPACE.as_bytes());
    put_string(&mut out, b"");
    put_string(&mut out, HASH);
    put_string(&mut out, &Sha512::digest(message));
    out
}

/// Takes the signature out of what `ssh-keygen -Y sign` writes, armoured.
///
/// # Errors
/// If it is malformed, for another namespace, or over another hash than SHA-512.
pub fn from_armored(text: &str) -> Result<Signature, BadSignature> {
    let inner = text
        .trim()
        .strip_prefix("-----BEGIN SSH SIGNATURE-----")
        .and_then(|rest| rest.strip_suffix("-----END SSH SIGNATURE-----"))
        .ok_or(BadSignature::Malformed)?;
    let digits: Vec<u8> = inner.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    from_blob(&base64::decode(&digits).ok_or(BadSignature::Malformed)?)
}

/// The same of the bytes within the armour.
///
/// # Errors
/// As [`from_armored`].
pub fn from_blob(blob: &[u8]) -> Result<Signature, BadSignature> {
    let mut cursor = Cursor::new(blob);
    let head = (cursor.array(), cursor.u32());
    let fields = [(); 5].map(|()| cursor.string());
    match fields {
        [
            Some(_key),
            Some(namespace),
            Some(_),
            Some(hash),
            Some(signature),
        ] if head == (Some(*MAGIC), Some(1)) && cursor.is_empty() => {
            if namespace != NAMESPACE.as_bytes() {
                return Err(BadSignature::Namespace);
            }
            if hash != HASH {
                return Err(BadSignature::Hash);
            }
            Signature::from_agent(signature)
        }
        _ => Err(BadSignature::Malformed),
    }
}
