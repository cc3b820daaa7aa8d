//! Elements of the table's sets: ports that are guarded, and sources with what they may reach.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::target::Target;
use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::nftables::{DataAttribute, ListAttribute};
use netlink_packet_netfilter::nftables::{SetElementAttribute, SetElementList, SetElementMessage};

use super::batch::Batch;
use super::names::{TABLE, comment, guarded_ping_set, guarded_set, read_comment};
use super::plan::{Shape, Targets, Way};
use super::table::octets;
use super::wire::Answer;

/// The most elements of one message: an attribute's length has 16 bits, and an element with the
/// longest comment has 184 bytes.
pub(super) const AT_ONCE: usize = 256;

/// Something that a source (or all that share its first bits) may reach.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Element {
    pub(super) sources: Target,
    pub(super) way: Way,
    pub(super) targets: Targets,
}

/// An element as messages have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    /// How long it stays; `None` for ever.
    pub(super) stays: Option<Duration>,
    pub(super) comment: String,
}

impl Element {
    pub(super) fn set(&self) -> String {
        Shape::of(self.sources, self.way).name(&self.targets)
    }

    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = octets(self.sources);
        if self.way != Way::Ping {
            key.extend(way_key(self.way));
        }
        key
    }

    /// The element with this key, of a scope's set of this shape.
    pub(super) fn from_key(targets: &Targets, shape: Shape, key: &[u8]) -> Option<Self> {
        let (address, rest): (IpAddr, _) = if shape.ipv4 {
            let (address, rest) = key.split_first_chunk::<4>()?;
            ((*address).into(), rest)
        } else {
            let (address, rest) = key.split_first_chunk::<16>()?;
            ((*address).into(), rest)
        };
        let way = match (shape.ping, rest) {
            (true, []) => Way::Ping,
            (true, _) => return None,
            (false, rest) => way_from_key(rest)?,
        };
        Some(Self {
            sources: Target::network(address, shape.width)?,
            way,
            targets: targets.clone(),
        })
    }
}

/// Where a guarded port is an element, and as what: one, or for echo requests one for each family.
pub(super) fn guarded_keys(targets: &Targets, way: Way) -> (String, Vec<Vec<u8>>) {
    match way {
        Way::Ping => (guarded_ping_set(targets), vec![vec![1], vec![58]]),
        way => (guarded_set(targets), vec![way_key(way)]),
    }
}

/// Protocol and port, each in four bytes.
fn way_key(way: Way) -> Vec<u8> {
    let (protocol, port) = match way {
        Way::Tcp(port) => (6, port),
        Way::Udp(port) => (17, port),
        Way::Ping => (1, 0),
    };
    let [high, low] = port.to_be_bytes();
    vec![protocol, 0, 0, 0, high, low, 0, 0]
}

/// What [`way_key`] made of a port.
pub(super) fn way_from_key(key: &[u8]) -> Option<Way> {
    match *key {
        [6, 0, 0, 0, high, low, 0, 0] => Some(Way::Tcp(u16::from_be_bytes([high, low]))),
        [17, 0, 0, 0, high, low, 0, 0] => Some(Way::Udp(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

/// Adds elements that are not there yet.
pub(super) fn put(batch: &mut Batch, set: &str, entries: &[Entry]) {
    for entries in entries.chunks(AT_ONCE) {
        let message = NfTablesMessage::NewSetElement(message(set, entries.iter().map(full)));
        batch.add(message, format!("elements of {set}"));
    }
}

/// Adds elements; one that is there already fails the batch.
pub(super) fn create(batch: &mut Batch, set: &str, entries: &[Entry]) {
    for entries in entries.chunks(AT_ONCE) {
        let message = NfTablesMessage::NewSetElement(message(set, entries.iter().map(full)));
        batch.create(message, format!("elements of {set}"));
    }
}

/// Takes elements away, whether they are there or not: a key that is not there would fail the
/// batch, one that is there twice is one.
pub(super) fn remove(batch: &mut Batch, set: &str, entries: &[Entry]) {
    for entries in entries.chunks(AT_ONCE) {
        let added = NfTablesMessage::NewSetElement(message(set, entries.iter().map(full)));
        batch.add(added, format!("elements of {set}"));
        let deleted = message(set, entries.iter().map(|entry| bare(&entry.key)));
        let deleted = NfTablesMessage::DeleteSetElement(deleted);
        batch.delete(deleted, format!("elements of {set}"));
    }
}

/// Adds elements, or gives those that are there a new time: older kernels ignore a second add
/// (nft(8): the time-out of an element cannot be changed).
pub(super) fn refresh(batch: &mut Batch, set: &str, entries: &[Entry]) {
    remove(batch, set, entries);
    put(batch, set, entries);
}

/// The question for these elements alone.
pub(super) fn question(set: &str, keys: &[Vec<u8>]) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(message(set, keys.iter().map(|key| bare(key))))
}

/// The question for all elements of a set.
pub(super) fn question_for_all(set: &str) -> NfTablesMessage {
    let mut message = message(set, std::iter::empty());
    message.attributes.pop();
    NfTablesMessage::GetSetElement(message)
}

/// The elements that an answer tells of. (The library's own reading of a list is of no use for long
/// ones: for each element it makes the text of an error that does not happen.)
pub(super) fn answer(answer: &Answer<'_>) -> Vec<Entry> {
    /// `NFTA_SET_ELEM_LIST_ELEMENTS`.
    const ELEMENTS: u16 = 3;
    let lists = answer.attributes().filter(|it| it.kind() == ELEMENTS);
    lists
        .flat_map(|list| {
            within(list.into_inner())
                .map(|it| entry(it.value()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The attributes within the bytes of one.
fn within(attribute: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    // Its header is a length and a kind.
    let value = NlaBuffer::new_checked(attribute).map_or(0, |it| it.value_length());
    let value = attribute.get(4..).and_then(|rest| rest.get(..value));
    NlasIterator::new(value.unwrap_or_default()).map_while(Result::ok)
}

fn message(
    set: &str,
    elements: impl Iterator<Item = Vec<SetElementAttribute>>,
) -> SetElementMessage {
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(elements.map(ListAttribute::Element).collect()),
        ],
    }
}

fn bare(key: &[u8]) -> Vec<SetElementAttribute> {
    vec![SetElementAttribute::Key(DataAttribute::Value(key.to_vec()))]
}

fn full(entry: &Entry) -> Vec<SetElementAttribute> {
    let mut attributes = bare(&entry.key);
    if let Some(stays) = entry.stays {
        // The kernel takes zero for never.
        let millis = u64::try_from(stays.as_millis()).unwrap_or(u64::MAX).max(1);
        attributes.push(SetElementAttribute::Timeout(millis));
    }
    if !entry.comment.is_empty() {
        attributes.push(SetElementAttribute::UserData(comment(0, &entry.comment)));
    }
    attributes
}

/// An element, of its attributes (`NFTA_SET_ELEM_*`).
fn entry(attributes: &[u8]) -> Entry {
    const KEY: u16 = 1;
    const EXPIRATION: u16 = 5;
    const USERDATA: u16 = 6;
    /// `NFTA_DATA_VALUE`.
    const VALUE: u16 = 1;
    let mut entry = Entry {
        key: Vec::new(),
        stays: None,
        comment: String::new(),
    };
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            KEY => {
                let mut data = NlasIterator::new(value).map_while(Result::ok);
                if let Some(data) = data.find(|data| data.kind() == VALUE) {
                    entry.key = data.value().to_vec();
                }
            }
            EXPIRATION => {
                let millis = value
                    .first_chunk()
                    .map(|millis| u64::from_be_bytes(*millis));
                entry.stays = millis.map(Duration::from_millis);
            }
            USERDATA => entry.comment = read_comment(0, value).unwrap_or_default(),
            _ => {}
        }
    }
    entry
}
