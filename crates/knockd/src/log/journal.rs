//! systemd's journal, in its native protocol, so that a line carries its fields
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::Record;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// An unconnected socket for datagrams to the journal, so a restarted journal is no event.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal, if our standard output or error goes there (`$JOURNAL_STREAM` of
    /// `systemd.exec(5)`).
    pub(super) fn if_stdio_leads_there() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let leads_there = ["/proc/self/fd/1", "/proc/self/fd/2"]
            .into_iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .any(|meta| format!("{}:{}", meta.dev(), meta.ino()) == stream);
        if leads_there {
            Self::at(Path::new(SOCKET))
        } else {
            None
        }
    }

    /// The journal that listens at `path`.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        // Nobody there, or not for us: then standard output will do.
        path.exists().then(|| Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Sends `record`; a line that the journal has no room for is lost.
    pub(super) fn write(&mut self, record: &Record) {
        drop(self.socket.send_to(fields(record).as_bytes(), &self.path));
    }
}

/// The fields of `record`, one a line. No value has a newline in it: the message is escaped, and
/// so is the rest.
fn fields(record: &Record) -> String {
    let line = &record.line;
    let source = line.source.map(|source| source.to_string());
    let fields = [
        ("MESSAGE", Some(record.message())),
        ("PRIORITY", Some(line.level.priority().to_string())),
        ("SYSLOG_FACILITY", Some("1".to_owned())),
        ("SYSLOG_IDENTIFIER", Some("knockd".to_owned())),
        ("KNOCKD_EVENT", Some(line.event.to_owned())),
        ("KNOCKD_DOOR", line.door.clone()),
        ("KNOCKD_SOURCE", source),
        ("KNOCKD_HOST", record.host.as_deref().map(str::to_owned)),
    ];
    let mut text = String::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        text.push_str(name);
        text.push('=');
        super::line::escape_into(&mut text, &value);
        text.push('\n');
    }
    text
}
