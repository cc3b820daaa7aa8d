//! The doors as a classic BPF program, so that the kernel drops what no door could count.
//!
//! Promise: whatever the engine would count passes. The reverse does not hold: addresses are
//! checked in user space, IPv6 packets with extension headers and packets behind a VLAN tag are
//! passed up unread, and with very many ports neighbours share a range. The same holds for sealed
//! packets and codes: what could be one by port and length passes, and only whole datagrams do.

mod assemble;
mod interpret;
mod spans;
#[cfg(test)]
mod tests;

use alloc::vec;
use alloc::vec::Vec;

pub use self::interpret::{Metadata, NotAProgram, interpret};
use self::spans::Span;
use crate::door::Trigger;
use crate::flags::TcpFlags;
use crate::sequence::{Protocol, Sequence};
use crate::spa::Spa;

/// One instruction: `struct sock_filter` of `linux/filter.h`.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Instruction {
    /// Operation code.
    pub code: u16,
    /// Relative jump if true.
    pub jt: u8,
    /// Relative jump if false.
    pub jf: u8,
    /// Generic operand.
    pub k: u32,
}

/// The most instructions that the kernel takes (`BPF_MAXINSNS` of `linux/bpf_common.h`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The most ranges of interface indices that a program tells apart.
const MAX_INTERFACE_SPANS: usize = 256;

/// The most port ranges that are worth a try: at best one takes five quarters of an instruction.
const MAX_PORT_SPANS: usize = MAX_INSTRUCTIONS * 4 / 5;

/// Which packets a filter lets through.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// Interface indices; `None` for every interface. With more than 256 runs of neighbouring
    /// indices some others pass too.
    pub interfaces: Option<&'a [u32]>,
    /// IPv6 is dropped (`-4`), except behind a VLAN tag, where the filter does not look.
    pub only_ipv4: bool,
    /// The UDP ports at which sealed packets arrive: none if no door has SPA. Of more than
    /// [`Spa::MAX_PORTS`] the rest is not heard.
    pub spa_ports: &'a [u16],
    /// Whether datagrams as long as a code on paper pass at these ports too.
    pub codes: bool,
}

/// The program for `doors`, each with its current sequence (`None`: a spent one-time door), for
/// an `AF_PACKET` socket in datagram mode, where offset 0 is the IP header. Outgoing packets are
/// dropped. Never longer than [`MAX_INSTRUCTIONS`].
#[must_use]
pub fn compile<'a>(
    doors: impl IntoIterator<Item = (&'a Trigger, Option<&'a Sequence>)>,
    scope: &Scope<'_>,
) -> Vec<Instruction> {
    let wanted = Wanted::of(doors);
    let interfaces = scope.interfaces.map(|indices| {
        let spans = spans::of(indices.to_vec());
        spans::coarsened([&spans, &[]], MAX_INTERFACE_SPANS).0
    });
    let ports = scope.spa_ports.iter().take(Spa::MAX_PORTS);
    let mut most = MAX_PORT_SPANS;
    loop {
        let (tcp, udp) = spans::coarsened([&wanted.tcp, &wanted.udp], most);
        let passes = |port: u32| udp.iter().any(|span| span.contains(port));
        // What passes whatever it carries need not be measured.
        let sealed: Vec<u32> = (ports.clone().map(|port| u32::from(*port)))
            .filter(|port| !passes(*port))
            .collect();
        let program = assemble::program(&assemble::Plan {
            interfaces: interfaces.as_deref(),
            only_ipv4: scope.only_ipv4,
            flags: wanted.flags.unwrap_or_default(),
            tcp: &tcp,
            udp: &udp,
            sealed: &sealed,
            codes: scope.codes,
        });
        if program.len() <= MAX_INSTRUCTIONS {
            return program;
        }
        most -= most / 8;
    }
}

/// What the doors want to see.
#[derive(Debug, Default)]
struct Wanted {
    tcp: Vec<Span>,
    udp: Vec<Span>,
    flags: Option<Flags>,
}

/// What every door that can count a TCP segment asks of its flags.
#[derive(Copy, Clone, Debug, Default)]
struct Flags {
    set: TcpFlags,
    clear: TcpFlags,
}

impl Wanted {
    fn of<'a>(doors: impl IntoIterator<Item = (&'a Trigger, Option<&'a Sequence>)>) -> Self {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        let (mut strict, mut flags) = (false, None);
        for (trigger, sequence) in doors {
            let Some(sequence) = sequence else { continue };
            let mut counts_tcp = trigger.strict;
            strict |= trigger.strict;
            for step in sequence.steps() {
                match step.protocol {
                    Protocol::Tcp => tcp.push(u32::from(step.port)),
                    Protocol::Udp => udp.push(u32::from(step.port)),
                }
                counts_tcp |= step.protocol == Protocol::Tcp;
            }
            if counts_tcp {
                flags = Some(common(flags, trigger));
            }
        }
        let every_port = || vec![Span::new(0, u32::from(u16::MAX))];
        Self {
            tcp: if strict { every_port() } else { spans::of(tcp) },
            udp: if strict { every_port() } else { spans::of(udp) },
            flags,
        }
    }
}

/// What is asked by both `flags`, where any door has asked yet, and `trigger`.
fn common(flags: Option<Flags>, trigger: &Trigger) -> Flags {
    let (set, clear) = (trigger.flags.must_be_set(), trigger.flags.must_be_clear());
    match flags {
        None => Flags { set, clear },
        Some(flags) => Flags {
            set: flags.set.intersection(set),
            clear: flags.clear.intersection(clear),
        },
    }
}
