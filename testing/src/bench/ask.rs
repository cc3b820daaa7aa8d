//! Asks the kernel's packet filter whether something is there, as quickly as it can be asked.
//!
//! Written from the kernel's headers alone (`linux/netlink.h`, `linux/netfilter/nf_tables.h`), so
//! that what judges the gate shares no line with it.

use std::io::{Read, Write};
use std::net::Ipv4Addr;

use knockd::lab::Host;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;

/// `AF_NETLINK` and `NETLINK_NETFILTER`.
const NETLINK: i32 = 16;
const NETFILTER: i32 = 12;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;
/// `NFT_MSG_NEWRULE`, `NFT_MSG_GETRULE`, `NFT_MSG_NEWSETELEM` and `NFT_MSG_GETSETELEM`.
const NEW_RULE: u16 = NFTABLES | 6;
const GET_RULE: u16 = NFTABLES | 7;
const NEW_ELEMENT: u16 = NFTABLES | 12;
const GET_ELEMENT: u16 = NFTABLES | 13;

/// `NLM_F_REQUEST`, `NLM_F_DUMP`, `NLMSG_ERROR` and `NLMSG_DONE`.
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `NFPROTO_INET` and `NFPROTO_IPV4`.
const INET: u8 = 1;
const IPV4: u8 = 2;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// Where somebody who has knocked is let in.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The set of our gate, at TCP port 22.
    Ours,
    /// The set `granted` of the table `inet theirs`.
    TheirSet,
    /// The chain `INPUT` of the table `ip filter`, whose rules are counted.
    TheirRules,
}

/// A socket in the server's namespace.
#[derive(Debug)]
pub(super) struct Asker {
    socket: Socket,
    place: Place,
    number: u32,
}

impl Asker {
    pub(super) fn new(server: &Host, place: Place) -> Result<Self> {
        let kind = (Domain::from(NETLINK), Type::RAW, Protocol::from(NETFILTER));
        let socket = server.run(|| Socket::new(kind.0, kind.1, Some(kind.2)))??;
        Ok(Self {
            socket,
            place,
            number: 0,
        })
    }

    /// Whether `source` is let in; by rules: whether there are more than `before`.
    pub(super) fn lets_in(&mut self, source: Ipv4Addr, before: usize) -> Result<bool> {
        let octets = source.octets();
        match self.place {
            Place::Ours => {
                let key = [&octets[..], &[6, 0, 0, 0, 0, 22, 0, 0]].concat();
                self.has_element("postern", "granted4", &key)
            }
            Place::TheirSet => self.has_element("theirs", "granted", &octets),
            Place::TheirRules => Ok(self.count_rules()? > before),
        }
    }

    /// How many rules there are, where it is rules that let in.
    pub(super) fn rules(&mut self) -> Result<usize> {
        match self.place {
            Place::TheirRules => self.count_rules(),
            Place::Ours | Place::TheirSet => Ok(0),
        }
    }

    fn has_element(&mut self, table: &str, set: &str, key: &[u8]) -> Result<bool> {
        // `NFTA_DATA_VALUE` in `NFTA_SET_ELEM_KEY` in `NFTA_LIST_ELEM`.
        let element = attribute(1, key);
        let element = attribute(1 | NESTED, &element);
        let elements = attribute(1 | NESTED, &element);
        let question = [
            attribute(1, &name(table)),
            attribute(2, &name(set)),
            attribute(3 | NESTED, &elements),
        ];
        self.ask(GET_ELEMENT, REQUEST, INET, &question.concat())?;
        let mut buffer = [0; 1024];
        let length = (&self.socket).read(&mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        match messages(answer).next() {
            Some(NEW_ELEMENT) => Ok(true),
            Some(ERROR) => Ok(false),
            _ => Err("the kernel answers something else".into()),
        }
    }

    fn count_rules(&mut self) -> Result<usize> {
        let question = [attribute(1, &name("filter")), attribute(2, &name("INPUT"))];
        self.ask(GET_RULE, REQUEST | DUMP, IPV4, &question.concat())?;
        let mut buffer = [0; 32 * 1024];
        let mut rules = 0;
        loop {
            let length = (&self.socket).read(&mut buffer)?;
            for kind in messages(buffer.get(..length).unwrap_or_default()) {
                match kind {
                    NEW_RULE => rules += 1,
                    DONE | ERROR => return Ok(rules),
                    _ => {}
                }
            }
        }
    }

    /// Sends a question: `struct nlmsghdr`, `struct nfgenmsg`, attributes.
    fn ask(&mut self, kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Result<()> {
        self.number = self.number.wrapping_add(1);
        let length = u32::try_from(20 + attributes.len())?;
        let question = [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &self.number.to_ne_bytes(),
            &[0; 4],
            &[family, 0, 0, 0],
            attributes,
        ];
        (&self.socket).write_all(&question.concat())?;
        Ok(())
    }
}

/// `struct nlattr` and its value, filled up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The types of the messages of a datagram.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let ([a, b, c, d, e, f], _) = datagram.split_first_chunk::<6>()?;
        let length = usize::try_from(u32::from_ne_bytes([*a, *b, *c, *d])).ok()?;
        let kind = u16::from_ne_bytes([*e, *f]);
        datagram = datagram
            .get(length.max(16).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(kind)
    })
}
