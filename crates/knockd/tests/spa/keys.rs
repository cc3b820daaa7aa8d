//! Keys other than one in memory: files that the real ssh-keygen makes and signs with, certificates
//! by it, and a security key in software.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::Draft;
use knock_spa::ssh::{PublicKey, Signature, sshsig};
use knockd::spa::base64::{decode, encode};
use p256::ecdsa;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::Outcome;
use crate::net::{Signs, public, put, signature};

/// A folder with keys in it.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keygen(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("ssh-keygen");
        command.current_dir(self.0.path()).args(args);
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("ssh-keygen {args:?}: {stderr}").into())
    }

    /// Makes a key whose comment is its name.
    pub(crate) fn key(&self, name: &str, kind: &str, bits: &str) -> Outcome<FileKey<'_>> {
        let made = [
            "-q", "-t", kind, "-b", bits, "-N", "", "-C", name, "-f", name,
        ];
        self.keygen(&made)?;
        Ok(FileKey {
            desk: self,
            name: name.to_owned(),
            certificate: RefCell::new(None),
        })
    }
}

/// A key in a file, and its certificate if it has one.
pub(crate) struct FileKey<'a> {
    desk: &'a Desk,
    name: String,
    certificate: RefCell<Option<Vec<u8>>>,
}

impl FileKey<'_> {
    /// Its public line.
    pub(crate) fn line(&self) -> Outcome<String> {
        Ok(fs::read_to_string(
            self.desk.path(&format!("{}.pub", self.name)),
        )?)
    }

    /// Gets a certificate by `authority`, with these options of ssh-keygen(1).
    pub(crate) fn certify(&self, authority: &FileKey<'_>, more: &[&str]) -> Outcome {
        let subject = format!("{}.pub", self.name);
        let mut args = vec!["-q", "-s", &authority.name, "-I", "the laptop"];
        args.extend(more);
        args.push(&subject);
        self.desk.keygen(&args)?;
        let path = self.desk.path(&format!("{}-cert.pub", self.name));
        *self.certificate.borrow_mut() = Some(blob_of(&fs::read_to_string(path)?)?);
        Ok(())
    }
}

impl Signs for FileKey<'_> {
    fn public(&self) -> Outcome<PublicKey> {
        public(&blob_of(&self.line()?)?)
    }

    fn sign_draft(&self, draft: &Draft) -> Outcome<Signature> {
        fs::write(self.desk.path("message"), draft.message())?;
        let signed = self.desk.path("message.sig");
        if signed.exists() {
            fs::remove_file(&signed)?;
        }
        let space = sshsig::NAMESPACE;
        self.desk
            .keygen(&["-q", "-Y", "sign", "-n", space, "-f", &self.name, "message"])?;
        let armored = fs::read_to_string(signed)?;
        Ok(sshsig::from_armored(&armored).map_err(|error| error.to_string())?)
    }

    fn certificate(&self) -> Outcome<Option<Vec<u8>>> {
        Ok(self.certificate.borrow().clone())
    }
}

fn blob_of(line: &str) -> Outcome<Vec<u8>> {
    let blob = line.split_whitespace().nth(1).and_then(decode);
    Ok(blob.ok_or("no public key")?)
}

/// A security key in software, as OpenSSH's `PROTOCOL.u2f` has them: it says of itself whether it
/// was touched (flag 1) and knew who touched it (flag 4).
pub(crate) struct SecurityKey {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
}

#[derive(Copy, Clone, Debug)]
pub(crate) enum Kind {
    Ed25519,
    P256,
}

const APPLICATION: &[u8] = b"ssh:";
const COUNTER: [u8; 4] = 7_u32.to_be_bytes();

impl SecurityKey {
    const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519 => "sk-ssh-ed25519@openssh.com",
            Kind::P256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn ed25519() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn p256() -> Outcome<ecdsa::SigningKey> {
        Ok(ecdsa::SigningKey::from_slice(&[9; 32])?)
    }

    fn blob(&self) -> Outcome<Vec<u8>> {
        let mut blob = Vec::new();
        put(&mut blob, self.name().as_bytes());
        match self.kind {
            Kind::Ed25519 => put(&mut blob, Self::ed25519().verifying_key().as_bytes()),
            Kind::P256 => {
                put(&mut blob, b"nistp256");
                let point = Self::p256()?.verifying_key().to_sec1_point(false);
                put(&mut blob, point.as_bytes());
            }
        }
        put(&mut blob, APPLICATION);
        Ok(blob)
    }

    /// A line of `authorized_keys`, with these options.
    pub(crate) fn line(&self, options: &str) -> Outcome<String> {
        let (name, blob) = (self.name(), encode(&self.blob()?));
        Ok(format!("{options} {name} {blob} token\n"))
    }
}

impl Signs for SecurityKey {
    fn public(&self) -> Outcome<PublicKey> {
        public(&self.blob()?)
    }

    fn sign_draft(&self, draft: &Draft) -> Outcome<Signature> {
        let mut message = Sha256::digest(APPLICATION).to_vec();
        message.push(self.flags);
        message.extend(COUNTER);
        message.extend(Sha256::digest(draft.to_sign()));
        let mut blob = Vec::new();
        put(&mut blob, self.name().as_bytes());
        match self.kind {
            Kind::Ed25519 => put(&mut blob, &Self::ed25519().sign(&message).to_bytes()),
            Kind::P256 => {
                let signed: ecdsa::Signature = Self::p256()?.sign(&message);
                let mut scalars = Vec::new();
                for scalar in signed.to_bytes().chunks(32) {
                    put(&mut scalars, &mpint(scalar));
                }
                put(&mut blob, &scalars);
            }
        }
        blob.push(self.flags);
        blob.extend(COUNTER);
        signature(&blob)
    }
}

/// RFC 4251, 5: without leading zeros but the one that keeps it from being negative.
fn mpint(scalar: &[u8]) -> Vec<u8> {
    let digits = scalar.iter().copied().skip_while(|byte| *byte == 0);
    let mut number: Vec<u8> = digits.collect();
    if number.first().is_some_and(|first| *first >= 0x80) {
        number.insert(0, 0);
    }
    number
}
