//! A client of ssh-agent (draft-miller-ssh-agent): which keys it has, and sign with one.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::ssh_settings::AgentAt;

/// The longest message that is read, in bytes: OpenSSH's own bound (`MAX_AGENT_REPLY_LEN`).
const MAX: u32 = 256 * 1024;
/// The most keys that are looked at.
const MAX_KEYS: u32 = 2048;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Of an RSA key: a signature with SHA-512, not SHA-1.
pub const RSA_SHA2_512: u32 = 4;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to the agent.
pub struct Agent(Box<dyn Stream>);

/// A key that the agent has: the bytes of a public key, or of a certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    /// OpenSSH's bytes.
    pub blob: Vec<u8>,
    /// What its owner calls it.
    pub comment: String,
}

/// Why the agent did not do it.
#[derive(Debug)]
pub enum AgentError {
    /// It cannot be spoken to.
    Io(io::Error),
    /// It said no: the key is not there any more, it is locked, or somebody did not confirm.
    Refused,
    /// It said something else than the protocol has.
    Malformed,
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "ssh-agent: {error}"),
            Self::Refused => f.write_str("ssh-agent refused to sign"),
            Self::Malformed => f.write_str("ssh-agent said what is not understood"),
        }
    }
}

impl std::error::Error for AgentError {}

impl From<io::Error> for AgentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agent(..)")
    }
}

impl Agent {
    /// The agent of this session, or another; `None` if there is none.
    ///
    /// # Errors
    /// If there should be one and it does not answer.
    pub fn at(place: &AgentAt) -> io::Result<Option<Self>> {
        match place {
            AgentAt::Session => session(),
            AgentAt::Nowhere => Ok(None),
            AgentAt::Socket(path) => connect(path).map(Some),
        }
    }

    /// Its keys, in its order.
    ///
    /// # Errors
    /// If it does not say.
    pub fn identities(&mut self) -> Result<Vec<Identity>, AgentError> {
        let answer = self.ask(REQUEST_IDENTITIES, &[])?;
        let mut rest = expect_kind(&answer, IDENTITIES_ANSWER)?;
        identities(&mut rest).ok_or(AgentError::Malformed)
    }

    /// Signs `data` with the key of `blob`: the signature in OpenSSH's bytes. It may take as long
    /// as its owner needs to touch a security key.
    ///
    /// # Errors
    /// If it does not.
    pub fn sign(&mut self, blob: &[u8], data: &[u8], flags: u32) -> Result<Vec<u8>, AgentError> {
        let mut body = Vec::with_capacity(blob.len().saturating_add(data.len()));
        put_string(&mut body, blob);
        put_string(&mut body, data);
        body.extend(flags.to_be_bytes());
        let answer = self.ask(SIGN_REQUEST, &body)?;
        let mut rest = expect_kind(&answer, SIGN_RESPONSE)?;
        let signature = string(&mut rest).ok_or(AgentError::Malformed)?;
        Ok(signature.to_vec())
    }

    fn ask(&mut self, kind: u8, body: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut message = Vec::with_capacity(body.len().saturating_add(1));
        message.push(kind);
        message.extend(body);
        let mut framed = Vec::with_capacity(message.len().saturating_add(4));
        put_string(&mut framed, &message);
        self.0.write_all(&framed)?;
        self.0.flush()?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length == 0 || length > MAX {
            return Err(AgentError::Malformed);
        }
        let length = usize::try_from(length).map_err(|_| AgentError::Malformed)?;
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// The socket that the environment names.
fn named() -> Option<PathBuf> {
    let path = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

#[cfg(not(windows))]
fn session() -> io::Result<Option<Agent>> {
    named().map(|path| connect(&path)).transpose()
}

#[cfg(windows)]
fn session() -> io::Result<Option<Agent>> {
    let path = named().unwrap_or_else(|| r"\\.\pipe\openssh-ssh-agent".into());
    Ok(connect(&path).ok())
}

#[cfg(unix)]
fn connect(path: &Path) -> io::Result<Agent> {
    use std::os::unix::net::UnixStream;
    Ok(Agent(Box::new(UnixStream::connect(path)?)))
}

/// The agent of OpenSSH for Windows listens at a named pipe, which opens like a file.
#[cfg(windows)]
fn connect(path: &Path) -> io::Result<Agent> {
    let pipe = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    Ok(Agent(Box::new(pipe)))
}

#[cfg(not(any(unix, windows)))]
fn connect(_: &Path) -> io::Result<Agent> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Any other answer is `SSH_AGENT_FAILURE`, of which there are several.
fn expect_kind(answer: &[u8], kind: u8) -> Result<&[u8], AgentError> {
    match answer.split_first() {
        Some((first, rest)) if *first == kind => Ok(rest),
        _ => Err(AgentError::Refused),
    }
}

fn identities(rest: &mut &[u8]) -> Option<Vec<Identity>> {
    let mut found = Vec::new();
    for _ in 0..number(rest)?.min(MAX_KEYS) {
        let blob = string(rest)?.to_vec();
        let comment = String::from_utf8_lossy(string(rest)?).into_owned();
        found.push(Identity { blob, comment });
    }
    Some(found)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

/// A `string` of RFC 4251, section 5.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// Appends a `string`. Nothing here is longer than 4 GiB.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it was given to say, and keeps what it hears.
    struct Script(io::Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Script {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn saying(answer: &[u8]) -> Agent {
        Agent(Box::new(Script(io::Cursor::new(answer.to_vec()))))
    }

    #[test]
    fn an_agent_that_says_no_or_nonsense_is_no_agent() {
        let mut no = saying(&[0, 0, 0, 1, 5]);
        assert!(matches!(no.sign(b"k", b"d", 0), Err(AgentError::Refused)));
        for answer in [
            &[0, 0, 0, 0][..],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 5, 12, 0, 0, 0, 1],
            &[0, 0, 0, 9, 12, 0, 0, 0, 1, 0xff, 0, 0, 0],
        ] {
            let result = saying(answer).identities();
            assert!(matches!(result, Err(AgentError::Malformed)), "{result:?}");
        }
        assert!(matches!(
            saying(&[0, 0]).identities(),
            Err(AgentError::Io(_))
        ));
    }
}
