//! `knockctl profile`: one JSON object with what a client must know, for `knock enroll`.

use std::net::{IpAddr, ToSocketAddrs};
use std::process::ExitCode;

use clap::Args;
use nix::ifaddrs::getifaddrs;
use serde::Serialize;

use super::gate::{File, finish};
use super::keys::existing;
use crate::spa::base64::encode;

/// The command line of `knockctl profile`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    file: File,
    /// The name or address that clients reach this host by; its own addresses where it is not given
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Show it as a QR code for a phone: whoever can see the screen can read it
    #[arg(long)]
    qr: bool,
}

#[derive(Debug, Serialize)]
struct Profile {
    version: u8,
    addresses: Vec<IpAddr>,
    port: u16,
    epoch: u32,
    server: String,
    site: String,
    doors: Vec<String>,
}

/// Runs `knockctl profile`; exits with 1 if there is none.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(profile(options))
}

fn profile(options: &Options) -> Result<String, String> {
    let config = options.file.load()?.loaded.config;
    let doors = config.doors.iter().filter(|door| door.spa.is_some());
    let doors: Vec<_> = doors.map(|door| door.name.clone()).collect();
    let Some(port) = config.spa_ports().first().copied() else {
        let path = options.file.path().display();
        return Err(format!(
            "{path}: no door has `authorized_keys`: sealed packets open none"
        ));
    };
    let store = existing(config.options.state_dir.as_ref())?;
    let addresses = match &options.host {
        Some(host) => resolve(host)?,
        None => own()?,
    };
    if addresses.is_empty() {
        return Err("this host has no address that others reach; name it with --host".to_owned());
    }
    let profile = Profile {
        version: 1,
        addresses,
        port,
        epoch: store.current.number.0,
        server: encode(&store.current.server.public().0),
        site: encode(store.current.site.expose()),
        doors,
    };
    let text = serde_json::to_string(&profile).map_err(|error| error.to_string())?;
    if !options.qr {
        return Ok(text);
    }
    let drawing = super::qr::draw(&text).ok_or_else(|| {
        let bytes = text.len();
        format!(
            "the profile has {bytes} bytes, too many for a QR code: name one address with --host"
        )
    })?;
    Ok(format!(
        "{drawing}This has the site key in it, which is a secret: clear the screen when it is read."
    ))
}

fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    let found = (host, 0).to_socket_addrs();
    let found = found.map_err(|error| format!("{host}: {error}"))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

/// The addresses of the interfaces, without those that are good on this host or this link alone.
pub(super) fn own() -> Result<Vec<IpAddr>, String> {
    let interfaces = getifaddrs().map_err(|error| error.to_string())?;
    let mut addresses = Vec::new();
    for address in interfaces.filter_map(|interface| interface.address) {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        let Some(ip) = v4.or(v6) else { continue };
        let near = match ip {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        if !near && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}
