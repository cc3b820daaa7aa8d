//! What the native doors of a configuration keep shut, and which of them open it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::door::{Door, Native};
use crate::sequence::Protocol;
use crate::service::{Ports, Service};

/// What the native doors guard.
#[derive(Debug, Default)]
pub struct Guards<'a> {
    services: BTreeMap<Service, Vec<(&'a Door, &'a Native)>>,
    tcp: Rows<'a>,
    udp: Rows<'a>,
}

/// Ports by their first one, each with the highest port of it and those before, and its door: so a
/// port is found with a single search, however many ranges it is in.
#[derive(Debug, Default)]
struct Rows<'a>(Vec<(u16, u16, &'a Door)>);

impl<'a> Guards<'a> {
    /// What `doors` guard.
    #[must_use]
    pub fn of(doors: impl IntoIterator<Item = &'a Door>) -> Self {
        let mut guards = Self::default();
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for door in doors {
            let Some(native) = &door.action.native else {
                continue;
            };
            for service in &native.open {
                let doors = guards.services.entry(*service).or_default();
                doors.push((door, native));
                match service {
                    Service::Tcp(ports) => tcp.push((*ports, door)),
                    Service::Udp(ports) => udp.push((*ports, door)),
                    Service::Icmp => {}
                }
            }
        }
        guards.tcp = Rows::of(tcp);
        guards.udp = Rows::of(udp);
        guards
    }

    /// Each service that a door has in its `open`, with the doors that open it.
    pub fn services(&self) -> impl Iterator<Item = (Service, &[(&'a Door, &'a Native)])> {
        let services = self.services.iter();
        services.map(|(service, doors)| (*service, doors.as_slice()))
    }

    /// A door that opens this port, if the port is guarded.
    #[must_use]
    pub fn opener(&self, protocol: Protocol, port: u16) -> Option<&'a Door> {
        match protocol {
            Protocol::Tcp => self.tcp.find(port),
            Protocol::Udp => self.udp.find(port),
        }
    }
}

impl<'a> Rows<'a> {
    fn of(mut ports: Vec<(Ports, &'a Door)>) -> Self {
        // Stable: of doors with the same ports, the first of the file stays the first.
        ports.sort_by_key(|(ports, _)| *ports);
        let mut rows: Vec<(u16, u16, &Door)> = Vec::with_capacity(ports.len());
        for (ports, door) in ports {
            match rows.last() {
                Some((_, highest, reaching)) if *highest >= ports.last() => {
                    rows.push((ports.first(), *highest, reaching));
                }
                _ => rows.push((ports.first(), ports.last(), door)),
            }
        }
        Self(rows)
    }

    fn find(&self, port: u16) -> Option<&'a Door> {
        let after = self.0.partition_point(|(first, ..)| *first <= port);
        let (_, highest, door) = self.0.get(after.checked_sub(1)?)?;
        (*highest >= port).then_some(*door)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn doors(open: &[String]) -> Vec<Door> {
        let sections = open.iter().enumerate();
        let text = sections.map(|(i, open)| format!("[{i}]\nsequence = 1\nopen = {open}\n"));
        let text: String = text.collect();
        let parsed = parse(text.as_bytes(), &|_, _| None);
        parsed.config.unwrap().doors
    }

    #[test]
    fn a_service_has_the_doors_that_open_it() {
        let doors = doors(&["tcp/22, icmp".into(), "udp/9".into(), "tcp/22".into()]);
        let guards = Guards::of(&doors);
        let told: Vec<String> = guards
            .services()
            .map(|(service, doors)| {
                let names = doors.iter().map(|(door, _)| door.name.as_str());
                format!("{service} {}", names.collect::<String>())
            })
            .collect();
        assert_eq!(told, ["tcp/22 02", "udp/9 1", "icmp 0"]);
    }

    proptest! {
        #[test]
        fn a_port_is_guarded_if_and_only_if_a_door_opens_it(
            open in prop::collection::vec((any::<bool>(), 1..40_u16, 0..9_u16), 0..8),
        ) {
            let range = |(tcp, first, more): &(bool, u16, u16)| {
                let protocol = if *tcp { "tcp" } else { "udp" };
                format!("{protocol}/{first}-{}", first + more)
            };
            let open: Vec<String> = open.iter().map(range).collect();
            let doors = doors(&open);
            let guards = Guards::of(&doors);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in 0..60 {
                    let opens = |door: &Door| {
                        let native = door.action.native.as_ref().unwrap();
                        let mut ports = native.open.iter().filter_map(|service| service.ports());
                        ports.any(|(of, ports)| of == protocol && ports.contains(port))
                    };
                    let opener = guards.opener(protocol, port);
                    prop_assert_eq!(opener.is_some(), doors.iter().any(opens));
                    prop_assert!(opener.is_none_or(opens), "{}", port.to_string());
                }
            }
        }
    }
}
