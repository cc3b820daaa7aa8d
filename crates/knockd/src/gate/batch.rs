//! A change of the kernel's tables: several messages that it takes as one, or refuses as one
//! (`nfnetlink_rcv_batch` of `net/netfilter/nfnetlink.c`).

use std::borrow::Cow;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

/// `NFNL_SUBSYS_NFTABLES`: which subsystem the batch is for.
const NFTABLES: u16 = 10;

/// Where a message's flags are (`struct nlmsghdr`).
const FLAGS: std::ops::Range<usize> = 6..8;

/// Messages, ready to be sent. Only the last one asks for an answer: errors come without.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// The number of the message that begins the batch.
    first: u32,
    /// What each message after that is about.
    what: Vec<Cow<'static, str>>,
    /// Where the last of them begins.
    last: usize,
}

impl Batch {
    /// An empty one, whose messages are numbered from `first`.
    pub(super) fn new(first: u32) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            first,
            what: Vec::new(),
            last: 0,
        };
        batch.control(ControlMessage::BatchBegin);
        batch
    }

    /// Adds a message that makes something, or finds it there.
    pub(super) fn add(&mut self, message: NfTablesMessage, what: impl Into<Cow<'static, str>>) {
        self.push(NLM_F_REQUEST | NLM_F_CREATE, message, what.into());
    }

    /// Adds a message that makes something that is not there yet, or fails the batch.
    pub(super) fn create(&mut self, message: NfTablesMessage, what: impl Into<Cow<'static, str>>) {
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
        self.push(flags, message, what.into());
    }

    /// Adds a message that makes something at the end of what is there.
    pub(super) fn append(&mut self, message: NfTablesMessage, what: impl Into<Cow<'static, str>>) {
        /// `NLM_F_APPEND`.
        const APPEND: u16 = 0x800;
        self.push(NLM_F_REQUEST | NLM_F_CREATE | APPEND, message, what.into());
    }

    /// Adds a message that takes something away.
    pub(super) fn delete(&mut self, message: NfTablesMessage, what: impl Into<Cow<'static, str>>) {
        self.push(NLM_F_REQUEST, message, what.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Completes it; the number of the message that is answered.
    pub(super) fn finish(&mut self) -> u32 {
        if let Some(flags) = self
            .bytes
            .get_mut(self.last..)
            .and_then(|m| m.get_mut(FLAGS))
        {
            // The bits are those of the message, whatever kind it is.
            let before = flags.first_chunk().copied().unwrap_or_default();
            let with = u16::from_ne_bytes(before) | NLM_F_ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
        }
        let acknowledged = self.number().wrapping_sub(1);
        self.control(ControlMessage::BatchEnd);
        acknowledged
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the message with a number is about, if it is of this batch.
    pub(super) fn what(&self, number: u32) -> Option<&str> {
        let place = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        match place.checked_sub(1) {
            None => Some("a change"),
            Some(place) => self.what.get(place).map(AsRef::as_ref),
        }
    }

    /// The number of the next message.
    pub(super) fn number(&self) -> u32 {
        let count = u32::try_from(self.what.len()).unwrap_or(u32::MAX);
        self.first.wrapping_add(1).wrapping_add(count)
    }

    fn push(&mut self, flags: u16, message: NfTablesMessage, what: Cow<'static, str>) {
        self.last = self.bytes.len();
        let (number, message) = (self.number(), inet(message));
        serialize(&mut self.bytes, flags, number, message);
        self.what.push(what);
    }

    fn control(&mut self, message: ControlMessage) {
        let number = match message {
            ControlMessage::BatchBegin => self.first,
            _ => self.number(),
        };
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        let message = NetfilterMessage::new(header, message);
        serialize(&mut self.bytes, NLM_F_REQUEST, number, message);
    }
}

/// A message about a table of the family `inet`.
pub(super) fn inet(message: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    NetfilterMessage::new(header, message)
}

/// Puts the bytes of a message behind `bytes`.
pub(super) fn serialize(bytes: &mut Vec<u8>, flags: u16, number: u32, message: NetfilterMessage) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    if let Some(room) = bytes.get_mut(start..) {
        message.serialize(room);
    }
}
