//! What the kernel does with a filter, for tests and fuzzing.

use super::Instruction;
use super::assemble::{ancillary, op};

/// What the kernel knows of a packet besides its bytes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// `sll_pkttype`: 0 for a packet to this host, 4 for an outgoing one.
    pub packet_type: u8,
    /// The index of the interface.
    pub interface: u32,
    /// The ether type, in host byte order.
    pub ether_type: u16,
}

/// How many bytes of the packet `program` lets through; 0 drops it. As in the kernel, a load
/// beyond the packet drops it. Only the operations that [`super::compile`] uses are known.
///
/// # Errors
/// If the program is none: an unknown operation, or a way out without a return.
pub fn interpret(
    program: &[Instruction],
    bytes: &[u8],
    metadata: Metadata,
) -> Result<u32, NotAProgram> {
    let (mut a, mut x, mut rest) = (0, 0, program);
    loop {
        let (&Instruction { code, jt, jf, k }, after) = rest.split_first().ok_or(NotAProgram)?;
        let mut skip = 0;
        let mut loaded = |value: Option<u32>| value.map(|value| a = value).is_some();
        let within = match code {
            op::LD_W_ABS => loaded(word(bytes, metadata, k)),
            op::LD_H_ABS => loaded(half(bytes, Some(k))),
            op::LD_B_ABS => loaded(byte(bytes, Some(k))),
            op::LD_H_IND => loaded(half(bytes, k.checked_add(x))),
            op::LD_B_IND => loaded(byte(bytes, k.checked_add(x))),
            op::LD_W_LEN => loaded(u32::try_from(bytes.len()).ok()),
            op::LDX_IMM => {
                x = k;
                true
            }
            op::LDX_MSH => {
                let header = byte(bytes, Some(k)).map(|byte| (byte & 0x0f) * 4);
                x = header.unwrap_or(x);
                header.is_some()
            }
            op::RET => return Ok(k),
            op::AND => {
                a &= k;
                true
            }
            op::ADD_X => {
                a = a.wrapping_add(x);
                true
            }
            op::TAX => {
                x = a;
                true
            }
            op::JA => {
                skip = usize::try_from(k).map_err(|_| NotAProgram)?;
                true
            }
            op::JEQ | op::JGT | op::JGE | op::JGE_X | op::JSET => {
                let yes = match code {
                    op::JEQ => a == k,
                    op::JGT => a > k,
                    op::JGE => a >= k,
                    op::JGE_X => a >= x,
                    _ => a & k != 0,
                };
                skip = usize::from(if yes { jt } else { jf });
                true
            }
            _ => return Err(NotAProgram),
        };
        if !within {
            return Ok(0);
        }
        rest = after.get(skip..).ok_or(NotAProgram)?;
    }
}

/// The instructions are no program that [`interpret`] knows.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NotAProgram;

fn word(bytes: &[u8], metadata: Metadata, at: u32) -> Option<u32> {
    match at {
        ancillary::PROTOCOL => Some(u32::from(metadata.ether_type)),
        ancillary::PACKET_TYPE => Some(u32::from(metadata.packet_type)),
        ancillary::INTERFACE => Some(metadata.interface),
        _ => field(bytes, Some(at)).map(u32::from_be_bytes),
    }
}

fn half(bytes: &[u8], at: Option<u32>) -> Option<u32> {
    field(bytes, at).map(|half| u32::from(u16::from_be_bytes(half)))
}

fn byte(bytes: &[u8], at: Option<u32>) -> Option<u32> {
    field(bytes, at).map(|[byte]| u32::from(byte))
}

fn field<const N: usize>(bytes: &[u8], at: Option<u32>) -> Option<[u8; N]> {
    let rest = bytes.get(usize::try_from(at?).ok()?..)?;
    rest.first_chunk().copied()
}
