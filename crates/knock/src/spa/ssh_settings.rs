//! What ssh's configuration says of a host: asked of ssh itself (`ssh -G`), which knows `Include`,
//! `Match` and the system's file as nobody else does.
//!
//! It takes some ten milliseconds, ten times what a knock takes, so what ssh has said is kept in the
//! profile ([`super::profile::Profile::ssh`]), and ssh is asked again only when that is of no use any
//! more: the key that was let in is not found by it, or the knock came to nothing. Without ssh, its
//! defaults count.

use std::env;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Set for what ssh runs while it is asked: a line `Match exec "knock …"` must not knock, let alone
/// ask ssh again.
pub const ASKED: &str = "KNOCK_ASKS_SSH";
/// What `Match exec` runs may take its time, and name servers too. Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MAX: u64 = 65_536;
/// OpenSSH's names for a user's keys, in its order, of those kinds that are taken here.
const FILES: [&str; 5] = [
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
];

/// What counts here of ssh's configuration of a host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct SshSettings {
    /// `HostName`; empty: the name that was given.
    pub host_name: String,
    /// `Port`
    pub port: u16,
    /// `IdentityAgent`, as ssh prints it; `None`: the agent of the session.
    pub agent: Option<String>,
    /// `IdentityFile`, in ssh's order, with everything in them filled in.
    pub files: Vec<PathBuf>,
    /// `IdentitiesOnly`: no other key of the agent's.
    pub identities_only: bool,
}

/// Those of a host that ssh's configuration does not name.
impl Default for SshSettings {
    fn default() -> Self {
        Self {
            host_name: String::new(),
            port: 22,
            agent: None,
            files: FILES.iter().filter_map(|name| at_home(name)).collect(),
            identities_only: false,
        }
    }
}

/// Which agent is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AgentAt {
    /// That of the session (`SSH_AUTH_SOCK`).
    Session,
    /// None.
    Nowhere,
    /// The one at this socket.
    Socket(PathBuf),
}

impl SshSettings {
    /// What ssh says of `host`; `None` if there is no ssh, or it does not say in time.
    #[must_use]
    pub fn ask(host: &str) -> Option<Self> {
        let mut ssh = Command::new("ssh")
            .args(["-T", "-G", "--", host])
            .env(ASKED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let text = answer(&mut ssh);
        if text.is_none() {
            ssh.kill().ok();
        }
        let ended = ssh.wait().ok()?;
        Some(Self::read(&text?, host)).filter(|_| ended.success())
    }

    /// Which agent is asked.
    #[must_use]
    pub fn agent(&self) -> AgentAt {
        match self.agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => AgentAt::Session,
            Some("none" | "") => AgentAt::Nowhere,
            Some(text) => match text.strip_prefix('$') {
                None => at_home(text).map_or(AgentAt::Nowhere, AgentAt::Socket),
                Some(name) => match env::var_os(name.trim_matches(['{', '}'])) {
                    Some(path) if !path.is_empty() => AgentAt::Socket(path.into()),
                    _ => AgentAt::Nowhere,
                },
            },
        }
    }

    /// `name value`, one a line, names in small letters.
    fn read(text: &str, host: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines: Vec<(&str, &str)> = lines.collect();
        let first = |name: &str| {
            let found = lines.iter().find(|(of, _)| *of == name);
            found.map(|(_, value)| *value)
        };
        let host_name = first("hostname").unwrap_or(host);
        let (user, port) = (first("user").unwrap_or_default(), first("port"));
        let port = port.unwrap_or("22");
        let fill = |path: &str| {
            filled(
                path,
                &[('h', host_name), ('n', host), ('p', port), ('r', user)],
            )
        };
        let files = lines.iter().filter(|(name, _)| *name == "identityfile");
        let files = files.filter(|(_, path)| !path.eq_ignore_ascii_case("none"));
        Self {
            host_name: if host_name == host {
                String::new()
            } else {
                host_name.to_owned()
            },
            port: port.parse().unwrap_or(22),
            agent: first("identityagent").map(str::to_owned),
            files: files.filter_map(|(_, path)| fill(path)).collect(),
            identities_only: first("identitiesonly") == Some("yes"),
        }
    }
}

/// All that it prints, if it ends in time.
fn answer(ssh: &mut Child) -> Option<String> {
    let output = ssh.stdout.take()?;
    let (says, said) = channel();
    let read = move || {
        let mut text = String::new();
        if output.take(MAX).read_to_string(&mut text).is_ok() {
            says.send(text).ok();
        }
    };
    thread::Builder::new().spawn(read).ok()?;
    said.recv_timeout(PATIENCE).ok()
}

/// A path with its tokens and variables filled in (`ssh_config(5)`, TOKENS); `None` if one of them is
/// not known here.
fn filled(path: &str, tokens: &[(char, &str)]) -> Option<PathBuf> {
    let mut text = String::with_capacity(path.len());
    let mut rest = path.chars();
    while let Some(c) = rest.next() {
        match c {
            '%' => match rest.next()? {
                '%' => text.push('%'),
                'd' => text.push_str(env::home_dir()?.to_str()?),
                'u' => text.push_str(&local_user()?),
                token => text.push_str(tokens.iter().find(|(name, _)| *name == token)?.1),
            },
            '$' if rest.as_str().starts_with('{') => {
                let (name, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                text.push_str(&env::var(name).ok()?);
                rest = after.chars();
            }
            c => text.push(c),
        }
    }
    at_home(&text)
}

fn local_user() -> Option<String> {
    let of = |name| env::var(name).ok().filter(|user| !user.is_empty());
    of("USER")
        .or_else(|| of("LOGNAME"))
        .or_else(|| of("USERNAME"))
}

/// `~/x` is in the home of this user.
fn at_home(path: &str) -> Option<PathBuf> {
    match path.strip_prefix("~/") {
        Some(rest) => env::home_dir().map(|home| home.join(rest)),
        None => Some(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "user bob\nhostname web.internal.example\nport 2222\naddressfamily any\n\
                        identitiesonly yes\nidentityagent /run/agent\n\
                        identityfile /keys/%r@%h:%p-%n-100%%\nidentityfile ~/.ssh/two words\n\
                        identityfile /keys/%C\nidentityfile /keys/${NO_SUCH_VARIABLE}/k\n";

    #[test]
    fn what_ssh_prints_is_read() {
        let settings = SshSettings::read(SAID, "web");
        assert_eq!(settings.host_name, "web.internal.example");
        assert_eq!(settings.port, 2222);
        assert!(settings.identities_only);
        assert_eq!(settings.agent(), AgentAt::Socket("/run/agent".into()));
        let home = env::home_dir().unwrap();
        let expected = [
            PathBuf::from("/keys/bob@web.internal.example:2222-web-100%"),
            home.join(".ssh/two words"),
        ];
        assert_eq!(settings.files, expected, "what is not known is left out");
    }

    #[test]
    fn what_ssh_does_not_say_is_as_without_it() {
        let settings = SshSettings::read("hostname web\nidentityfile none\n", "web");
        assert_eq!(settings.host_name, "");
        assert_eq!(settings.files, Vec::<PathBuf>::new());
        assert_eq!(settings.agent(), AgentAt::Session);
        let agent = |text: &str| SshSettings {
            agent: Some(text.to_owned()),
            ..settings.clone()
        };
        assert_eq!(agent("none").agent(), AgentAt::Nowhere);
        assert_eq!(agent("SSH_AUTH_SOCK").agent(), AgentAt::Session);
        assert_eq!(agent("$NO_SUCH_VARIABLE").agent(), AgentAt::Nowhere);
    }
}
