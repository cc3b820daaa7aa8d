//! Names of services and their ports, as `/etc/services` has them (`services(5)`).

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use knock_core::sequence::Protocol;

/// The file that `getservbyname(3)` reads.
pub const SERVICES: &str = "/etc/services";

/// A file of services, read when a name is first asked for: most configurations have none.
#[derive(Debug)]
pub struct Services {
    path: PathBuf,
    table: OnceCell<Result<Table, io::Error>>,
}

type Table = BTreeMap<(String, Protocol), u16>;

impl Services {
    /// The system's own, [`SERVICES`].
    #[must_use]
    pub fn system() -> Self {
        Self::at(SERVICES)
    }

    /// Those of the file `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            table: OnceCell::new(),
        }
    }

    /// The port of a service, by its name or an alias, in its own letter case; `None` also if the
    /// file cannot be read, which [`Services::failure`] tells.
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let table = self.table.get_or_init(|| read(&self.path));
        table.as_ref().ok()?.get(&(name.into(), protocol)).copied()
    }

    /// Whether some service has this port, over either protocol; `false` also if the file cannot be
    /// read.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        let table = self.table.get_or_init(|| read(&self.path));
        let table = table.as_ref();
        table.is_ok_and(|table| table.values().any(|known| *known == port))
    }

    /// The file, and why a name that was asked for could not be looked up in it.
    #[must_use]
    pub fn failure(&self) -> Option<(&Path, &io::Error)> {
        let error = self.table.get()?.as_ref().err()?;
        Some((&self.path, error))
    }
}

fn read(path: &Path) -> io::Result<Table> {
    Ok(parse(&String::from_utf8_lossy(&std::fs::read(path)?)))
}

/// Lines of `name port/protocol alias…  # comment`; the first that has a name counts.
fn parse(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(port)) = (words.next(), words.next().and_then(port)) else {
            continue;
        };
        for name in std::iter::once(name).chain(words) {
            table.entry((name.into(), port.1)).or_insert(port.0);
        }
    }
    table
}

fn port(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found_for_their_protocol() {
        let table = parse(
            "# comment\nssh\t\t22/tcp\nhttp 80/tcp www web # World Wide Web\n\
             domain 53/tcp\ndomain 53/udp\nssh 2222/tcp\nsctp-thing 9/sctp\nbroken\nworse x/tcp\n",
        );
        let port = |name: &str, protocol| table.get(&(name.to_owned(), protocol)).copied();
        assert_eq!(port("ssh", Protocol::Tcp), Some(22));
        assert_eq!(port("ssh", Protocol::Udp), None);
        assert_eq!(port("www", Protocol::Tcp), Some(80));
        assert_eq!(port("domain", Protocol::Udp), Some(53));
        assert_eq!(port("World", Protocol::Tcp), None);
        assert_eq!(port("sctp-thing", Protocol::Tcp), None);
    }

    #[test]
    fn a_file_that_is_missing_is_told_only_once_asked_for() {
        let services = Services::at("/nonexistent/services");
        assert!(services.failure().is_none());
        assert_eq!(services.port("ssh", Protocol::Tcp), None);
        let (path, error) = services.failure().unwrap();
        assert_eq!(path, Path::new("/nonexistent/services"));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
