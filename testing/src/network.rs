//! The network of a case: a client and a server, joined by a virtual cable.

use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use knockd::lab::{Host, Process};
use nix::ifaddrs::getifaddrs;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, sendmmsg, sendto, socket,
};
use nix::unistd::Pid;

use crate::Result;
use crate::case::{LinkChange, Medium};
use crate::frame::{self, Link};
use crate::script::Knock;

/// The server's interface, at which the daemon listens.
pub const SERVER_INTERFACE: &str = "server0";
/// The client's interface.
pub const CLIENT_INTERFACE: &str = "client0";

/// A client (10.77.0.1, fd77::1) and a server (10.77.0.2 and .3, fd77::2 and ::3).
#[derive(Debug)]
pub struct Network {
    /// Where knocks come from.
    pub client: Host,
    /// Where the daemon runs.
    pub server: Host,
    sender: Sender,
    next_port: AtomicU16,
    server_namespace: PathBuf,
}

impl Network {
    /// A new network, with all interfaces up; the server's is of type `medium`.
    ///
    /// # Errors
    /// If the kernel does not allow namespaces.
    pub fn new(medium: Medium) -> Result<Self> {
        let client = Host::new("client")?;
        let server = Host::new("server")?;
        let tun = |link_type| Ok(Sender::Tun(Mutex::new(Tun::new(&server, link_type)?)));
        let sender: Result<Sender> = match medium {
            Medium::Ethernet => lay_cable(&client, &server),
            Medium::Tun => tun("65534"),
            Medium::Ppp => tun("512"),
        };
        let sender = sender?;
        let server_namespace = server.run(|| fs::read_link("/proc/thread-self/ns/net"))??;
        Ok(Self {
            client,
            server,
            sender,
            next_port: AtomicU16::new(0),
            server_namespace,
        })
    }

    /// Sends a packet from the client.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub fn send(&self, knock: &Knock) -> Result<()> {
        let port = 32_768 + self.next_port.fetch_add(1, Ordering::Relaxed) % 28_000;
        match &self.sender {
            Sender::Cable(cable) => cable.send(knock, port),
            Sender::Tun(tun) => tun
                .lock()
                .map_err(|_| "a sender panicked")?
                .send(knock, port),
        }
    }

    /// The frame of a packet from the client.
    ///
    /// # Errors
    /// If there is no cable.
    pub fn frame(&self, knock: &Knock) -> Result<Vec<u8>> {
        match &self.sender {
            Sender::Cable(cable) => Ok(frame::build(knock, cable.link, 40_000)),
            Sender::Tun(_) => Err("there is no cable".into()),
        }
    }

    /// A way of its own to send frames from the client, up to `size` at once.
    ///
    /// # Errors
    /// If there is no cable.
    pub fn batches(&self, size: usize) -> Result<Batches> {
        let Sender::Cable(Cable { link, .. }) = self.sender else {
            return Err("there is no cable".into());
        };
        let cable = self.client.run(|| Cable::new(CLIENT_INTERFACE, link))??;
        Ok(Batches {
            addresses: vec![Some(cable.interface); size],
            headers: MultiHeaders::preallocate(size, None),
            socket: cable.socket,
        })
    }

    /// Changes the cable at the server's end.
    ///
    /// # Errors
    /// If the interface is not there, or there already.
    pub fn change_link(&mut self, change: LinkChange) -> Result<()> {
        match change {
            LinkChange::Down => self.server.set_up(SERVER_INTERFACE, false)?,
            LinkChange::Up => self.server.set_up(SERVER_INTERFACE, true)?,
            LinkChange::Delete => self.server.delete(SERVER_INTERFACE)?,
            LinkChange::Make => self.sender = lay_cable(&self.client, &self.server)?,
        }
        Ok(())
    }

    /// Runs a shell command on the server.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn server_shell(&self, command: &str) -> Result<ExitStatus> {
        shell(&self.server, command)
    }

    /// Runs a shell command on the client.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn client_shell(&self, command: &str) -> Result<ExitStatus> {
        shell(&self.client, command)
    }

    /// How many packet sockets there are on the server.
    #[must_use]
    pub fn packet_sockets(&self) -> usize {
        let read = || fs::read_to_string("/proc/thread-self/net/packet");
        let text = self.server.run(read).ok().and_then(std::result::Result::ok);
        text.map_or(0, |text| text.lines().count().saturating_sub(1))
    }

    /// The processes that run on the server: all that a daemon has started and left behind.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pid = |name: std::ffi::OsString| name.to_str()?.parse::<i32>().ok();
        entries
            .flatten()
            .filter(|entry| {
                fs::read_link(entry.path().join("ns/net"))
                    .is_ok_and(|namespace| namespace == self.server_namespace)
            })
            .filter_map(|entry| pid(entry.file_name()))
            .map(Pid::from_raw)
            .collect()
    }
}

/// The original leaves sleeping children behind; they would hold the namespace.
impl Drop for Network {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended meanwhile, which is as good.
            kill(pid, Signal::SIGKILL).unwrap_or_default();
        }
    }
}

fn lay_cable(client: &Host, server: &Host) -> Result<Sender> {
    client.connect(CLIENT_INTERFACE, server, SERVER_INTERFACE)?;
    client.add_address(CLIENT_INTERFACE, "10.77.0.1/24")?;
    client.add_address(CLIENT_INTERFACE, "fd77::1/64")?;
    for address in ["10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64"] {
        server.add_address(SERVER_INTERFACE, address)?;
    }
    let link = Link {
        source: client.mac(CLIENT_INTERFACE)?,
        destination: server.mac(SERVER_INTERFACE)?,
    };
    let cable = client.run(|| Cable::new(CLIENT_INTERFACE, link))??;
    Ok(Sender::Cable(cable))
}

fn shell(host: &Host, command: &str) -> Result<ExitStatus> {
    let mut bash = Command::new("bash");
    bash.args(["-c", command])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    Ok(host.spawn(&mut bash)?.wait()?)
}

/// How packets get to the server.
#[derive(Debug)]
enum Sender {
    Cable(Cable),
    Tun(Mutex<Tun>),
}

/// A raw socket that sends frames out of the client's interface.
#[derive(Debug)]
struct Cable {
    socket: OwnedFd,
    interface: LinkAddr,
    link: Link,
}

impl Cable {
    /// Must run on the host that has `interface`.
    fn new(interface: &str, link: Link) -> Result<Self> {
        let kind = SockType::Raw;
        let socket = socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, None)?;
        // The only safe source of a link-layer address is the kernel's own list.
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(|| format!("no interface {interface}"))?;
        Ok(Self {
            socket,
            interface: address,
            link,
        })
    }

    fn send(&self, knock: &Knock, port: u16) -> Result<()> {
        let frame = frame::build(knock, self.link, port);
        let flags = MsgFlags::empty();
        sendto(self.socket.as_raw_fd(), &frame, &self.interface, flags)?;
        Ok(())
    }
}

/// Sends many frames with one system call.
#[derive(Debug)]
pub struct Batches {
    socket: OwnedFd,
    addresses: Vec<Option<LinkAddr>>,
    headers: MultiHeaders<LinkAddr>,
}

impl Batches {
    /// Sends `frames`; how many were taken.
    ///
    /// # Errors
    /// If the kernel takes none.
    pub fn send(&mut self, frames: &[impl AsRef<[u8]>]) -> Result<usize> {
        let slices: Vec<_> = frames.iter().map(|f| [IoSlice::new(f.as_ref())]).collect();
        let socket = self.socket.as_raw_fd();
        let (addresses, flags) = (&self.addresses, MsgFlags::empty());
        let sent = sendmmsg(socket, &mut self.headers, &slices, addresses, [], flags)?;
        Ok(sent.count())
    }
}

/// A program that has the other end of the server's tun interface.
#[derive(Debug)]
struct Tun(Process);

impl Tun {
    fn new(server: &Host, link_type: &str) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/tun.py");
        let mut command = Command::new("python3");
        command
            .args([script, SERVER_INTERFACE, link_type])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = server.spawn(&mut command)?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "ready\n" {
            return Err("no tun interface".into());
        }
        server.set_up(SERVER_INTERFACE, true)?;
        for address in ["10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64"] {
            server.add_address(SERVER_INTERFACE, address)?;
        }
        Ok(Self(process))
    }

    fn send(&mut self, knock: &Knock, port: u16) -> Result<()> {
        let (_, packet) = frame::ip_packet(knock, port);
        let mut line: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        line.push('\n');
        let stdin = self.0.stdin.as_mut().ok_or("no standard input")?;
        stdin.write_all(line.as_bytes())?;
        Ok(stdin.flush()?)
    }
}
