//! The keys that may sign, in the order in which ssh would try them: those that the agent has, then
//! the user's files; or the one that was named.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Base64Unpadded, Encoding};
use knock_spa::ssh::{BadSignature, Certificate, KeyType, PublicKey, Signature};
use signature::Signer;
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::agent::{Agent, AgentError, Identity, RSA_SHA2_512, put_string};
use super::ssh_settings::{AgentAt, SshSettings};

/// The most keys that are tried, as sshd's `MaxAuthTries` has it.
pub const MAX: usize = 6;
/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 65_536;
/// How often a passphrase is asked for.
const PASSPHRASES: usize = 3;

/// A key that may sign.
#[derive(Debug)]
pub struct Key {
    /// Its public half.
    pub public: PublicKey,
    /// A certificate for it, in OpenSSH's bytes.
    pub certificate: Option<Vec<u8>>,
    /// What its owner calls it, or its file.
    pub name: String,
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    /// The agent knows it by these bytes.
    Agent(Vec<u8>),
    File(PathBuf, Box<PrivateKey>),
}

impl Key {
    /// What `ssh-keygen -l` shows.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Base64Unpadded::encode_string(&self.public.sha256());
        format!("SHA256:{hash}")
    }

    /// Whether the agent signs with it.
    #[must_use]
    pub const fn is_in_agent(&self) -> bool {
        matches!(self.holder, Holder::Agent(_))
    }

    /// Whether its passphrase will be asked for.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(&self.holder, Holder::File(_, private) if private.is_encrypted())
    }

    /// Whether somebody has to touch it.
    #[must_use]
    pub const fn is_security_key(&self) -> bool {
        matches!(
            self.public.kind(),
            KeyType::SkEd25519 | KeyType::SkEcdsaP256
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fingerprint(), self.name.escape_debug())
    }
}

/// Why a key does not sign.
#[derive(Debug)]
pub enum SignError {
    /// The agent does not.
    Agent(AgentError),
    /// The passphrase was not given, or three wrong ones.
    Passphrase(PathBuf, io::Error),
    /// The key's file is of no use.
    Key(ssh_key::Error),
    /// What came is no signature.
    Signature(BadSignature),
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Passphrase(path, error) => {
                write!(f, "no passphrase for {}: {error}", path.display())
            }
            Self::Key(error) => write!(f, "{error}"),
            Self::Signature(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SignError {}

/// Why the key that was named cannot be used.
#[derive(Debug)]
pub enum IdentityError {
    /// The file cannot be read.
    Io(io::Error),
    /// It is no key of OpenSSH's format.
    Format,
    /// The key is of a kind, or a size, that is not taken.
    Kind,
    /// Only the agent could sign with it, and it does not have it.
    NotInAgent,
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Format => {
                f.write_str("no key in OpenSSH's format (`ssh-keygen -p -f FILE` writes that)")
            }
            Self::Kind => f.write_str("a key of a kind or a size that is not taken"),
            Self::NotInAgent => {
                f.write_str("only ssh-agent can sign with it, which does not have it (`ssh-add`)")
            }
        }
    }
}

impl std::error::Error for IdentityError {}

impl IdentityError {
    /// Whether there is just no such file.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The keys at hand.
#[derive(Debug)]
pub struct Keys {
    agent: Option<Agent>,
    keys: Vec<Key>,
    /// What was left out, and why; for `--verbose`, and where there is no key at all.
    pub notes: Vec<String>,
}

impl Keys {
    /// All that ssh would try by these settings, `first` (a fingerprint) before all others: of the
    /// agent's keys those that the settings name, then its others, then those that are in files alone
    /// (the order of ssh's `pubkey_prepare()`).
    #[must_use]
    pub fn of_user(first: Option<&str>, settings: &SshSettings) -> Self {
        let mut all = Self::empty(&settings.agent());
        let named: Vec<_> = settings.files.iter().map(|path| public_of(path)).collect();
        let place = |key: &Key| {
            let is_key = |named: &Result<PublicKey, IdentityError>| {
                named.as_ref().is_ok_and(|named| *named == key.public)
            };
            named.iter().position(is_key)
        };
        for identity in all.ask_agent() {
            match in_agent(identity) {
                Ok(key) if settings.identities_only && place(&key).is_none() => {}
                Ok(key) => all.add(key),
                Err(note) => all.notes.push(note),
            }
        }
        all.keys.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
        for (path, named) in settings.files.iter().zip(&named) {
            let held = |key: &Key| named.as_ref().is_ok_and(|named| *named == key.public);
            if !all.keys.iter().any(held)
                && let Err(error) = all.add_file(path)
                && !error.is_absence()
            {
                all.notes.push(format!("{}: {error}", path.display()));
            }
        }
        all.keys
            .sort_by_key(|key| first != Some(key.fingerprint().as_str()));
        if all.keys.len() > MAX {
            let many = all.keys.len();
            let note = format!("only the first {MAX} of {many} keys are tried (see --identity)");
            all.notes.push(note);
            all.keys.truncate(MAX);
        }
        all
    }

    /// The key of one file: a private key, or a public one whose other half the agent has.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn of_file(path: &Path, agent: &AgentAt) -> Result<Self, IdentityError> {
        let mut all = Self::empty(agent);
        let in_agent: Vec<_> = all.ask_agent().into_iter().map(in_agent).collect();
        let wanted = public_of(path)?;
        let held = in_agent.into_iter().flatten();
        let mut held: Vec<Key> = held.filter(|key| key.public == wanted).collect();
        // The certificate beside the file, if there is one, else what the agent has.
        if let Some(certificate) = certificate_of(path, &wanted) {
            held.truncate(1);
            for key in &mut held {
                key.certificate = Some(certificate.clone());
            }
        }
        all.keys = held;
        if all.keys.is_empty() {
            all.add_file(path)?;
        }
        Ok(all)
    }

    fn empty(agent: &AgentAt) -> Self {
        let (agent, notes) = match Agent::at(agent) {
            Ok(agent) => (agent, Vec::new()),
            Err(error) => (None, vec![format!("ssh-agent: {error}")]),
        };
        let keys = Vec::new();
        Self { agent, keys, notes }
    }

    fn ask_agent(&mut self) -> Vec<Identity> {
        match self.agent.as_mut().map(Agent::identities) {
            None => Vec::new(),
            Some(Ok(identities)) => identities,
            Some(Err(error)) => {
                self.notes.push(error.to_string());
                Vec::new()
            }
        }
    }

    fn add(&mut self, key: Key) {
        let same = |have: &Key| have.public == key.public && have.certificate == key.certificate;
        if !self.keys.iter().any(same) {
            self.keys.push(key);
        }
    }

    /// Adds the key of a file, unless the agent has it.
    fn add_file(&mut self, path: &Path) -> Result<(), IdentityError> {
        let text = read(path)?;
        let private = match PrivateKey::from_openssh(&*text) {
            Ok(private) => private,
            Err(_) if public_line(&text).is_some() => return Err(IdentityError::NotInAgent),
            Err(_) => return Err(IdentityError::Format),
        };
        let public = public(&private)?;
        if matches!(public.kind(), KeyType::SkEd25519 | KeyType::SkEcdsaP256) {
            return Err(IdentityError::NotInAgent);
        }
        let certificate = certificate_of(path, &public);
        let has = |have: &&Key| have.public == public;
        if self.keys.iter().find(has).is_some() {
            return Ok(());
        }
        self.add(Key {
            public,
            certificate,
            name: path.display().to_string(),
            holder: Holder::File(path.to_owned(), Box::new(private)),
        });
        Ok(())
    }

    /// Whether there is an agent.
    #[must_use]
    pub const fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// The keys, in their order.
    #[must_use]
    pub fn all(&self) -> &[Key] {
        &self.keys
    }

    /// Signs with the key of this number, and asks for its passphrase if it has one.
    ///
    /// # Errors
    /// If it does not sign; `None` if there is no such key.
    pub fn sign(&mut self, number: usize, data: &[u8]) -> Option<Result<Signature, SignError>> {
        let key = self.keys.get_mut(number)?;
        let blob = match &mut key.holder {
            Holder::Agent(blob) => {
                let flags = match key.public.kind() {
                    KeyType::Rsa => RSA_SHA2_512,
                    _ => 0,
                };
                let agent = self.agent.as_mut()?;
                agent.sign(blob, data, flags).map_err(SignError::Agent)
            }
            Holder::File(path, private) => by_file(path, private, data),
        };
        Some(blob.and_then(|blob| Signature::from_agent(&blob).map_err(SignError::Signature)))
    }
}

fn by_file(path: &Path, private: &mut PrivateKey, data: &[u8]) -> Result<Vec<u8>, SignError> {
    if private.is_encrypted() {
        *private = decrypted(path, private)?;
    }
    let signature: ssh_key::Signature = private
        .try_sign(data)
        .map_err(|_| SignError::Key(ssh_key::Error::Crypto))?;
    let mut blob = Vec::new();
    put_string(&mut blob, signature.algorithm().as_str().as_bytes());
    put_string(&mut blob, signature.as_bytes());
    Ok(blob)
}

fn decrypted(path: &Path, private: &PrivateKey) -> Result<PrivateKey, SignError> {
    let mut wrong = ssh_key::Error::Crypto;
    for _ in 0..PASSPHRASES {
        let prompt = format!("Enter passphrase for key '{}': ", path.display());
        let passphrase = rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|error| SignError::Passphrase(path.to_owned(), error))?;
        match private.decrypt(passphrase.as_bytes()) {
            Ok(private) => return Ok(private),
            Err(error) => wrong = error,
        }
    }
    Err(SignError::Key(wrong))
}

/// What the agent has may be a certificate, which it signs for by the certificate's bytes.
fn in_agent(Identity { blob, comment }: Identity) -> Result<Key, String> {
    let (public, certificate) = match PublicKey::from_blob(&blob) {
        Ok(public) => (public, None),
        Err(why) => match Certificate::from_blob(&blob) {
            Ok(certificate) => (certificate.subject().clone(), Some(blob.clone())),
            Err(_) => return Err(format!("ssh-agent's '{}': {why}", comment.escape_debug())),
        },
    };
    Ok(Key {
        public,
        certificate,
        name: comment,
        holder: Holder::Agent(blob),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let mut text = Zeroizing::new(Vec::new());
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut text))
        .map_err(IdentityError::Io)?;
    Ok(text)
}

fn public(private: &PrivateKey) -> Result<PublicKey, IdentityError> {
    let blob = private.public_key().to_bytes();
    let blob = blob.map_err(|_| IdentityError::Format)?;
    PublicKey::from_blob(&blob).map_err(|_| IdentityError::Kind)
}

/// The public key of a file: of a private key's, of a public one's, or of the `.pub` beside it.
fn public_of(path: &Path) -> Result<PublicKey, IdentityError> {
    let text = read(path)?;
    if let Ok(private) = PrivateKey::from_openssh(&*text) {
        return public(&private);
    }
    let beside = || read(&with_suffix(path, ".pub")).ok();
    let blob = public_line(&text).or_else(|| beside().and_then(|text| public_line(&text)));
    let blob = blob.ok_or(IdentityError::Format)?;
    PublicKey::from_blob(&blob).map_err(|_| IdentityError::Kind)
}

/// The certificate in `FILE-cert.pub`, if it is one for this key.
fn certificate_of(path: &Path, public: &PublicKey) -> Option<Vec<u8>> {
    let text = path.to_str()?;
    let stem = Path::new(text.strip_suffix(".pub").unwrap_or(text));
    let blob = public_line(&read(&with_suffix(stem, "-cert.pub")).ok()?)?;
    let fits = Certificate::from_blob(&blob).is_ok_and(|found| found.subject() == public);
    fits.then_some(blob)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `ssh-ed25519 AAAA… comment`
fn public_line(text: &[u8]) -> Option<Vec<u8>> {
    let mut words = str::from_utf8(text).ok()?.split_ascii_whitespace();
    let (_kind, base64) = (words.next()?, words.next()?);
    Base64::decode_vec(base64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn keygen(folder: &Path, arguments: &[&str]) -> bool {
        let made = Command::new("ssh-keygen")
            .current_dir(folder)
            .args(arguments)
            .output();
        made.is_ok_and(|output| output.status.success())
    }

    #[test]
    fn every_kind_of_key_file_signs() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, bits) in [
            ("ed25519", "256"),
            ("ecdsa", "256"),
            ("ecdsa", "384"),
            ("ecdsa", "521"),
            ("rsa", "2048"),
        ] {
            let name = format!("{kind}{bits}");
            let arguments = ["-q", "-t", kind, "-b", bits, "-N", "", "-f", &name];
            if !keygen(folder.path(), &arguments) {
                return;
            }
            let mut keys = Keys {
                agent: None,
                keys: Vec::new(),
                notes: Vec::new(),
            };
            keys.add_file(&folder.path().join(&name)).unwrap();
            let signature = keys.sign(0, b"data").unwrap().unwrap();
            let public = &keys.all()[0].public;
            assert!(public.signed(b"data", &signature), "{name}");
            assert!(!public.signed(b"date", &signature), "{name}");
        }
    }

    #[test]
    fn a_locked_file_is_opened_by_its_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        if !keygen(
            folder.path(),
            &["-q", "-t", "ed25519", "-N", "sesame", "-f", "k"],
        ) {
            return;
        }
        let text = read(&folder.path().join("k")).unwrap();
        let private = PrivateKey::from_openssh(&*text).unwrap();
        assert!(private.is_encrypted());
        assert!(private.decrypt("simsim").is_err());
        let mut open = private.decrypt("sesame").unwrap();
        let blob = by_file(Path::new("k"), &mut open, b"data").unwrap();
        let signature = Signature::from_agent(&blob).unwrap();
        assert!(public(&private).unwrap().signed(b"data", &signature));
    }

    #[test]
    fn a_certificate_beside_the_file_is_taken_if_it_is_for_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for name in ["k", "ca", "other"] {
            if !keygen(at, &["-q", "-t", "ed25519", "-N", "", "-f", name]) {
                return;
            }
        }
        assert!(keygen(
            at,
            &["-q", "-s", "ca", "-I", "i", "-n", "u", "k.pub"]
        ));
        let key = public_of(&at.join("k")).unwrap();
        assert!(certificate_of(&at.join("k"), &key).is_some());
        assert!(certificate_of(&at.join("k.pub"), &key).is_some());
        let other = public_of(&at.join("other")).unwrap();
        assert!(certificate_of(&at.join("k"), &other).is_none());
    }

    #[test]
    fn a_file_that_is_no_key_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
        assert!(matches!(
            Keys::of_file(&path, &AgentAt::Nowhere),
            Err(IdentityError::Format)
        ));
        assert!(matches!(
            Keys::of_file(&folder.path().join("none"), &AgentAt::Nowhere),
            Err(IdentityError::Io(_))
        ));
    }
}
