//! What the fuzz targets share: doors and packets, made of a fuzzer's bytes.

use std::net::IpAddr;
use std::time::Duration;

use knock_core::door::{Action, Door, SequenceSource, Trigger};
use knock_core::flags::{FlagMatch, TcpFlags};
use knock_core::packet::Packet;
use knock_core::sequence::{Protocol, Sequence, Step};
use knock_core::target::Target;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// Up to `most` doors, whose ports are often the same.
///
/// # Errors
/// If the bytes are used up.
pub fn doors(u: &mut Unstructured<'_>, most: u8) -> Result<Vec<Door>> {
    let count = u.int_in_range(0..=most)?;
    (0..count).map(|_| door(u)).collect()
}

fn door(u: &mut Unstructured<'_>) -> Result<Door> {
    let kind = u.int_in_range(0..=7)?;
    let target = u.ratio(1, 4)?;
    let cooldown = if u.ratio(1, 4)? {
        u.arbitrary::<u8>()?
    } else {
        0
    };
    Ok(Door {
        name: char::from(u.int_in_range(b'A'..=b'D')?).to_string(),
        trigger: Trigger {
            source: match kind {
                0 => SequenceSource::None,
                1 | 2 => SequenceSource::OneTime("spare".to_owned()),
                _ => SequenceSource::Fixed(sequence(u)?),
            },
            seq_timeout: Duration::from_millis(u64::from(u.arbitrary::<u8>()?) * 16),
            flags: flag_match(u)?,
            targets: if target {
                vec![Target::host(address(u)?)]
            } else {
                vec![]
            },
            strict: u.ratio(1, 8)?,
            cooldown: Duration::from_millis(u64::from(cooldown) * 16),
        },
        spa: None,
        action: Action::default(),
    })
}

/// A sequence of up to five steps.
///
/// # Errors
/// If the bytes are used up.
pub fn sequence(u: &mut Unstructured<'_>) -> Result<Sequence> {
    let count = u.int_in_range(1..=5)?;
    let steps = (0..count).map(|_| step(u)).collect::<Result<Vec<Step>>>()?;
    Ok(Sequence::new(steps).expect("one to five steps are a sequence"))
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let port = if u.ratio(1, 16)? {
        u.arbitrary()?
    } else {
        u.int_in_range(7000..=7005)?
    };
    let protocol = if u.ratio(1, 4)? {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    Ok(Step { protocol, port })
}

fn flag_match(u: &mut Unstructured<'_>) -> Result<FlagMatch> {
    Ok(match u.int_in_range(0..=3)? {
        0 => FlagMatch::ANY,
        1 => FlagMatch::ANY.and_set(TcpFlags::SYN),
        2 => FlagMatch::ANY
            .and_set(TcpFlags::SYN)
            .and_clear(TcpFlags::ACK),
        _ => FlagMatch::ANY
            .and_set(TcpFlags::from_bits(u.arbitrary()?))
            .and_clear(TcpFlags::from_bits(u.arbitrary()?)),
    })
}

/// One of a few addresses of either family.
///
/// # Errors
/// If the bytes are used up.
pub fn address(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    let host = u.int_in_range(1..=4)?;
    Ok(if u.ratio(1, 4)? {
        IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(host)])
    } else {
        IpAddr::from([10, 77, 0, host])
    })
}

/// A packet that often knocks.
///
/// # Errors
/// If the bytes are used up.
pub fn packet(u: &mut Unstructured<'_>) -> Result<Packet> {
    let Step { protocol, port } = step(u)?;
    let flags = if u.ratio(3, 4)? {
        TcpFlags::SYN
    } else {
        TcpFlags::from_bits(u.arbitrary()?)
    };
    Ok(Packet {
        source: address(u)?,
        destination: address(u)?,
        protocol,
        source_port: 12_345,
        destination_port: port,
        flags: if protocol == Protocol::Tcp {
            flags
        } else {
            TcpFlags::NONE
        },
    })
}

/// The bytes of an IP packet that is nearly one, and the ether type that announces it.
///
/// # Errors
/// If the bytes are used up.
pub fn ip_packet(u: &mut Unstructured<'_>) -> Result<(u16, Vec<u8>)> {
    let step = step(u)?;
    let protocol = match step.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let (ether_type, mut bytes) = if u.ratio(1, 2)? {
        let words = u.int_in_range(5..=15)?;
        let fragment = u.ratio(1, 8)?.then(|| u.arbitrary()).transpose()?;
        let [f0, f1] = u16::to_be_bytes(fragment.unwrap_or(0));
        let mut header = vec![0x40 | words, 0, 0, 0, 0, 0, f0, f1, 64, protocol];
        header.resize(usize::from(words) * 4, 1);
        (0x0800, header)
    } else {
        (0x86dd, ipv6(u, protocol)?)
    };
    bytes.extend([0x30, 0x39]);
    bytes.extend(step.port.to_be_bytes());
    bytes.extend([0; 9]);
    bytes.push(*u.choose(&[0x02, 0x12, 0x10, 0xff, 0x00])?);
    for _ in 0..u.int_in_range(0..=2)? {
        let at = u.choose_index(bytes.len())?;
        bytes[at] = u.arbitrary()?;
    }
    if u.ratio(1, 8)? {
        bytes.truncate(u.choose_index(bytes.len())?);
    }
    Ok((ether_type, bytes))
}

/// An IPv6 header with up to ten extension headers.
fn ipv6(u: &mut Unstructured<'_>, protocol: u8) -> Result<Vec<u8>> {
    let mut chain = Vec::new();
    while chain.len() < 10 && u.ratio(1, 2)? {
        chain.push(*u.choose(&[0, 43, 44, 51, 60])?);
    }
    let first = *chain.first().unwrap_or(&protocol);
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, first, 64];
    bytes.resize(40, 1);
    for (i, kind) in chain.iter().enumerate() {
        let next = *chain.get(i + 1).unwrap_or(&protocol);
        let more = u.int_in_range(0..=1)?;
        let (length, size) = match kind {
            44 => (0, 8),
            51 => (more, 8 + usize::from(more) * 4),
            _ => (more, 8 + usize::from(more) * 8),
        };
        let start = bytes.len();
        bytes.extend([next, length]);
        bytes.resize(start + size, 0);
    }
    Ok(bytes)
}
