//! The ports at which this machine listens, from `/proc/net/tcp`, `tcp6`, `udp` and `udp6`
//! (`proc_pid_net(5)`).

use std::collections::BTreeSet;
use std::path::Path;

use knock_core::sequence::Protocol;

/// `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`, as the file writes it.
const LISTEN: &str = "0A";
/// `TCP_CLOSE`, there too, which a UDP socket is in that takes datagrams from anybody.
const UNCONNECTED: &str = "07";
/// `::1` as four words in the byte order of a little- or big-endian machine, and the first octet
/// of `127.0.0.0/8` at the place where each has it.
const LOOPBACK_V6: [&str; 2] = [
    "00000000000000000000000001000000",
    "00000000000000000000000000000001",
];

/// The ports at which something listens that other machines can reach.
#[derive(Debug, Default)]
pub(in super::super) struct Listeners {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

impl Listeners {
    /// Reads the tables in `directory`; one that cannot be read has no listener.
    pub(in super::super) fn read(directory: &Path) -> Self {
        let ports = |names: [&str; 2], state| {
            let tables = names.map(|name| std::fs::read_to_string(directory.join(name)));
            let tables = tables.iter().flatten();
            tables.flat_map(|table| bound(table, state)).collect()
        };
        Self {
            tcp: ports(["tcp", "tcp6"], LISTEN),
            udp: ports(["udp", "udp6"], UNCONNECTED),
        }
    }

    /// Those of a protocol, ascending.
    pub(in super::super) fn ports(&self, protocol: Protocol) -> impl Iterator<Item = u16> {
        match protocol {
            Protocol::Tcp => self.tcp.iter().copied(),
            Protocol::Udp => self.udp.iter().copied(),
        }
    }

    #[cfg(test)]
    pub(super) fn of_udp(ports: &[u16]) -> Self {
        Self {
            udp: ports.iter().copied().collect(),
            ..Self::default()
        }
    }

    pub(in super::super) fn has(&self, protocol: Protocol, port: u16) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp.contains(&port),
            Protocol::Udp => self.udp.contains(&port),
        }
    }
}

/// Lines of `slot: address:port address:port state …`, after a heading.
fn bound(table: &str, wanted: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        if state != wanted || is_loopback(address) {
            return None;
        }
        u16::from_str_radix(port, 16).ok()
    })
}

fn is_loopback(address: &str) -> bool {
    let v4 = if cfg!(target_endian = "little") {
        address.ends_with("7F")
    } else {
        address.starts_with("7F")
    };
    (address.len() == 8 && v4) || LOOPBACK_V6.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0A4D0002:1F40 0A4D0001:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 3 1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:1B58 00000000000000000000000000000000:0000 0A 00000000
   1: 00000000000000000000000001000000:1B59 00000000000000000000000000000000:0000 0A 00000000
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listeners_that_others_can_reach_count() {
        assert_eq!(bound(TCP, LISTEN).collect::<Vec<_>>(), [22]);
        assert_eq!(bound(TCP6, LISTEN).collect::<Vec<_>>(), [7000]);
    }

    #[test]
    fn a_port_of_this_machine_is_found_in_the_kernels_tables() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_there = |proc: &str, protocol, port| {
            let listeners = Listeners::read(Path::new(proc));
            listeners.has(protocol, port)
        };
        assert!(is_there("/proc/net", Protocol::Tcp, port));
        assert!(!is_there("/nonexistent", Protocol::Tcp, port));
        let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(is_there("/proc/net", Protocol::Udp, port));
        socket.connect("[::1]:9").unwrap();
        assert!(!is_there("/proc/net", Protocol::Udp, port));
    }
}
