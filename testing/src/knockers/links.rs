//! Real clients over links that are no Ethernet cards: VLAN, tun, PPP, and one that goes and comes
//! back.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use knockd::lab::{Host, Process};

use crate::Result;
use crate::case::Medium;
use crate::network::{CLIENT_INTERFACE, Network, SERVER_INTERFACE};
use crate::site::Site;

use super::{Programs, Scenario};

const DOOR: &str = "
[A]
	sequence = 7000,8000:udp,9000
	tcpflags = syn
	command = echo A %IP% >> {hits}
";

/// Link types of linux/if_arp.h.
const NONE: &str = "65534";
const PPP: &str = "512";

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    let tunnel = |name, run: fn(&Programs) -> Result<()>| {
        Scenario::new(name, &["knock", "python3"], run).with(tun_support)
    };
    vec![
        Scenario::new("both clients over a VLAN (-i server0.7)", &["knock"], vlan)
            .with(vlan_support),
        Scenario::new(
            "a VLAN's address is not one of the card's (-i server0)",
            &[],
            vlan_parent,
        )
        .with(vlan_support),
        tunnel("both clients over a tun interface", |programs| {
            tunnels(programs, "tun0", NONE)
        }),
        tunnel("both clients over a PPP-like interface (-i ppp0)", |p| {
            tunnels(p, "ppp0", PPP)
        }),
        tunnel(
            "ppp0 goes, and comes back with another address (-i ppp0)",
            redial,
        ),
    ]
}

fn vlan_support() -> Option<&'static str> {
    let probe = || Host::new("probe")?.add_vlan("probe", "lo", 9);
    probe().err().map(|_| "VLAN interfaces of the kernel")
}

fn tun_support() -> Option<&'static str> {
    let device = "/dev/net/tun";
    let open = File::options().read(true).write(true).open(device);
    open.is_err().then_some(device)
}

/// Runs our client, then theirs, over both families, to 10.78.0.2 and fd78::2.
fn knock_all(site: &Site, programs: &Programs) -> Result<()> {
    let ours = programs.knock.display();
    let theirs = "/usr/bin/knock";
    for (count, command) in (1..).zip([
        format!("{ours} 10.78.0.2"),
        format!("{theirs} 10.78.0.2"),
        format!("{ours} fd78::2"),
        format!("{theirs} fd78::2"),
    ]) {
        site.client(&format!("{command} 7000 8000:udp 9000"))?;
        site.wait_until(&format!("`{command}` opens"), PATIENCE, || {
            site.openings("A") == count
        })?;
    }
    site.settle("10.78.0.2")?;
    let count = site.openings("A");
    site.require(count == 4, || format!("it opens {count} times, not 4"))
}

fn add_addresses(network: &Network, client: &str, server: &str) -> Result<()> {
    network.client.add_address(client, "10.78.0.1/24")?;
    network.client.add_address(client, "fd78::1/64")?;
    network.server.add_address(server, "10.78.0.2/24")?;
    Ok(network.server.add_address(server, "fd78::2/64")?)
}

fn network_with_vlan() -> Result<Network> {
    let network = Network::new(Medium::Ethernet)?;
    network.client.add_vlan("client0.7", CLIENT_INTERFACE, 7)?;
    network.server.add_vlan("server0.7", SERVER_INTERFACE, 7)?;
    add_addresses(&network, "client0.7", "server0.7")?;
    Ok(network)
}

fn vlan(programs: &Programs) -> Result<()> {
    let site = Site::on(network_with_vlan()?, "server0.7", &programs.knockd, DOOR)?;
    knock_all(&site, programs)
}

fn vlan_parent(programs: &Programs) -> Result<()> {
    let site = Site::on(
        network_with_vlan()?,
        SERVER_INTERFACE,
        &programs.knockd,
        DOOR,
    )?;
    let knock = |address: &str| {
        let knock = programs.knock.display();
        site.client(&format!("{knock} {address} 7000 8000:udp 9000"))
    };
    knock("10.78.0.2")?;
    site.settle("10.77.0.2")?;
    let count = site.openings("A");
    site.require(count == 0, || format!("it opens {count} times"))?;
    knock("10.77.0.2")?;
    site.wait_for_line("10.77.0.1: A: OPEN SESAME")
}

/// A point-to-point link: an interface on each host, and two programs that pass packets on.
struct Tunnel {
    name: &'static str,
    link_type: &'static str,
    client: OwnedFd,
    server: OwnedFd,
}

impl Tunnel {
    fn new(name: &'static str, link_type: &'static str) -> Result<Self> {
        let (client, server) = UnixDatagram::pair()?;
        Ok(Self {
            name,
            link_type,
            client: client.into(),
            server: server.into(),
        })
    }

    /// Makes the interface of one end; it vanishes with what is returned.
    fn dial(&self, host: &Host, end: &OwnedFd) -> Result<Process> {
        let mut command = Command::new("python3");
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/tunnel.py"))
            .args([self.name, self.link_type])
            .stdin(Stdio::from(end.try_clone()?))
            .stdout(Stdio::piped());
        let mut process = host.spawn(&mut command)?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line != "ready\n" {
            return Err(format!("no interface {}", self.name).into());
        }
        host.set_up(self.name, true)?;
        Ok(process)
    }
}

fn tunnels(programs: &Programs, name: &'static str, link_type: &'static str) -> Result<()> {
    let tunnel = Tunnel::new(name, link_type)?;
    let network = Network::new(Medium::Ethernet)?;
    let _client = tunnel.dial(&network.client, &tunnel.client)?;
    let _server = tunnel.dial(&network.server, &tunnel.server)?;
    add_addresses(&network, name, name)?;
    let site = Site::on(network, name, &programs.knockd, DOOR)?;
    knock_all(&site, programs)
}

/// What a DSL line does each night.
fn redial(programs: &Programs) -> Result<()> {
    let tunnel = Tunnel::new("ppp0", PPP)?;
    let network = Network::new(Medium::Ethernet)?;
    let _client = tunnel.dial(&network.client, &tunnel.client)?;
    let server = tunnel.dial(&network.server, &tunnel.server)?;
    add_addresses(&network, "ppp0", "ppp0")?;
    let site = Site::on(network, "ppp0", &programs.knockd, DOOR)?;
    knock_all(&site, programs)?;

    drop(server);
    let host = &site.network.server;
    site.wait_until("ppp0 vanishes", PATIENCE, || host.index("ppp0").is_err())?;
    let _server = tunnel.dial(host, &tunnel.server)?;
    host.add_address("ppp0", "10.78.0.3/24")?;
    // The daemon notices in its own time; a knock that comes too early is not one too many.
    let knock = format!(
        "{} -d 20 10.78.0.3 7000 8000:udp 9000",
        programs.knock.display()
    );
    site.wait_until("a knock at the new address opens", PATIENCE, || {
        site.client(&knock).is_ok() && site.openings("A") > 4
    })
}
