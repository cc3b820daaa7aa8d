//! A client, a server, and frames from one to the other.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use etherparse::PacketBuilder;
use knock_core::sequence::{Protocol, Step, parse_step};
use knockd::lab::{Host, Process};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

use crate::Outcome;

/// A client, and a server whose `server0` has 10.77.0.2 and fd77::2.
pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) cable: Cable,
}

impl Net {
    pub(crate) fn new() -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("client0", &server, "server0")?;
        for address in ["10.77.0.2/24", "fd77::2/64"] {
            server.add_address("server0", address)?;
        }
        let cable = Cable::new(&client, "client0")?;
        Ok(Self {
            client,
            server,
            cable,
        })
    }

    /// Lays one more cable, or one anew.
    pub(crate) fn lay(&self, client: &str, server: &str) -> Outcome<Cable> {
        self.client.connect(client, &self.server, server)?;
        Cable::new(&self.client, client)
    }
}

/// One packet that may be a knock.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Knock {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) step: Step,
}

/// The knocks of `steps` (`7000 8000:udp`) from one address to another.
pub(crate) fn knocks(from: &str, to: &str, steps: &str) -> Outcome<Vec<Knock>> {
    let steps = steps.split_whitespace();
    steps.map(|step| Knock::new(from, to, step)).collect()
}

impl Knock {
    pub(crate) fn new(from: &str, to: &str, step: &str) -> Outcome<Self> {
        Ok(Self {
            from: from.parse()?,
            to: to.parse()?,
            step: parse_step(step).map_err(|_| format!("no step: {step}"))?,
        })
    }

    /// The IP packet: a SYN, or a datagram of one byte.
    pub(crate) fn packet(&self) -> Outcome<Vec<u8>> {
        let ip = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            }
            _ => return Err("two families".into()),
        };
        let (port, mut bytes) = (self.step.port, Vec::new());
        match self.step.protocol {
            Protocol::Tcp => ip
                .tcp(40_000, port, 1, 65_535)
                .syn()
                .write(&mut bytes, &[])?,
            Protocol::Udp => ip.udp(40_000, port).write(&mut bytes, &[0])?,
        }
        Ok(bytes)
    }

    fn frame(&self, vlan: Option<u16>) -> Outcome<Vec<u8>> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        if let Some(id) = vlan {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        let ether_type: u16 = if self.from.is_ipv4() { 0x0800 } else { 0x86dd };
        frame.extend(ether_type.to_be_bytes());
        frame.extend(self.packet()?);
        Ok(frame)
    }
}

/// A raw socket at the client's end of a cable. Frames need no answer of the other end, so that
/// the server may have any addresses, or none.
pub(crate) struct Cable {
    socket: OwnedFd,
    interface: LinkAddr,
}

impl Cable {
    fn new(client: &Host, interface: &str) -> Outcome<Self> {
        client.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            // The only safe source of a link-layer address is the kernel's own list.
            let address = getifaddrs()?
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address?.as_link_addr().copied());
            let interface = address.ok_or_else(|| format!("no interface {interface}"))?;
            Ok(Self { socket, interface })
        })?
    }

    pub(crate) fn send(&self, knock: &Knock) -> Outcome {
        self.send_frame(&knock.frame(None)?)
    }

    /// Sends it behind an IEEE 802.1Q tag.
    pub(crate) fn send_tagged(&self, knock: &Knock, vlan: u16) -> Outcome {
        self.send_frame(&knock.frame(Some(vlan))?)
    }

    fn send_frame(&self, frame: &[u8]) -> Outcome {
        sendto(
            self.socket.as_raw_fd(),
            frame,
            &self.interface,
            MsgFlags::empty(),
        )?;
        Ok(())
    }
}

/// The program that has the other end of a tun interface; it vanishes with this.
pub(crate) struct Tun(Process);

const TUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testing/tools/tun.py");

pub(crate) fn can_make_tun() -> bool {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let mut python = Command::new("python3");
    python.arg("--version").stdout(Stdio::null());
    device.is_ok() && python.status().is_ok_and(|status| status.success())
}

impl Tun {
    /// A tun interface of `host`, up.
    pub(crate) fn new(host: &Host, name: &str) -> Outcome<Self> {
        let mut command = Command::new("python3");
        command.args([TUN, name, "65534"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = host.spawn(&mut command)?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "ready\n" {
            return Err("no tun interface".into());
        }
        host.set_up(name, true)?;
        Ok(Self(process))
    }

    pub(crate) fn send(&mut self, knock: &Knock) -> Outcome {
        let mut line: String = knock.packet()?.iter().map(|b| format!("{b:02x}")).collect();
        line.push('\n');
        let stdin = self.0.stdin.as_mut().ok_or("no standard input")?;
        stdin.write_all(line.as_bytes())?;
        Ok(stdin.flush()?)
    }
}
