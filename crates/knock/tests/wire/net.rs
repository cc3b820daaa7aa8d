//! Two hosts and the wire between them.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use knockd::lab::Host;
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A test, with its name.
pub(crate) type Case = (&'static str, fn() -> Outcome);

/// The client under test, and the original.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_knock");
pub(crate) const THEIRS: &str = "/usr/bin/knock";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The discard service (RFC 863), where the packet goes that ends a recording.
const MARKER: u16 = 9;

/// A client (10.77.0.1, 10.77.0.5, fd77::1), a server (10.77.0.2, 10.77.0.3, fd77::2), and all
/// that arrives at the server.
pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    wire: Wire,
}

/// One TCP or UDP packet or echo request of the client, as the server got it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) from_port: u16,
    pub(crate) to: SocketAddr,
    /// `tcp` with the letters of its flags, or `udp` or `icmp` with its length.
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
    /// Whether its checksum is right. The kernel leaves those of its own packets to the interface,
    /// of which a virtual cable has none.
    pub(crate) is_sound: bool,
}

impl Net {
    pub(crate) fn new() -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("eth0", &server, "server0")?;
        for address in [
            "10.77.0.1/24",
            "10.77.0.5/24",
            "fd77::1/64",
            "fe80::77:1/64",
        ] {
            client.add_address("eth0", address)?;
        }
        for address in [
            "10.77.0.2/24",
            "10.77.0.3/24",
            "fd77::2/64",
            "fe80::77:2/64",
        ] {
            server.add_address("server0", address)?;
        }
        let wire = Wire::new(&server)?;
        Ok(Self {
            client,
            server,
            wire,
        })
    }

    /// Runs `program` on the client to its end.
    pub(crate) fn run(&self, program: &str, arguments: &str) -> Outcome<Output> {
        run(
            &self.client,
            program,
            &arguments.split(' ').collect::<Vec<_>>(),
        )
    }

    /// Adds rules to the server's firewall.
    pub(crate) fn filter_input(&self, rules: &[&str]) -> Outcome {
        filter(&self.server, "input", rules)
    }

    /// Adds rules to the client's firewall.
    pub(crate) fn filter_output(&self, rules: &[&str]) -> Outcome {
        filter(&self.client, "output", rules)
    }

    /// All that the client has sent to the server up to now; `to` is the address that it sent to.
    pub(crate) fn sent(&self, to: &str) -> Outcome<Vec<Packet>> {
        let to: SocketAddr = to.parse()?;
        let marker = SocketAddr::new(to.ip(), MARKER);
        let mut scoped = to;
        scoped.set_port(MARKER);
        self.client.run(|| -> io::Result<usize> {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            UdpSocket::bind(any)?.send_to(b"end", scoped)
        })??;
        self.wire
            .until(|packet| packet.to.ip() == marker.ip() && packet.to.port() == MARKER)
    }

    /// The next packet of the client, waited for.
    pub(crate) fn next(&self) -> Outcome<Packet> {
        self.wire
            .next(Instant::now() + PATIENCE)?
            .ok_or_else(|| "nothing was sent".into())
    }

    /// All that the client sends while `time` passes.
    pub(crate) fn sent_within(&self, time: Duration) -> Outcome<Vec<Packet>> {
        let deadline = Instant::now() + time;
        let mut packets = Vec::new();
        while let Some(packet) = self.wire.next(deadline)? {
            packets.push(packet);
        }
        Ok(packets)
    }
}

/// Runs a program on `host` to its end.
pub(crate) fn run(host: &Host, program: &str, arguments: &[&str]) -> Outcome<Output> {
    run_command(host, Command::new(program).args(arguments))
}

/// Runs a command on `host` to its end, without input.
pub(crate) fn run_command(host: &Host, command: &mut Command) -> Outcome<Output> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = host.spawn(command)?;
    let status = process
        .wait_at_most(PATIENCE)?
        .ok_or_else(|| format!("{command:?} does not end"))?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Some(mut pipe) = process.stdout.take() {
        pipe.read_to_end(&mut stdout)?;
    }
    if let Some(mut pipe) = process.stderr.take() {
        pipe.read_to_end(&mut stderr)?;
    }
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn filter(host: &Host, hook: &str, rules: &[&str]) -> Outcome {
    let mut script = format!(
        "add table inet test; \
         add chain inet test {hook} {{ type filter hook {hook} priority 0; }};"
    );
    for rule in rules {
        script.push_str(&format!("add rule inet test {hook} {rule};"));
    }
    let output = run(host, "nft", &[&script])?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// A packet socket on the server.
pub(crate) struct Wire(Socket);

impl Wire {
    /// Records what the client (10.77.0.0/29, fd77::1, fe80::77:1) sends to `host`, from now on.
    pub(crate) fn new(host: &Host) -> Outcome<Self> {
        // ETH_P_ALL (linux/if_ether.h), in network byte order as packet(7) asks for it.
        let every_protocol = Protocol::from(i32::from(0x0003_u16.to_be()));
        let socket =
            host.run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(every_protocol)))??;
        Ok(Self(socket))
    }

    /// The packets before the first that `ends` wants.
    pub(crate) fn until(&self, ends: impl Fn(&Packet) -> bool) -> Outcome<Vec<Packet>> {
        let deadline = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        loop {
            match self.next(deadline)? {
                Some(packet) if ends(&packet) => return Ok(packets),
                Some(packet) => packets.push(packet),
                None => return Err(format!("no end was seen after {packets:?}").into()),
            }
        }
    }

    /// The next packet of the client; `None` if there is none before `deadline`.
    pub(crate) fn next(&self, deadline: Instant) -> io::Result<Option<Packet>> {
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.0.set_read_timeout(Some(left))?;
            let length = match (&self.0).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let packet = buffer.get(..length).and_then(view);
            if let Some(packet) = packet.filter(|packet| is_of_client(packet.from)) {
                return Ok(Some(packet));
            }
        }
    }
}

fn is_of_client(address: IpAddr) -> bool {
    ["10.77.0.1", "10.77.0.5", "fd77::1", "fe80::77:1"]
        .iter()
        .any(|of_client| of_client.parse() == Ok(address))
}

fn view(bytes: &[u8]) -> Option<Packet> {
    let sliced = SlicedPacket::from_ip(bytes).ok()?;
    let (from, to): (IpAddr, IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Arp(_) => return None,
    };
    let ends = (from, to);
    let (from_port, port, kind, payload, is_sound) = match sliced.transport? {
        TransportSlice::Tcp(tcp) => {
            let letters = [
                ('S', tcp.syn()),
                ('F', tcp.fin()),
                ('R', tcp.rst()),
                ('P', tcp.psh()),
                ('U', tcp.urg()),
                ('.', tcp.ack()),
            ];
            let set = letters.iter().filter(|(_, set)| *set);
            let flags: String = set.map(|(letter, _)| letter).collect();
            let header = tcp.to_header();
            let sum = match ends {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), tcp.payload())
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), tcp.payload())
                }
                _ => return None,
            };
            (
                tcp.source_port(),
                tcp.destination_port(),
                format!("tcp {flags}"),
                tcp.payload(),
                sum == Ok(tcp.checksum()),
            )
        }
        TransportSlice::Udp(udp) => {
            let length = udp.payload().len();
            (
                udp.source_port(),
                udp.destination_port(),
                format!("udp {length}"),
                udp.payload(),
                true,
            )
        }
        TransportSlice::Icmpv4(icmp) => {
            let Icmpv4Type::EchoRequest(_) = icmp.icmp_type() else {
                return None;
            };
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            let kind = format!("icmp {}", icmp.payload().len());
            (0, 0, kind, icmp.payload(), sum == icmp.checksum())
        }
        TransportSlice::Igmp(_) => return None,
        TransportSlice::Icmpv6(icmp) => {
            let Icmpv6Type::EchoRequest(_) = icmp.icmp_type() else {
                return None;
            };
            let (IpAddr::V6(from), IpAddr::V6(to)) = ends else {
                return None;
            };
            let is_sound = icmp.is_checksum_valid(from.octets(), to.octets());
            let kind = format!("icmp {}", icmp.payload().len());
            (0, 0, kind, icmp.payload(), is_sound)
        }
    };
    Some(Packet {
        from,
        from_port,
        to: (to, port).into(),
        kind,
        payload: payload.to_vec(),
        is_sound,
    })
}

/// As the tests write it: `7000 tcp S`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to.port(), self.kind)
    }
}

/// The packets in one line: `7000 tcp S, 8000 udp 1`.
pub(crate) fn line(packets: &[Packet]) -> String {
    let words: Vec<String> = packets.iter().map(Packet::to_string).collect();
    words.join(", ")
}
