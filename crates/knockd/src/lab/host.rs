//! A host of a lab: a network namespace that lives as long as the value.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::isolate::STAGE;
use super::route::Route;
use super::{LabError, Process};

/// A network namespace of its own, with its loopback interface up and nothing else.
///
/// All methods may be called from any thread. Interfaces vanish with the host at either end of
/// their cable. Interface names have at most 15 bytes.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: OwnedFd,
    route: Mutex<Route>,
}

impl Host {
    /// A new host; `name` is only for error messages.
    ///
    /// # Errors
    /// [`LabError::Refused`] if we may not make namespaces (see [`super::isolate()`]).
    pub fn new(name: &str) -> Result<Self, LabError> {
        let (namespace, route) = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(LabError::refused("a network namespace"))?;
            let open = || {
                Ok((
                    File::open("/proc/thread-self/ns/net")?.into(),
                    Route::new()?,
                ))
            };
            open().map_err(LabError::system::<io::Error>("open a network namespace"))
        })??;
        let host = Self {
            name: name.to_owned(),
            namespace,
            route: Mutex::new(route),
        };
        host.set_up("lo", true)?;
        Ok(host)
    }

    /// The name that it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lays a virtual cable (veth) from `interface` here to `peer_interface` of `peer`; both ends
    /// are new, and up when this returns.
    ///
    /// # Errors
    /// [`LabError::Network`], for instance if a name is taken.
    pub fn connect(
        &self,
        interface: &str,
        peer: &Self,
        peer_interface: &str,
    ) -> Result<(), LabError> {
        let what = || format!("connect {interface} to {peer_interface} of {}", peer.name);
        let there = peer.namespace.as_fd();
        self.change(
            |route| route.add_veth(interface, peer_interface, there),
            what,
        )?;
        self.set_up(interface, true)?;
        peer.set_up(peer_interface, true)
    }

    /// Adds the interface `name`, the VLAN `id` (IEEE 802.1Q, 1 to 4094) of `parent`; up.
    ///
    /// # Errors
    /// [`LabError::Network`].
    pub fn add_vlan(&self, name: &str, parent: &str, id: u16) -> Result<(), LabError> {
        self.change(
            |route| route.add_vlan(name, parent, id),
            || format!("add {name} as VLAN {id} of {parent}"),
        )?;
        self.set_up(name, true)
    }

    /// Adds the bridge `name` with `ports`; up.
    ///
    /// # Errors
    /// [`LabError::Network`], for instance if a port does not exist.
    pub fn add_bridge(&self, name: &str, ports: &[&str]) -> Result<(), LabError> {
        self.change(
            |route| route.add_bridge(name),
            || format!("add bridge {name}"),
        )?;
        for port in ports {
            self.change(
                |route| route.set_bridge(port, name),
                || format!("add {port} to bridge {name}"),
            )?;
        }
        self.set_up(name, true)
    }

    /// Adds an address with its prefix length (`10.77.0.2/24`, `fd77::2/64`); it is usable at once.
    ///
    /// # Errors
    /// [`LabError::Address`] if `address` is none; [`LabError::Network`].
    pub fn add_address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let (ip, prefix) = parse(address)?;
        self.change(
            |route| route.add_address(interface, ip, prefix),
            || format!("add {address} to {interface}"),
        )
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// As [`Host::add_address`].
    pub fn remove_address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let (ip, prefix) = parse(address)?;
        self.change(
            |route| route.remove_address(interface, ip, prefix),
            || format!("remove {address} from {interface}"),
        )
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// [`LabError::Network`].
    pub fn set_up(&self, interface: &str, up: bool) -> Result<(), LabError> {
        let direction = if up { "up" } else { "down" };
        self.change(
            |route| route.set_up(interface, up),
            || format!("set {interface} {direction}"),
        )
    }

    /// Gives an interface, which must be down, another name.
    ///
    /// # Errors
    /// [`LabError::Network`].
    pub fn rename(&self, interface: &str, name: &str) -> Result<(), LabError> {
        self.change(
            |route| route.rename(interface, name),
            || format!("rename {interface} to {name}"),
        )
    }

    /// Deletes an interface (and with it the other end of its cable).
    ///
    /// # Errors
    /// [`LabError::Network`].
    pub fn delete(&self, interface: &str) -> Result<(), LabError> {
        self.change(
            |route| route.delete(interface),
            || format!("delete {interface}"),
        )
    }

    /// Sends everything that no address of ours explains to `gateway`.
    ///
    /// # Errors
    /// [`LabError::Network`], for instance if the gateway cannot be reached directly.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<(), LabError> {
        self.change(
            |route| route.add_default_route(gateway),
            || format!("route to {gateway}"),
        )
    }

    /// The kernel's number of an interface.
    ///
    /// # Errors
    /// [`LabError::Network`] if there is no such interface.
    pub fn index(&self, interface: &str) -> Result<u32, LabError> {
        self.change(
            |route| Ok(route.link(interface)?.index),
            || format!("find {interface}"),
        )
    }

    /// The Ethernet address of an interface.
    ///
    /// # Errors
    /// [`LabError::Network`] if there is no such interface, or it has no Ethernet address.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6], LabError> {
        let mac = |route: &mut Route| {
            let bytes = route.link(interface)?.mac;
            <[u8; 6]>::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        self.change(mac, || format!("find the Ethernet address of {interface}"))
    }

    /// Sets a kernel setting of this host, for instance `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// [`LabError::Network`].
    pub fn set_kernel(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{key}");
        self.run(|| fs::write(&path, value))?
            .map_err(|error| LabError::Network {
                host: self.name.clone(),
                what: format!("set {key} to {value}"),
                error,
            })
    }

    /// Runs `job` in a thread on this host and waits for it. Sockets that it makes are this host's for
    /// ever, and may be handed back.
    ///
    /// # Errors
    /// [`LabError::Panicked`] if it panics.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        in_thread(|| {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET)
                .map_err(LabError::system("enter a network namespace"))?;
            Ok(job())
        })?
    }

    /// Starts a program on this host; it is killed when the returned value is dropped.
    ///
    /// # Errors
    /// [`LabError::Spawn`] if there is no such program.
    pub fn spawn(&self, command: &mut Command) -> Result<Process, LabError> {
        command.env_remove(STAGE);
        let spawned = self.run(|| command.spawn())?;
        spawned.map(Process::new).map_err(|error| LabError::Spawn {
            program: command.get_program().to_string_lossy().into_owned(),
            error,
        })
    }

    fn change<T>(
        &self,
        job: impl FnOnce(&mut Route) -> io::Result<T>,
        what: impl FnOnce() -> String,
    ) -> Result<T, LabError> {
        job(&mut self.route()).map_err(|error| LabError::Network {
            host: self.name.clone(),
            what: what(),
            error,
        })
    }

    /// The socket is in order even if a thread panicked while it held the lock: answers to older
    /// questions are skipped by their number.
    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A namespace belongs to a thread, so each job gets a thread that ends with it.
fn in_thread<T: Send>(job: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    thread::scope(|scope| scope.spawn(job).join()).map_err(|_| LabError::Panicked)
}

fn parse(text: &str) -> Result<(IpAddr, u8), LabError> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    };
    parse().ok_or_else(|| LabError::Address(text.to_owned()))
}
