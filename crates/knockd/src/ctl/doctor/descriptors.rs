//! What a process has open: `/proc/PID/fd`, and the kernel's tables of sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

/// A table, what is in it, and the column of the inodes. That of Unix sockets is the last, because
/// it has names in it that any account can choose, with line breaks that look like another row.
const TABLES: [(&str, Kind, usize); 9] = [
    ("packet", Kind::PacketSocket, 8),
    ("netlink", Kind::NetlinkSocket, 9),
    ("raw", Kind::RawSocket, 9),
    ("raw6", Kind::RawSocket, 9),
    ("udp", Kind::UdpSocket, 9),
    ("udp6", Kind::UdpSocket, 9),
    ("tcp", Kind::TcpSocket, 9),
    ("tcp6", Kind::TcpSocket, 9),
    ("unix", Kind::UnixSocket, 6),
];

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Descriptor {
    pub(super) number: u32,
    pub(super) is: Kind,
    /// What the kernel calls it: a path, or such as `socket:[4711]`.
    pub(super) target: String,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    PacketSocket,
    UnixSocket,
    NetlinkSocket,
    TcpSocket,
    UdpSocket,
    RawSocket,
    /// Of `IPPROTO_RAW`: it sends whole packets, and receives none (raw(7)).
    RawSender,
    /// In no table: of a rarer family, or of another network namespace.
    OtherSocket,
    Pipe,
    /// The kernel's own: an event queue, a timer, a counter.
    Anonymous,
    /// `/dev/null`.
    Null,
    /// Anything with a path, or that had one.
    File,
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is {
            Kind::PacketSocket => f.write_str("packet socket"),
            Kind::UnixSocket => f.write_str("unix socket"),
            Kind::NetlinkSocket => f.write_str("netlink socket"),
            Kind::TcpSocket => f.write_str("TCP socket"),
            Kind::UdpSocket => f.write_str("UDP socket"),
            Kind::RawSocket => f.write_str("raw IP socket"),
            Kind::RawSender => f.write_str("raw IP socket that only sends"),
            Kind::OtherSocket => f.write_str("socket of unknown family"),
            Kind::Pipe => f.write_str("pipe"),
            Kind::Anonymous => {
                let name = self.target.trim_start_matches("anon_inode:");
                f.write_str(name.trim_matches(['[', ']']))
            }
            // Whoever names a file may put anything into its name.
            Kind::Null | Kind::File => write!(f, "{}", self.target.escape_debug()),
        }
    }
}

/// The descriptors of the process whose directory is `process`, in the order of their numbers.
///
/// # Errors
/// If they may not be read, or there is no such process.
pub(super) fn read(process: &Path) -> io::Result<Vec<Descriptor>> {
    let mut targets = BTreeMap::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match fs::read_link(entry.path()) {
            Ok(target) => targets.insert(number, target.to_string_lossy().into_owned()),
            // Closed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
    }
    let inodes: BTreeSet<u64> = targets.values().filter_map(|t| socket_inode(t)).collect();
    let known = sockets(&process.join("net"), inodes);
    let descriptor = |(number, target): (u32, String)| Descriptor {
        number,
        is: kind(&target, &known),
        target,
    };
    Ok(targets.into_iter().map(descriptor).collect())
}

fn kind(target: &str, sockets: &BTreeMap<u64, Kind>) -> Kind {
    if let Some(inode) = socket_inode(target) {
        return sockets.get(&inode).copied().unwrap_or(Kind::OtherSocket);
    }
    match target {
        "/dev/null" => Kind::Null,
        _ if target.starts_with("pipe:[") => Kind::Pipe,
        _ if target.starts_with("anon_inode:") => Kind::Anonymous,
        _ => Kind::File,
    }
}

fn socket_inode(target: &str) -> Option<u64> {
    let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// The kinds of the sockets `wanted`, as far as the tables in `directory` have them. One that
/// cannot be read has no socket.
fn sockets(directory: &Path, mut wanted: BTreeSet<u64>) -> BTreeMap<u64, Kind> {
    let mut known = BTreeMap::new();
    for (name, kind, column) in TABLES {
        if wanted.is_empty() {
            break;
        }
        let table = fs::read(directory.join(name)).unwrap_or_default();
        for (inode, row) in inodes(&String::from_utf8_lossy(&table), column) {
            if wanted.remove(&inode) {
                known.insert(inode, exactly(kind, row));
            }
        }
    }
    known
}

/// In the table of raw sockets, the protocol stands in the place of the local port.
fn exactly(kind: Kind, row: &str) -> Kind {
    /// `IPPROTO_RAW`.
    const RAW: &str = ":00FF";
    let local = row.split_ascii_whitespace().nth(1);
    if kind == Kind::RawSocket && local.is_some_and(|local| local.ends_with(RAW)) {
        Kind::RawSender
    } else {
        kind
    }
}

/// The inodes of a table, below its heading, with their rows.
fn inodes(table: &str, column: usize) -> impl Iterator<Item = (u64, &str)> {
    let rows = table.lines().skip(1);
    rows.filter_map(move |row| {
        let inode = row.split_ascii_whitespace().nth(column)?.parse().ok()?;
        Some((inode, row))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const PACKET: &str = "\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000c1d2e3f4 3      2    0003   0     1 0      0      41811 \n";
    const UNIX: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
00000000e183b3ca: 00000003 00000000 00000000 0005 03 41812
000000006c8667a9: 00000002 00000000 00010000 0005 01 12044 /run/udev/control\n";
    const NETLINK: &str = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000092b9ae9b 0   812        00000551 0        0        0     2        0        41813 \n";
    const TCP: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1060 1 \
00000000d4cc82f4 100 0 0 10 0\n";

    #[test]
    fn each_table_has_its_inodes_in_its_own_column() {
        let of = |name| TABLES.iter().find(|(table, ..)| *table == name).unwrap().2;
        let read = |text, name| {
            let rows = inodes(text, of(name));
            rows.map(|(inode, _)| inode).collect::<Vec<_>>()
        };
        assert_eq!(read(PACKET, "packet"), [41811]);
        assert_eq!(read(UNIX, "unix"), [41812, 12044]);
        assert_eq!(read(NETLINK, "netlink"), [41813]);
        assert_eq!(read(TCP, "tcp"), [1060]);
    }

    #[test]
    fn a_raw_socket_that_only_sends_is_told_from_one_that_hears() {
        const RAW: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 70 2 0 0
  255: 00000000:00FF 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 71 2 0 0
";
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("raw"), RAW).unwrap();
        let found = sockets(place.path(), [70, 71].into());
        let expected = [(70, Kind::RawSocket), (71, Kind::RawSender)];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn a_descriptor_is_told_by_what_it_is() {
        let sockets = BTreeMap::from([(7, Kind::PacketSocket)]);
        let tell = |target: &str| {
            let (is, target) = (kind(target, &sockets), target.to_owned());
            Descriptor {
                number: 3,
                is,
                target,
            }
            .to_string()
        };
        assert_eq!(tell("socket:[7]"), "packet socket");
        assert_eq!(tell("socket:[8]"), "socket of unknown family");
        assert_eq!(tell("pipe:[9]"), "pipe");
        assert_eq!(tell("anon_inode:[eventpoll]"), "eventpoll");
        assert_eq!(tell("anon_inode:inotify"), "inotify");
        assert_eq!(tell("/dev/null"), "/dev/null");
        assert_eq!(
            tell("/tmp/\u{1b}[2J (deleted)"),
            "/tmp/\\u{1b}[2J (deleted)"
        );
    }

    #[test]
    fn the_kernels_tables_name_the_sockets_of_this_process() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0")
            .or_else(|_| UdpSocket::bind("127.0.0.1:0"))
            .unwrap();
        let (unix, _other) = UnixStream::pair().unwrap();
        let descriptors = read(Path::new("/proc/self")).unwrap();
        let kind = |fd: i32| {
            let number = u32::try_from(fd).unwrap();
            descriptors.iter().find(|d| d.number == number).unwrap().is
        };
        assert_eq!(kind(tcp.as_raw_fd()), Kind::TcpSocket);
        assert_eq!(kind(udp.as_raw_fd()), Kind::UdpSocket);
        assert_eq!(kind(unix.as_raw_fd()), Kind::UnixSocket);
        assert!(descriptors.is_sorted_by_key(|d| d.number));
    }

    #[test]
    fn a_name_that_looks_like_a_row_of_the_table_renames_no_other_socket() {
        let place = tempfile::tempdir().unwrap();
        let forged = [UNIX.as_bytes(), b"\xff\n0: 3 0 0 5 03 41811\n"].concat();
        fs::write(place.path().join("unix"), forged).unwrap();
        fs::write(place.path().join("packet"), PACKET).unwrap();
        let found = sockets(place.path(), [41811, 41812, 7].into());
        let expected = [(41811, Kind::PacketSocket), (41812, Kind::UnixSocket)];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn a_process_that_is_not_there_has_none() {
        assert!(read(Path::new("/proc/0")).is_err());
    }
}
