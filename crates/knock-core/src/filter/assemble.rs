//! From what is wanted to instructions.
//!
//! Classic BPF only jumps forward, so the program is written from its last instruction to its
//! first: then every target is known when a jump to it is written. A conditional jump reaches 255
//! instructions; what is farther gets an unconditional one, or its own return, right behind it.

use alloc::vec::Vec;

use super::spans::Span;
use super::{Flags, Instruction};
use crate::spa::Spa;

/// How many bytes of an accepted packet user space may have; the ring holds fewer.
const SNAP_LENGTH: u32 = 0x4_0000;

/// The most ranges that are tried one after another at the end of a binary search.
const LEAF: usize = 4;

/// The operations that are used (`linux/bpf_common.h`).
pub(super) mod op {
    /// Load a word, half word or byte from a fixed offset.
    pub(in crate::filter) const LD_W_ABS: u16 = 0x20;
    pub(in crate::filter) const LD_H_ABS: u16 = 0x28;
    pub(in crate::filter) const LD_B_ABS: u16 = 0x30;
    /// Load a half word or byte from an offset after the index register.
    pub(in crate::filter) const LD_H_IND: u16 = 0x48;
    pub(in crate::filter) const LD_B_IND: u16 = 0x50;
    /// Load the length of the packet.
    pub(in crate::filter) const LD_W_LEN: u16 = 0x80;
    /// Load the index register with a constant, or with the length of an IPv4 header.
    pub(in crate::filter) const LDX_IMM: u16 = 0x01;
    pub(in crate::filter) const LDX_MSH: u16 = 0xb1;
    pub(in crate::filter) const AND: u16 = 0x54;
    /// Add the index register to the accumulator, and copy the accumulator to it.
    pub(in crate::filter) const ADD_X: u16 = 0x0c;
    pub(in crate::filter) const TAX: u16 = 0x07;
    pub(in crate::filter) const JA: u16 = 0x05;
    pub(in crate::filter) const JEQ: u16 = 0x15;
    pub(in crate::filter) const JGT: u16 = 0x25;
    pub(in crate::filter) const JGE: u16 = 0x35;
    pub(in crate::filter) const JSET: u16 = 0x45;
    /// Jump if the accumulator is not less than the index register.
    pub(in crate::filter) const JGE_X: u16 = 0x3d;
    pub(in crate::filter) const RET: u16 = 0x06;
}

/// What the kernel knows besides the bytes (`SKF_AD_*` of `linux/filter.h`).
pub(super) mod ancillary {
    /// The ether type in host byte order.
    pub(in crate::filter) const PROTOCOL: u32 = 0xffff_f000;
    /// `PACKET_HOST`, `PACKET_OUTGOING`, ….
    pub(in crate::filter) const PACKET_TYPE: u32 = PROTOCOL + 4;
    /// The index of the interface.
    pub(in crate::filter) const INTERFACE: u32 = PROTOCOL + 8;
}

/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u32 = 4;

/// What a program tells apart.
pub(super) struct Plan<'a> {
    pub(super) interfaces: Option<&'a [Span]>,
    pub(super) only_ipv4: bool,
    pub(super) flags: Flags,
    pub(super) tcp: &'a [Span],
    pub(super) udp: &'a [Span],
    /// UDP ports, none of them in `udp`, of which only datagrams as long as a sealed packet pass.
    pub(super) sealed: &'a [u32],
    /// Whether datagrams as long as a code on paper pass there too.
    pub(super) codes: bool,
}

/// The program, as long as it gets.
pub(super) fn program(plan: &Plan<'_>) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let sealed = asm.sealed(plan.sealed, plan.codes);
    let udp = asm.search_in(plan.udp);
    let tcp = asm.search_in(plan.tcp);
    let tcp = asm.port(tcp);
    let tcp = asm.flags(plan.flags, tcp);
    let start = if [tcp, udp, sealed] == [Target::Drop; 3] {
        Target::Drop
    } else {
        let start = asm.network(plan, tcp, udp, sealed);
        asm.metadata(plan.interfaces, start)
    };
    asm.finish(start)
}

/// Where to go on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Target {
    Accept,
    Drop,
    To(Label),
}

/// An instruction, by its place counted from the end of the program, from 1.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Label(usize);

/// A program that is written from its end.
#[derive(Default)]
struct Assembler {
    reversed: Vec<Instruction>,
    accept: Option<Label>,
    drop: Option<Label>,
}

/// The parts of the program; each returns where it begins.
impl Assembler {
    /// Accepts packets whose destination port, which is in the accumulator, lies in `spans`.
    fn search_in(&mut self, spans: &[Span]) -> Target {
        match spans {
            [] => Target::Drop,
            [all] if *all == Span::new(0, u32::from(u16::MAX)) => Target::Accept,
            _ => self.search(spans, false, Target::Accept),
        }
    }

    /// Goes on at `next` with the destination port in the accumulator, if it matters there; the
    /// index register holds the offset of the transport header.
    fn port(&mut self, next: Target) -> Target {
        match next {
            Target::To(_) => self.load(op::LD_H_IND, 2, next),
            all_or_nothing => all_or_nothing,
        }
    }

    /// Accepts a UDP datagram that is as long as a sealed packet, or as a code if there are
    /// `codes`, and all of which is there, if there are `ports` for such.
    fn sealed(&mut self, ports: &[u32], codes: bool) -> Target {
        if ports.is_empty() {
            return Target::Drop;
        }
        let whole = self.branch(op::JGE_X, 0, Target::Accept, Target::Drop);
        let whole = self.load(op::LD_W_LEN, 0, whole);
        let whole = self.load(op::TAX, 0, whole);
        let whole = self.load(op::ADD_X, 0, whole);
        let shorter = if codes {
            self.as_long(Spa::CODE_MIN, Spa::CODE_MAX, whole, Target::Drop)
        } else {
            Target::Drop
        };
        let next = self.as_long(Spa::MIN, Spa::MAX, whole, shorter);
        self.load(op::LD_H_IND, 4, next)
    }

    /// Goes on at `next` with a payload of `shortest` to `longest` bytes, and at `shorter` with less;
    /// the accumulator holds the length of the UDP datagram.
    fn as_long(&mut self, shortest: u16, longest: u16, next: Target, shorter: Target) -> Target {
        let [shortest, longest] = [shortest, longest].map(|payload| u32::from(payload) + 8);
        let next = self.branch(op::JGT, longest, Target::Drop, next);
        self.branch(op::JGE, shortest, next, shorter)
    }

    /// Goes on at `sealed` with UDP datagrams to one of `ports`, and at `udp` with all others.
    fn udp(&mut self, ports: &[u32], sealed: Target, udp: Target) -> Target {
        let mut next = udp;
        for port in ports.iter().rev() {
            next = self.branch(op::JEQ, *port, sealed, next);
        }
        self.port(next)
    }

    /// Goes on at `next` with TCP segments whose flags are as every door asks.
    fn flags(&mut self, Flags { set, clear }: Flags, next: Target) -> Target {
        let asked = set.union(clear);
        if asked.is_empty() || next == Target::Drop {
            return next;
        }
        let test = self.branch(op::JEQ, u32::from(set.bits()), next, Target::Drop);
        let test = self.load(op::AND, u32::from(asked.bits()), test);
        self.load(op::LD_B_IND, 13, test)
    }

    /// Finds the transport header behind the network header.
    fn network(&mut self, plan: &Plan<'_>, tcp: Target, udp: Target, sealed: Target) -> Target {
        let mut next = Target::Drop;
        for tag in [0x8100, 0x88a8, 0x9100] {
            next = self.branch(op::JEQ, tag, Target::Accept, next);
        }
        if !plan.only_ipv4 {
            let udp = self.udp(plan.sealed, sealed, udp);
            let ipv6 = self.ipv6(tcp, udp);
            next = self.branch(op::JEQ, 0x86dd, ipv6, next);
        }
        let whole = self.whole(sealed);
        let udp = self.udp(plan.sealed, whole, udp);
        let ipv4 = self.ipv4(tcp, udp);
        next = self.branch(op::JEQ, 0x0800, ipv4, next);
        self.load(op::LD_W_ABS, ancillary::PROTOCOL, next)
    }

    /// Goes on at `next` with IPv4 packets that no fragment follows.
    fn whole(&mut self, next: Target) -> Target {
        if next == Target::Drop {
            return next;
        }
        let next = self.branch(op::JSET, 0x2000, Target::Drop, next);
        self.load(op::LD_H_ABS, 6, next)
    }

    fn ipv4(&mut self, tcp: Target, udp: Target) -> Target {
        let next = self.branch(op::JEQ, 17, udp, Target::Drop);
        let next = self.branch(op::JEQ, 6, tcp, next);
        let next = self.load(op::LD_B_ABS, 9, next);
        let next = self.load(op::LDX_MSH, 0, next);
        let next = self.branch(op::JSET, 0x1fff, Target::Drop, next);
        self.load(op::LD_H_ABS, 6, next)
    }

    /// Passes what begins with an extension header up unread.
    fn ipv6(&mut self, tcp: Target, udp: Target) -> Target {
        let mut next = Target::Drop;
        for extension in [0, 43, 44, 51, 60] {
            next = self.branch(op::JEQ, extension, Target::Accept, next);
        }
        next = self.branch(op::JEQ, 17, udp, next);
        next = self.branch(op::JEQ, 6, tcp, next);
        next = self.load(op::LD_B_ABS, 6, next);
        self.load(op::LDX_IMM, 40, next)
    }

    /// Goes on at `next` with what comes in on one of `interfaces`.
    fn metadata(&mut self, interfaces: Option<&[Span]>, next: Target) -> Target {
        let next = match interfaces {
            None => next,
            Some(spans) => {
                let found = self.search(spans, false, next);
                self.load(op::LD_W_ABS, ancillary::INTERFACE, found)
            }
        };
        let next = self.branch(op::JEQ, OUTGOING, Target::Drop, next);
        self.load(op::LD_W_ABS, ancillary::PACKET_TYPE, next)
    }

    /// Goes on at `hit` if the accumulator lies in one of `spans`, by binary search; `reached`
    /// says that it is known not to be below the first.
    fn search(&mut self, spans: &[Span], reached: bool, hit: Target) -> Target {
        let (lower, upper) = spans.split_at(spans.len() / 2);
        match upper.first() {
            Some(middle) if spans.len() > LEAF => {
                let above = self.search(upper, true, hit);
                let below = self.search(lower, reached, hit);
                self.branch(op::JGE, middle.first, above, below)
            }
            _ => self.leaf(spans, reached, hit),
        }
    }

    /// As [`Assembler::search`], one range after another.
    fn leaf(&mut self, spans: &[Span], reached: bool, hit: Target) -> Target {
        let mut next = Target::Drop;
        for (i, span) in spans.iter().enumerate().rev() {
            next = if span.first == span.last {
                self.branch(op::JEQ, span.first, hit, next)
            } else {
                let within = self.branch(op::JGT, span.last, next, hit);
                if reached && i == 0 {
                    within
                } else {
                    self.branch(op::JGE, span.first, within, Target::Drop)
                }
            };
        }
        next
    }
}

/// Writing instructions.
impl Assembler {
    /// The most instructions that a conditional jump is let skip. One less than it can, because
    /// bringing its other target near may push one more between.
    const REACH: usize = 254;

    /// An instruction that never jumps; `next` follows it.
    fn load(&mut self, code: u16, k: u32, next: Target) -> Target {
        let next = self.near(next);
        if self.distance(next) > 0 {
            self.jump(next);
        }
        Target::To(self.push(code, 0, 0, k))
    }

    /// A conditional jump.
    fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.offset(yes), self.offset(no));
        Target::To(self.push(code, jt, jf, k))
    }

    /// The whole program, which begins at `start`.
    fn finish(mut self, start: Target) -> Vec<Instruction> {
        let start = self.near(start);
        if self.distance(start) > 0 {
            self.jump(start);
        }
        self.reversed.reverse();
        self.reversed
    }

    /// A label for `target` that a conditional jump written next can reach.
    fn near(&mut self, target: Target) -> Label {
        let known = match target {
            Target::Accept => self.accept,
            Target::Drop => self.drop,
            Target::To(label) => Some(label),
        };
        if let Some(label) = known
            && self.distance(label) <= Self::REACH
        {
            return label;
        }
        match target {
            Target::Accept => {
                let label = self.push(op::RET, 0, 0, SNAP_LENGTH);
                *self.accept.insert(label)
            }
            Target::Drop => {
                let label = self.push(op::RET, 0, 0, 0);
                *self.drop.insert(label)
            }
            Target::To(label) => self.jump(label),
        }
    }

    fn jump(&mut self, to: Label) -> Label {
        let skipped = u32::try_from(self.distance(to)).unwrap_or(u32::MAX);
        self.push(op::JA, 0, 0, skipped)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len())
    }

    /// How many instructions lie between the one that is written next and `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len().saturating_sub(label.0)
    }

    #[expect(
        clippy::expect_used,
        reason = "near() has brought the label into reach; a wrapped jump would be a wrong filter"
    )]
    fn offset(&self, label: Label) -> u8 {
        u8::try_from(self.distance(label)).expect("a jump target out of reach")
    }
}
