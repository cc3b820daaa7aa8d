//! Links, addresses and routes of one network namespace, over route netlink (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A netlink socket; it speaks for the network namespace in which it was made, for ever.
#[derive(Debug)]
pub(super) struct Route {
    socket: Socket,
    sequence: u32,
}

/// What the kernel says of an interface.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Vec<u8>,
}

const NEW: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

impl Route {
    /// For the namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// A virtual cable from `name` here to `peer` in the namespace `there`; both ends down.
    pub(super) fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        there: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut end = LinkMessage::default();
        end.attributes = vec![
            LinkAttribute::IfName(peer.to_owned()),
            LinkAttribute::NetNsFd(there.as_raw_fd()),
        ];
        let peer = InfoData::Veth(InfoVeth::Peer(end));
        self.add_link(name, InfoKind::Veth, Some(peer), None)
    }

    /// The VLAN `id` (IEEE 802.1Q) of `parent`, down.
    pub(super) fn add_vlan(&mut self, name: &str, parent: &str, id: u16) -> io::Result<()> {
        let parent = self.link(parent)?.index;
        let vlan = InfoData::Vlan(vec![InfoVlan::Id(id)]);
        self.add_link(name, InfoKind::Vlan, Some(vlan), Some(parent))
    }

    /// A bridge, down.
    pub(super) fn add_bridge(&mut self, name: &str) -> io::Result<()> {
        self.add_link(name, InfoKind::Bridge, None, None)
    }

    fn add_link(
        &mut self,
        name: &str,
        kind: InfoKind,
        data: Option<InfoData>,
        parent: Option<u32>,
    ) -> io::Result<()> {
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(info),
        ];
        link.attributes.extend(parent.map(LinkAttribute::Link));
        self.request(RouteNetlinkMessage::NewLink(link), NEW)
            .map(drop)
    }

    /// Sets an interface up or down.
    pub(super) fn set_up(&mut self, name: &str, up: bool) -> io::Result<()> {
        self.change(name, |link| {
            link.header.change_mask = LinkFlags::Up;
            if up {
                link.header.flags = LinkFlags::Up;
            }
        })
    }

    /// Makes an interface a port of `bridge`.
    pub(super) fn set_bridge(&mut self, name: &str, bridge: &str) -> io::Result<()> {
        let bridge = self.link(bridge)?.index;
        self.change(name, |link| {
            link.attributes.push(LinkAttribute::Controller(bridge));
        })
    }

    /// Gives an interface that is down another name.
    pub(super) fn rename(&mut self, name: &str, new: &str) -> io::Result<()> {
        self.change(name, |link| {
            link.attributes.push(LinkAttribute::IfName(new.to_owned()));
        })
    }

    fn change(&mut self, name: &str, set: impl FnOnce(&mut LinkMessage)) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.link(name)?.index;
        set(&mut link);
        self.request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK)
            .map(drop)
    }

    /// Deletes an interface.
    pub(super) fn delete(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = self.link(name)?.index;
        self.request(RouteNetlinkMessage::DelLink(link), NLM_F_ACK)
            .map(drop)
    }

    /// What the kernel says of an interface.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Link> {
        let mut question = LinkMessage::default();
        question.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match self.request(RouteNetlinkMessage::GetLink(question), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(Link {
                index: link.header.index,
                mac: mac_of(link),
            }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Adds an address; usable at once (no duplicate address detection).
    pub(super) fn add_address(
        &mut self,
        interface: &str,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut message = self.address(interface, address, prefix)?;
        let no_dad = AddressAttribute::Flags(AddressFlags::Nodad);
        message.attributes.push(no_dad);
        self.request(RouteNetlinkMessage::NewAddress(message), NEW)
            .map(drop)
    }

    /// Takes an address away.
    pub(super) fn remove_address(
        &mut self,
        interface: &str,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let message = self.address(interface, address, prefix)?;
        self.request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK)
            .map(drop)
    }

    fn address(
        &mut self,
        interface: &str,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<AddressMessage> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = self.link(interface)?.index;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        Ok(message)
    }

    /// Everything else of the family goes to `gateway`.
    pub(super) fn add_default_route(&mut self, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Gateway(gateway.into())];
        self.request(RouteNetlinkMessage::NewRoute(message), NEW)
            .map(drop)
    }

    /// One request and its answer: `None` is the kernel's bare yes.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Ok(None),
            };
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn mac_of(link: LinkMessage) -> Vec<u8> {
    let address = link
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => Some(bytes),
            _ => None,
        });
    address.unwrap_or_default()
}
