//! From which ssh session we are called: sshd says so to its programs (`SSH_CONNECTION`, ssh(1)).

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// An ssh session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Session {
    /// The client's end, as sshd sees it.
    pub(super) client: SocketAddr,
}

/// The most ancestors to look at.
const ANCESTORS: usize = 64;

const NAME: &str = "SSH_CONNECTION";

impl Session {
    /// The session that this process belongs to. sudo(8) and others hide the variable, so those who
    /// have called us are asked too.
    pub(super) fn of_this_process() -> Option<Self> {
        let own = std::env::var(NAME).ok();
        own.as_deref().and_then(Self::parse).or_else(|| {
            let mut pid = std::process::id();
            for _ in 0..ANCESTORS {
                pid = parent(pid)?;
                if let Some(session) = of_process(pid) {
                    return Some(session);
                }
            }
            None
        })
    }

    /// `client-address client-port server-address server-port`.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let address: &str = words.next()?;
        // Where the interface matters, its name follows.
        let address = address.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        let port: u16 = words.next()?.parse().ok()?;
        // The other end, so that it is no half of something else.
        words.next()?;
        words.next()?.parse::<u16>().ok()?;
        Some(Self {
            client: SocketAddr::new(address.to_canonical(), port),
        })
    }
}

fn of_process(pid: u32) -> Option<Session> {
    let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{NAME}=");
    let mut all = all.split(|byte| *byte == 0);
    all.find_map(|one| {
        let value = one.strip_prefix(prefix.as_bytes())?;
        Session::parse(std::str::from_utf8(value).ok()?)
    })
}

/// proc_pid_stat(5): the name in brackets may hold anything, so the last bracket counts.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    (parent > 1).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<String> {
        Session::parse(text).map(|session| session.client.to_string())
    }

    #[test]
    fn the_client_is_the_first_pair() {
        let v4 = "192.0.2.7 50000 192.0.2.1 22";
        assert_eq!(client(v4).as_deref(), Some("192.0.2.7:50000"));
        let v6 = "2001:db8::7 50000 2001:db8::1 22";
        assert_eq!(client(v6).as_deref(), Some("[2001:db8::7]:50000"));
        let link = "fe80::1%eth0 50000 fe80::2%eth0 22";
        assert_eq!(client(link).as_deref(), Some("[fe80::1]:50000"));
        let mapped = "::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22";
        assert_eq!(client(mapped).as_deref(), Some("192.0.2.7:50000"));
    }

    #[test]
    fn anything_else_is_no_session() {
        for text in [
            "",
            "192.0.2.7",
            "192.0.2.7 50000",
            "192.0.2.7 50000 192.0.2.1",
            "192.0.2.7 70000 192.0.2.1 22",
            "host 50000 192.0.2.1 22",
            "UNKNOWN 65535 UNKNOWN 65535",
        ] {
            assert_eq!(client(text), None, "{text}");
        }
    }
}
