//! Rules, put together from what the kernel's packet filter evaluates: expressions that load bytes
//! into registers, compare them and decide (`linux/netfilter/nf_tables.h`).

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload, Register,
};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ExpressionAttribute, ListAttribute, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::nftables::{RuleAttribute, RuleMessage};

use super::names::{TABLE, comment};

/// The headers that bytes are taken from.
pub(super) const NETWORK: u32 = 1;
pub(super) const TRANSPORT: u32 = 2;

/// `NF_CT_STATE_BIT` and the others of `nf_conntrack_common.h`.
pub(super) const INVALID: u32 = 1;
pub(super) const ESTABLISHED: u32 = 2;
pub(super) const RELATED: u32 = 4;
pub(super) const UNTRACKED: u32 = 64;

/// `NFT_CT_STATE` and `NFT_CT_MARK`.
const CT_STATE: u32 = 0;
const CT_MARK: u32 = 3;

/// `NF_DROP` and `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// A rule in the making. Words that compare are conditions: where one does not hold, the next rule
/// is asked.
pub(super) struct Rule {
    chain: String,
    expressions: Vec<ListAttribute<ExpressionAttribute>>,
}

impl Rule {
    pub(super) fn of(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            expressions: Vec::new(),
        }
    }

    /// The packet is of this protocol over IP (`meta l4proto`).
    pub(super) fn protocol(self, protocol: u8) -> Self {
        let rule = self.meta(MetaKey::L4Proto, Register::Reg1);
        rule.compare(Operator::Equal, vec![protocol])
    }

    /// The packet is IPv4, or else IPv6 (`meta nfproto`).
    pub(super) fn family(self, ipv4: bool) -> Self {
        let rule = self.meta(MetaKey::Nfproto, Register::Reg1);
        rule.compare(Operator::Equal, vec![if ipv4 { 2 } else { 10 }])
    }

    /// The packet came in by the interface with this number (`meta iif`).
    pub(super) fn interface(self, index: u32) -> Self {
        let rule = self.meta(MetaKey::Iif, Register::Reg1);
        rule.compare(Operator::Equal, index.to_ne_bytes().to_vec())
    }

    /// Connection tracking says one of these of the packet (`ct state`).
    pub(super) fn state(self, states: u32) -> Self {
        let rule = self.ct(CT_STATE).mask_host(states);
        rule.compare(Operator::NotEqual, vec![0; 4])
    }

    /// The connection has none of these marks (`ct mark`).
    pub(super) fn without_mark(self, mark: u32) -> Self {
        let rule = self.ct(CT_MARK).mask_host(mark);
        rule.compare(Operator::Equal, vec![0; 4])
    }

    /// Gives the connection the mark `set` and takes the mark `clear` away.
    pub(super) fn mark(self, set: u32, clear: u32) -> Self {
        let mask = (!(set | clear)).to_ne_bytes().to_vec();
        let rule = self.ct(CT_MARK);
        let rule = rule.bitwise(Register::Reg1, mask, set.to_ne_bytes().to_vec());
        rule.push(other("ct", &[(4, Register::Reg1.into()), (2, CT_MARK)]))
    }

    /// The destination is not one that the packet would be forwarded to (`fib daddr type`): it is
    /// for this host, alone or among others.
    pub(super) fn for_this_host(self) -> Self {
        /// `NFT_FIB_RESULT_ADDRTYPE` and `NFTA_FIB_F_DADDR`.
        const TYPE_OF_DESTINATION: [(u16, u32); 2] = [(2, 3), (3, 2)];
        /// `RTN_UNICAST`.
        const UNICAST: u32 = 1;
        let [result, flags] = TYPE_OF_DESTINATION;
        let rule = self.push(other("fib", &[(1, Register::Reg1.into()), result, flags]));
        rule.compare(Operator::NotEqual, UNICAST.to_ne_bytes().to_vec())
    }

    /// Loads bytes of a header.
    pub(super) fn load(self, header: u32, offset: u32, length: u32, into: Register) -> Self {
        self.push(Expressions::Payload(vec![
            Payload::DestinationRegister(into),
            Payload::Base(header),
            Payload::Offset(offset),
            Payload::Len(length),
        ]))
    }

    pub(super) fn meta(self, key: MetaKey, into: Register) -> Self {
        self.push(Expressions::Meta(vec![
            Meta::Key(key),
            Meta::DestinationRegister(into),
        ]))
    }

    /// Compares the first register.
    pub(super) fn compare(self, operator: Operator, bytes: Vec<u8>) -> Self {
        self.push(Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(bytes)),
        ]))
    }

    /// Keeps the bits of a register that `mask` has.
    pub(super) fn mask(self, register: Register, mask: Vec<u8>) -> Self {
        let nothing = vec![0; mask.len()];
        self.bitwise(register, mask, nothing)
    }

    /// What begins at the first register is in the set (or: its first bytes, as many as the set's
    /// keys have).
    pub(super) fn lookup(self, set: &str) -> Self {
        self.push(Expressions::Lookup(vec![
            Lookup::Set(set.to_owned()),
            Lookup::SourceRegister(Register::Reg1),
        ]))
    }

    pub(super) fn count(self) -> Self {
        // Packets and bytes so far.
        let zero = |kind| DefaultNla::new(kind, vec![0; 8]);
        self.push(Expressions::Other {
            expression_type: "counter".to_owned(),
            attributes: vec![zero(1), zero(2)],
        })
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(ACCEPT))])
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(DROP))])
    }

    /// Goes on in `chain`, and comes back if that decides nothing.
    pub(super) fn jump(self, chain: &str) -> Self {
        let chain = VerdictAttribute::Chain(chain.to_owned());
        self.verdict(vec![VerdictAttribute::Code(Verdict::Jump), chain])
    }

    /// Goes on in `chain` for good.
    pub(super) fn go_to(self, chain: &str) -> Self {
        let chain = VerdictAttribute::Chain(chain.to_owned());
        self.verdict(vec![VerdictAttribute::Code(Verdict::Goto), chain])
    }

    /// The message that appends it, with a comment for whoever lists the table.
    pub(super) fn message(self, about: &str) -> NfTablesMessage {
        let mut attributes = vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(self.chain),
            RuleAttribute::Expressions(self.expressions),
        ];
        if !about.is_empty() {
            attributes.push(RuleAttribute::UserData(comment(0, about)));
        }
        NfTablesMessage::NewRule(RuleMessage { attributes })
    }

    fn ct(self, key: u32) -> Self {
        self.push(other("ct", &[(2, key), (1, Register::Reg1.into())]))
    }

    fn mask_host(self, bits: u32) -> Self {
        self.mask(Register::Reg1, bits.to_ne_bytes().to_vec())
    }

    fn bitwise(self, register: Register, mask: Vec<u8>, xor: Vec<u8>) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        self.push(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(register),
            Bitwise::DestinationRegister(register),
            Bitwise::Length(length),
            Bitwise::Mask(DataAttribute::Value(mask)),
            Bitwise::Xor(DataAttribute::Value(xor)),
        ]))
    }

    fn verdict(self, verdict: Vec<VerdictAttribute>) -> Self {
        self.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(verdict)),
        ]))
    }

    fn push(mut self, expression: Expressions) -> Self {
        self.expressions.push(expression.into());
        self
    }
}

/// An expression of a kind that the library has no type for; its attributes are numbers.
fn other(kind: &str, attributes: &[(u16, u32)]) -> Expressions {
    let attributes = attributes.iter();
    Expressions::Other {
        expression_type: kind.to_owned(),
        attributes: attributes
            .map(|(kind, value)| DefaultNla::new(*kind, value.to_be_bytes().to_vec()))
            .collect(),
    }
}
