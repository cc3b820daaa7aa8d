//! `syslog(3)` over the datagram socket `/dev/log`, without ever waiting for the one who reads.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::{Level, Record};

/// Where the system's log listens.
pub(super) const SOCKET: &str = "/dev/log";

/// `LOG_USER` of `syslog(3)`, the original's facility.
const FACILITY: u8 = 1 << 3;

/// A connection to the system's log, made anew whenever it breaks.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(path: PathBuf) -> Self {
        let socket = connect(&path);
        Self { path, socket }
    }

    /// Sends `record` as the original does: ident `knockd`, facility user, priority notice, no
    /// process id. A line that the reader has no room for is lost.
    pub(super) fn write(&mut self, record: &Record, zone: &TimeZone) {
        let priority = match record.line.level {
            Level::Debug => Level::Debug.priority(),
            _ => Level::Info.priority(),
        };
        let time = record.at.to_zoned(zone.clone());
        let time = time.strftime("%b %e %H:%M:%S");
        let text = format!(
            "<{}>{time} knockd: {}",
            FACILITY | priority,
            record.message()
        );
        if !self.sent(text.as_bytes()) {
            // The log was restarted: its socket is another now.
            self.socket = connect(&self.path);
            self.sent(text.as_bytes());
        }
    }

    /// Whether `text` was sent, or dropped for want of room.
    fn sent(&self, text: &[u8]) -> bool {
        match self.socket.as_ref().map(|socket| socket.send(text)) {
            Some(Ok(_)) => true,
            Some(Err(error)) => error.kind() == ErrorKind::WouldBlock,
            None => false,
        }
    }
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(path).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// Whether what is sent to the syslog socket `path` ends in systemd's journal anyway.
pub(super) fn is_the_journal(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|p| p == Path::new("/run/systemd/journal/dev-log"))
}
