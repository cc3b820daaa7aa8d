//! A client, a server, a host behind the server, and what they say to each other.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use knock_core::config;
use knock_core::door::{Door, Native, Widening};
use knock_core::service::{Ports, Service};
use knock_core::time::Timestamp;
use knockd::gate::{Gate, GateError, Opening, Plan, Trial};
use knockd::lab::Host;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;

/// How long a packet that is let through may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long we wait for one that should not come through.
const DOUBT: Duration = Duration::from_millis(250);

/// The client has the addresses 1 and 3 of 10.77.0 and fd77::, the server 2 of them and 254 of
/// 10.88.0 and fd88::, the host behind it 1 of these.
pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) inner: Host,
}

pub(crate) const CLIENT: &str = "10.77.0.1";
pub(crate) const OTHER: &str = "10.77.0.3";
pub(crate) const SERVER: &str = "10.77.0.2";
pub(crate) const INNER: &str = "10.88.0.1";
pub(crate) const CLIENT_6: &str = "fd77::1";
pub(crate) const OTHER_6: &str = "fd77::3";
pub(crate) const SERVER_6: &str = "fd77::2";
pub(crate) const INNER_6: &str = "fd88::1";

impl Net {
    pub(crate) fn new() -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        let inner = Host::new("inner")?;
        client.connect("client0", &server, "server0")?;
        inner.connect("inner0", &server, "behind0")?;
        for address in [CLIENT, OTHER] {
            client.add_address("client0", &format!("{address}/24"))?;
        }
        for address in [CLIENT_6, OTHER_6] {
            client.add_address("client0", &format!("{address}/64"))?;
        }
        for (interface, addresses) in [
            ("server0", ["10.77.0.2/24", "fd77::2/64"]),
            ("behind0", ["10.88.0.254/24", "fd88::254/64"]),
        ] {
            for address in addresses {
                server.add_address(interface, address)?;
            }
        }
        for address in ["10.88.0.1/24", "fd88::1/64"] {
            inner.add_address("inner0", address)?;
        }
        for (host, gateways) in [
            (&client, [SERVER, SERVER_6]),
            (&inner, ["10.88.0.254", "fd88::254"]),
        ] {
            for gateway in gateways {
                host.add_default_route(gateway.parse()?)?;
            }
        }
        server.set_kernel("net/ipv4/ip_forward", "1")?;
        server.set_kernel("net/ipv6/conf/all/forwarding", "1")?;
        Ok(Self {
            client,
            server,
            inner,
        })
    }

    /// Listens at a TCP port of a host, over both families. Connections stand as soon as they are made.
    pub(crate) fn listen(host: &Host, port: u16) -> Outcome<TcpListener> {
        Ok(host.run(|| TcpListener::bind(("::", port)))??)
    }

    /// Whether the client reaches a TCP port.
    pub(crate) fn tcp(&self, from: &str, to: &str, port: u16) -> Outcome<bool> {
        Ok(self.connect(from, to, port, DOUBT)?.is_some())
    }

    /// Whether the client reaches a TCP port; waits until it does.
    pub(crate) fn gets_tcp(&self, from: &str, to: &str, port: u16) -> Outcome<bool> {
        until(|| self.tcp(from, to, port)).map(|()| true)
    }

    /// Whether the client gets an answer from a UDP port; waits until it does.
    pub(crate) fn gets_udp(&self, from: &str, to: &str, port: u16) -> Outcome<bool> {
        until(|| self.udp(from, to, port)).map(|()| true)
    }

    /// Whether the client gets an answer to an echo request; waits until it does.
    pub(crate) fn gets_ping(&self, from: &str, to: &str) -> Outcome<bool> {
        until(|| self.ping(from, to)).map(|()| true)
    }

    /// A connection, or `None` if it does not come about in time.
    pub(crate) fn connect(
        &self,
        from: &str,
        to: &str,
        port: u16,
        patience: Duration,
    ) -> Outcome<Option<TcpStream>> {
        let (from, to) = addresses(from, to, port)?;
        self.client.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            let connected = socket.connect_timeout(&to.into(), patience);
            Ok(connected.is_ok().then(|| socket.into()))
        })?
    }

    /// Whether the client gets an answer from a UDP port.
    pub(crate) fn udp(&self, from: &str, to: &str, port: u16) -> Outcome<bool> {
        let (from, to) = addresses(from, to, port)?;
        self.client.run(|| {
            let socket = UdpSocket::bind(from)?;
            socket.set_read_timeout(Some(DOUBT))?;
            socket.send_to(b"x", to)?;
            Ok(socket.recv_from(&mut [0; 8]).is_ok())
        })?
    }

    /// Whether the client gets an answer to an echo request.
    pub(crate) fn ping(&self, from: &str, to: &str) -> Outcome<bool> {
        let (from, to) = addresses(from, to, 0)?;
        let (protocol, request, reply) = match to {
            SocketAddr::V4(_) => (Protocol::ICMPV4, 8, 0),
            SocketAddr::V6(_) => (Protocol::ICMPV6, 128, 129),
        };
        self.client.run(|| {
            let mut socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
            socket.bind(&from.into())?;
            socket.set_read_timeout(Some(DOUBT))?;
            // Type, code, checksum (the kernel's for ICMPv6), identifier, number.
            let [high, low] = (!(u16::from(request) << 8)).to_be_bytes();
            socket.send_to(&[request, 0, high, low, 0, 0, 0, 0], &to.into())?;
            let mut buffer = [0; 128];
            loop {
                let Ok(length) = socket.read(&mut buffer) else {
                    return Ok(false);
                };
                // IPv4 comes with its header, IPv6 without.
                let header = if to.is_ipv4() { 20 } else { 0 };
                if length > header && buffer.get(header) == Some(&reply) {
                    return Ok(true);
                }
            }
        })?
    }
}

/// A thread that gives back every datagram that comes to a UDP port.
pub(crate) struct Echo(Option<std::thread::JoinHandle<()>>, SocketAddr);

impl Echo {
    pub(crate) fn start(host: &Host, port: u16) -> Outcome<Self> {
        let socket = host.run(|| UdpSocket::bind(("::", port)))??;
        let address = socket.local_addr()?;
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 8];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if buffer.starts_with(b"end") {
                    break;
                }
                let datagram = buffer.get(..length).unwrap_or_default();
                socket.send_to(datagram, from).ok();
            }
        });
        Ok(Self(Some(thread), address))
    }

    pub(crate) fn stop(mut self, host: &Host) -> Outcome {
        let port = self.1.port();
        host.run(|| UdpSocket::bind("127.0.0.1:0")?.send_to(b"end", ("127.0.0.1", port)))??;
        self.0.take().map(std::thread::JoinHandle::join);
        Ok(())
    }
}

fn addresses(from: &str, to: &str, port: u16) -> Outcome<(SocketAddr, SocketAddr)> {
    let (from, to): (IpAddr, IpAddr) = (from.parse()?, to.parse()?);
    Ok(((from, 0).into(), (to, port).into()))
}

/// Whether a connection carries bytes to the other end and back.
pub(crate) fn talks(client: &TcpStream, server: &TcpStream) -> Outcome<bool> {
    there_and_back(client, server, PATIENCE)
}

/// Whether a connection does not.
pub(crate) fn is_cut(client: &TcpStream, server: &TcpStream) -> Outcome<bool> {
    there_and_back(client, server, DOUBT * 2).map(|talks| !talks)
}

fn there_and_back(client: &TcpStream, server: &TcpStream, patience: Duration) -> Outcome<bool> {
    let mut buffer = [0; 1];
    for (mut from, mut to) in [(client, server), (server, client)] {
        from.write_all(b"x")?;
        to.set_read_timeout(Some(patience))?;
        if to.read_exact(&mut buffer).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) use knockd::listen::now;

pub(crate) fn after(seconds: u64) -> Timestamp {
    now().saturating_add(Duration::from_secs(seconds))
}

/// Waits until `condition` holds.
pub(crate) fn until(mut condition: impl FnMut() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() > deadline {
            return Err("it never came about".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[expect(clippy::unwrap_used, reason = "the arguments are the tests' own words")]
pub(crate) fn tcp_ports(first: u16, last: u16) -> Service {
    Service::Tcp(Ports::new(first, last).unwrap())
}

#[expect(clippy::unwrap_used, reason = "the arguments are the tests' own words")]
pub(crate) fn udp_port(port: u16) -> Service {
    Service::Udp(Ports::new(port, port).unwrap())
}

/// A door that opens services, at the host's own addresses unless there are targets.
#[expect(clippy::unwrap_used, reason = "the arguments are the tests' own words")]
pub(crate) fn door(name: &str, targets: &[&str], open: &[Service]) -> Door {
    let text = format!("[{name}]\nsequence = 7000\n");
    let parsed = config::parse(text.as_bytes(), &|_, _| None);
    let mut door = parsed.config.unwrap().doors.remove(0);
    door.trigger.targets = targets
        .iter()
        .map(|target| target.parse().unwrap())
        .collect();
    door.action.native = Some(Native {
        open: open.to_vec(),
        open_for: Native::DEFAULT_TIME,
        open_to: Widening::default(),
    });
    door
}

pub(crate) fn widened(mut door: Door, v4: u8, v6: u8) -> Door {
    if let Some(native) = &mut door.action.native {
        native.open_to = Widening { v4, v6 };
    }
    door
}

/// A gate that is up for doors.
pub(crate) fn up(doors: &[Door]) -> Result<Gate, GateError> {
    let mut gate = Gate::new()?;
    gate.up(&Plan::of(doors), &Trial::new(), now())?;
    Ok(gate)
}

#[expect(clippy::unwrap_used, reason = "the arguments are the tests' own words")]
pub(crate) fn opening(door: &Door, source: &str) -> Opening {
    Opening::of(door, source.parse().unwrap()).unwrap()
}

/// Opens for a source, for some seconds.
pub(crate) fn grant(gate: &mut Gate, door: &Door, source: &str, seconds: u64) -> Outcome {
    Ok(gate.grant(&opening(door, source), after(seconds), now())?)
}

/// Runs nft(8) here, as an administrator would.
pub(crate) fn nft(command: &str) -> Outcome<String> {
    let output = Command::new("nft").args(command.split(' ')).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
