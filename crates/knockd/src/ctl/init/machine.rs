//! What this machine is like, as far as a first configuration goes by it. Nothing is changed.

use std::env;
use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use knock_core::sequence::Protocol;
use nix::ifaddrs::getifaddrs;
use nix::unistd::User;

use crate::ctl::check::clients;
use crate::ctl::check::guards::ssh_port;
use crate::ctl::check::listeners::Listeners;
use crate::ctl::doctor::find::{By, Daemon, FindError, find};
use crate::listen::{ANY, interface_of_default_route};
use crate::services::Services;

/// Where ssh listens, unless something says otherwise.
const SSH: u16 = 22;

/// The ports that the kernel gives to programs that ask for any, where it does not say.
const GIVEN: RangeInclusive<u16> = 32_768..=60_999;

/// Where its owner's public keys are, below a home.
const KEYS: &str = ".ssh/authorized_keys";

/// What was found.
#[derive(Debug)]
pub(super) struct Machine {
    /// Without the loopback interface, in the kernel's order.
    pub(super) interfaces: Vec<Interface>,
    /// The one with the default route, or `any`.
    pub(super) usual: String,
    pub(super) listeners: Listeners,
    /// Where this ssh session came in, or else where ssh usually listens if something does there.
    pub(super) ssh: Option<u16>,
    /// The accounts that have a file of public keys, who called first, and that file.
    pub(super) keys: Option<String>,
    pub(super) given: RangeInclusive<u16>,
    pub(super) services: Services,
    pub(super) daemon: Running,
    /// What can open a port on demand, if the gate does not.
    pub(super) firewall: Option<Firewall>,
}

/// An interface and its addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// A program named `knockd` that runs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Running {
    No,
    /// One like this, the number of its process.
    Ours(u32),
    /// One that is a single process, as the distribution's is.
    Other(u32),
}

/// A firewall that commands can open.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Firewall {
    Ufw,
    Iptables,
}

impl Machine {
    pub(super) fn look() -> Self {
        let listeners = Listeners::read(Path::new("/proc/net"));
        let usual_ssh = || listeners.has(Protocol::Tcp, SSH).then_some(SSH);
        let usual = interface_of_default_route().ok().flatten();
        Self {
            interfaces: interfaces(),
            usual: usual.unwrap_or_else(|| ANY.to_owned()),
            ssh: ssh_port().or_else(usual_ssh),
            keys: keys(),
            given: clients::given(Path::new(clients::FOLDER)).unwrap_or(GIVEN),
            services: Services::system(),
            daemon: running(Path::new("/proc")),
            firewall: firewall(),
            listeners,
        }
    }

    /// Whether something may be found at this port, or come to it unasked.
    pub(super) fn uses(&self, port: u16) -> bool {
        let listens = |protocol| self.listeners.has(protocol, port);
        listens(Protocol::Tcp)
            || listens(Protocol::Udp)
            || self.services.has(port)
            || self.ssh == Some(port)
    }

    /// The address that others reach this machine by, as far as it knows: IPv4 before IPv6.
    pub(super) fn address(&self, wanted: &[String]) -> Option<IpAddr> {
        let is_wanted = |name: &String| wanted.iter().any(|w| w == name || w == ANY);
        let chosen = self.interfaces.iter();
        let chosen = chosen.filter(|interface| wanted.is_empty() || is_wanted(&interface.name));
        let mut addresses: Vec<_> = chosen.flat_map(|i| i.addresses.iter().copied()).collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.first().copied()
    }
}

/// Without those of the loopback interface, and without addresses that only the neighbours reach.
fn interfaces() -> Vec<Interface> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let mut interfaces: Vec<Interface> = Vec::new();
    for found in all {
        if found
            .flags
            .contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK)
        {
            continue;
        }
        let storage = found.address;
        let v4 = storage.and_then(|a| Some(IpAddr::V4(a.as_sockaddr_in()?.ip())));
        let v6 = storage.and_then(|a| Some(IpAddr::V6(a.as_sockaddr_in6()?.ip())));
        let far = |address: &IpAddr| match address {
            IpAddr::V4(a) => !a.is_link_local(),
            IpAddr::V6(a) => !a.is_unicast_link_local(),
        };
        let address = v4.or(v6).filter(far);
        match interfaces
            .iter_mut()
            .find(|i| i.name == found.interface_name)
        {
            Some(known) => known.addresses.extend(address),
            None => interfaces.push(Interface {
                name: found.interface_name,
                addresses: address.into_iter().collect(),
            }),
        }
    }
    interfaces
}

/// As `authorized_keys` writes it. Who has called sudo or doas comes before root.
fn keys() -> Option<String> {
    let callers = ["SUDO_USER", "DOAS_USER", "USER"].map(|name| env::var(name).ok());
    let accounts = callers.into_iter().flatten().chain(["root".to_owned()]);
    let has_keys = |account: &String| {
        let user = User::from_name(account).ok().flatten();
        user.is_some_and(|user| {
            let metadata = user.dir.join(KEYS).metadata();
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
        })
    };
    let mut accounts = accounts.filter(has_keys);
    accounts.next().map(|account| format!("~{account}/{KEYS}"))
}

/// Those of other network namespaces, such as of containers, hear other knocks.
fn running(proc: &Path) -> Running {
    let here = fs::read_link(proc.join("self/ns/net")).ok();
    let is_here = |pid: u32| fs::read_link(proc.join(format!("{pid}/ns/net"))).ok() == here;
    let pids = match find(proc, &By::Search(&[])) {
        Ok(daemon) => vec![daemon.keeper],
        Err(FindError::Several(pids)) => pids,
        Err(_) => Vec::new(),
    };
    let mut here = pids.into_iter().filter(|pid| is_here(*pid));
    match here.find_map(|pid| find(proc, &By::Pid(pid)).ok()) {
        Some(Daemon { keeper, listeners }) if listeners.is_empty() => Running::Other(keeper),
        Some(Daemon { keeper, .. }) => Running::Ours(keeper),
        None => Running::No,
    }
}

/// ufw if it is switched on, since it overwrites what others add to its chains at a reload.
fn firewall() -> Option<Firewall> {
    let ufw = fs::read_to_string("/etc/ufw/ufw.conf").unwrap_or_default();
    let is_on = ufw
        .lines()
        .any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"));
    let has = |program: &str| {
        let folders = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
        folders.iter().any(|folder| folder.join(program).is_file())
    };
    match () {
        () if is_on && has("ufw") => Some(Firewall::Ufw),
        () if has("iptables") && has("ip6tables") => Some(Firewall::Iptables),
        () => None,
    }
}
