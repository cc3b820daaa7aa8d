//! The host's interfaces and their addresses, as route netlink tells them (rtnetlink(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// The most datagrams that one call of [`Links::handle_readable`] reads.
const DATAGRAMS_A_CALL: usize = 256;

/// An interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// Every interface of a network namespace, by index; kept up to date.
#[derive(Debug)]
pub(super) struct Links {
    changes: Socket,
    links: BTreeMap<u32, Link>,
    /// Changes were lost, and to ask for everything anew has failed so far.
    stale: bool,
}

impl Links {
    /// The interfaces of the caller's network namespace.
    pub(super) fn new() -> io::Result<Self> {
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        changes.bind(&SocketAddr::new(0, GROUPS))?;
        changes.set_non_blocking(true)?;
        let mut links = Self {
            changes,
            links: BTreeMap::new(),
            stale: false,
        };
        links.refresh()?;
        Ok(links)
    }

    /// All interfaces, by index.
    pub(super) const fn all(&self) -> &BTreeMap<u32, Link> {
        &self.links
    }

    /// The index of the interface `name`.
    pub(super) fn index(&self, name: &str) -> Option<u32> {
        let mut links = self.links.iter();
        links.find_map(|(index, link)| (link.name == name).then_some(*index))
    }

    /// Asks the kernel for everything anew. Changes that come meanwhile are told afterwards, and
    /// each says what is, so that hearing of it twice does no harm. If the kernel does not answer,
    /// what was known before stays.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let before = std::mem::take(&mut self.links);
        let asked = self.ask();
        if asked.is_err() {
            self.links = before;
        }
        self.stale = asked.is_err();
        asked
    }

    fn ask(&mut self) -> io::Result<()> {
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for question in [links, addresses] {
            dump(question, |answer| self.learn(answer))?;
        }
        Ok(())
    }

    /// Reads the changes that are there, up to a bound. Whether there was any.
    pub(super) fn handle_readable(&mut self) -> io::Result<bool> {
        // That it fails was told when it first did.
        let mut changed = self.stale && self.refresh().is_ok();
        for _ in 0..DATAGRAMS_A_CALL {
            match self.changes.recv_from_full() {
                Ok((bytes, from)) => {
                    // Only the kernel has port 0: another process could send to us too.
                    if from.port_number() == 0 {
                        changed = true;
                        each_message(&bytes, |payload| {
                            if let NetlinkPayload::InnerMessage(message) = payload {
                                self.learn(message);
                            }
                            Ok(true)
                        })?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: changes were lost.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
                {
                    self.refresh()?;
                    changed = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changed)
    }

    fn learn(&mut self, message: RouteNetlinkMessage) {
        match message {
            // What a bridge says of its port, which neither comes nor goes by it: that it has
            // left the bridge looks like the end of an interface.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family == AddressFamily::Bridge => {}
            RouteNetlinkMessage::NewLink(link) => {
                let known = self.links.entry(link.header.index).or_default();
                known.up = link.header.flags.contains(LinkFlags::Up);
                for attribute in link.attributes {
                    if let LinkAttribute::IfName(name) = attribute {
                        known.name = name;
                    }
                }
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.links.remove(&link.header.index);
            }
            RouteNetlinkMessage::NewAddress(message) => {
                let link = self.links.get_mut(&message.header.index);
                if let (Some(link), Some(address)) = (link, address_of(&message)) {
                    link.addresses.insert(address);
                }
            }
            RouteNetlinkMessage::DelAddress(message) => {
                let link = self.links.get_mut(&message.header.index);
                if let (Some(link), Some(address)) = (link, address_of(&message)) {
                    link.addresses.remove(&address);
                }
            }
            _ => {}
        }
    }

    /// The interface of the default route: of IPv4, or else of IPv6.
    pub(super) fn of_default_route(&self) -> io::Result<Option<String>> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let mut found = None;
            dump(RouteNetlinkMessage::GetRoute(question), |answer| {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    found = found.or_else(|| default_route(&route));
                }
            })?;
            let link = found.and_then(|index| self.links.get(&index));
            if let Some(link) = link {
                return Ok(Some(link.name.clone()));
            }
        }
        Ok(None)
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// The interface that has the address, not the one at the other end of a point-to-point link:
/// `IFA_LOCAL` where there is one (`linux/if_addr.h`).
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let attributes = message.attributes.iter();
    let local = attributes.clone().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let mut attributes = attributes;
    local.or_else(|| {
        attributes.find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// The outgoing interface of a route to everywhere.
fn default_route(route: &RouteMessage) -> Option<u32> {
    if route.header.destination_prefix_length != 0 {
        return None;
    }
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

/// Asks the kernel `question` and gives every answer to `take`.
fn dump(
    question: RouteNetlinkMessage,
    mut take: impl FnMut(RouteNetlinkMessage),
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(question));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let more = each_message(&answer, |payload| match payload {
            NetlinkPayload::InnerMessage(message) => {
                take(message);
                Ok(true)
            }
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Done(_) => Ok(false),
            _ => Ok(true),
        })?;
        if !more {
            return Ok(());
        }
    }
}

/// Gives each message of a datagram to `take`, until that says that there is no more.
fn each_message(
    mut datagram: &[u8],
    mut take: impl FnMut(NetlinkPayload<RouteNetlinkMessage>) -> io::Result<bool>,
) -> io::Result<bool> {
    while let Some(length) = datagram.first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let Some(bytes) = datagram.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        // A message that the library does not understand is none that we asked for.
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
            && !take(message.payload)?
        {
            return Ok(false);
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(true)
}
