//! The kernel filter of any doors fits the kernel, and no packet that a door could count, or that
//! could be sealed, is dropped by it.
#![no_main]

use knock_core::door::{Door, SequenceSource};
use knock_core::filter::{MAX_INSTRUCTIONS, Metadata, Scope, compile, interpret};
use knock_core::packet::{Packet, payload};
use knock_core::sequence::{Protocol, Sequence};
use knock_core::spa::Spa;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _bytes_used_up = hold(Unstructured::new(data)).is_err();
});

fn hold(mut u: Unstructured<'_>) -> Result<()> {
    let doors = fuzz::doors(&mut u, 8)?;
    let spare = fuzz::sequence(&mut u)?;
    let sequence = |door: &Door| match &door.trigger.source {
        SequenceSource::Fixed(sequence) => Some(sequence.clone()),
        SequenceSource::OneTime(_) => door.trigger.strict.then(|| spare.clone()),
        SequenceSource::None => None,
    };
    let sequences: Vec<Option<Sequence>> = doors.iter().map(sequence).collect();
    let interfaces: Vec<u32> = (0..u.int_in_range(0..=4)?)
        .map(|_| u.int_in_range(1..=6))
        .collect::<Result<_>>()?;
    let spa_ports: Vec<u16> = (0..u.int_in_range(0..=Spa::MAX_PORTS)?)
        .map(|_| u.int_in_range(7000..=7010))
        .collect::<Result<_>>()?;
    let scope = Scope {
        interfaces: u.ratio(1, 2)?.then_some(interfaces.as_slice()),
        only_ipv4: u.ratio(1, 4)?,
        spa_ports: &spa_ports,
        codes: u.ratio(1, 2)?,
    };
    let pairs = doors.iter().map(|door| &door.trigger);
    let program = compile(pairs.zip(sequences.iter().map(Option::as_ref)), &scope);
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()));

    let (ether_type, mut bytes) = fuzz::ip_packet(&mut u)?;
    let mut metadata = Metadata {
        packet_type: u.int_in_range(0..=7)?,
        interface: u.int_in_range(1..=6)?,
        ether_type,
    };
    if u.ratio(1, 4)? {
        metadata.ether_type = *u.choose(&[0x8100, 0x88a8, 0x9100, 0x0806, 0x0800, 0x86dd])?;
        let [high, low] = ether_type.to_be_bytes();
        bytes.splice(..0, [0, 7, high, low]);
    }
    let bytes = bytes.as_slice();
    let passes = interpret(&program, bytes, metadata).expect("a program with an end") > 0;
    let listed = scope
        .interfaces
        .is_none_or(|list| list.contains(&metadata.interface));
    let in_scope = metadata.packet_type != 4 && listed;
    assert!(in_scope || !passes);
    if let Ok(packet) = Packet::from_ether_type(metadata.ether_type, bytes)
        && in_scope
        && !(scope.only_ipv4 && packet.source.is_ipv6())
    {
        let could_count = doors.iter().zip(&sequences).any(|(door, sequence)| {
            let trigger = &door.trigger;
            let liked = packet.protocol == Protocol::Udp || trigger.flags.matches(packet.flags);
            let heard = |s: &Sequence| trigger.strict || s.steps().contains(&packet.step());
            liked && sequence.as_ref().is_some_and(heard)
        });
        assert!(passes || !could_count, "{packet:?}");
        let could_be_sealed = spa_ports.contains(&packet.destination_port)
            && payload(metadata.ether_type, bytes)
                .is_ok_and(|p| Spa::fits(p.len()) || scope.codes && Spa::fits_code(p.len()));
        assert!(passes || !could_be_sealed, "{packet:?}");
    }
    Ok(())
}
