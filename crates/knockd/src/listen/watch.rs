//! Which interfaces count, which addresses they have, and what changes about them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::links::{Link, Links};
use super::{ANY, InterfaceChange};
use crate::wire::Reach;

/// Follows the interfaces that were asked for.
#[derive(Debug)]
pub(super) struct Watch {
    links: Links,
    names: Vec<String>,
    /// What was last told of each interface that was asked for by name.
    told: BTreeMap<String, Option<Seen>>,
}

/// An interface as it was told.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    index: u32,
    link: Link,
}

impl Watch {
    pub(super) fn new(names: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            links: Links::new()?,
            names,
            told: BTreeMap::new(),
        })
    }

    /// Replaces the names, and asks for all interfaces anew.
    pub(super) fn set_names(&mut self, names: Vec<String>) -> io::Result<()> {
        self.told.retain(|name, _| names.contains(name));
        self.names = names;
        self.links.refresh()
    }

    /// Whether something changed.
    pub(super) fn handle_readable(&mut self) -> io::Result<bool> {
        self.links.handle_readable()
    }

    /// The indices of the interfaces that count; `None` for every one.
    pub(super) fn scope(&self) -> Option<Vec<u32>> {
        if self.is_any() {
            return None;
        }
        let indices = self.names.iter().filter_map(|name| self.links.index(name));
        let mut indices: Vec<_> = indices.collect();
        indices.sort_unstable();
        Some(indices)
    }

    /// What the listener must know of the interfaces that count.
    pub(super) fn reach(&self) -> Reach {
        Reach {
            interfaces: self.scope(),
            locals: self.locals(),
        }
    }

    /// The own addresses of the interfaces that count, sorted. As in the original, an address
    /// counts where it is, not where else packets to it may come in: so a bridge and its ports,
    /// or a VLAN and what carries it, do not hear the same packet twice.
    fn locals(&self) -> Vec<(u32, IpAddr)> {
        let any = self.is_any();
        let links = self.links.all().iter();
        let counting = links.filter(|(_, link)| any || self.names.contains(&link.name));
        let mut locals: Vec<_> = counting
            .flat_map(|(index, link)| link.addresses.iter().map(|address| (*index, *address)))
            .collect();
        locals.sort_unstable();
        locals
    }

    /// What changed since it was last asked, of the interfaces that were asked for by name.
    pub(super) fn take_changes(&mut self) -> Vec<(String, InterfaceChange)> {
        let mut changes = Vec::new();
        for name in self.names.iter().filter(|name| *name != ANY) {
            let seen = self.links.index(name).and_then(|index| {
                let link = self.links.all().get(&index)?.clone();
                Some(Seen { index, link })
            });
            let before = self.told.insert(name.clone(), seen.clone());
            let of_this = differences(before.as_ref(), seen.as_ref());
            changes.extend(of_this.into_iter().map(|change| (name.clone(), change)));
        }
        changes
    }

    /// Each that was asked for: whether it is up, and its addresses. Of all of them together, those
    /// of all that there are.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (&str, bool, Vec<IpAddr>)> {
        self.names.iter().map(|name| {
            let all = self.links.all().values();
            let counting = all.filter(|link| name == ANY || link.name == *name);
            let up = counting.clone().any(|link| link.up);
            let addresses = counting.flat_map(|link| link.addresses.iter().copied());
            (name.as_str(), up, addresses.collect())
        })
    }

    fn is_any(&self) -> bool {
        self.names.iter().any(|name| name == ANY)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.links.as_fd()
    }
}

/// What to tell of an interface that was `before` (`None`: never told) and is now as in `seen`.
/// At first only what keeps it from hearing anything is told.
fn differences(before: Option<&Option<Seen>>, seen: Option<&Seen>) -> Vec<InterfaceChange> {
    let mut changes = Vec::new();
    let Some(now) = seen else {
        match before {
            None => changes.push(InterfaceChange::Absent),
            Some(Some(_)) => changes.push(InterfaceChange::Gone),
            Some(None) => {}
        }
        return changes;
    };
    let first = before.is_none();
    let same = before
        .and_then(Option::as_ref)
        .filter(|seen| seen.index == now.index);
    if !first && same.is_none() {
        if before.is_some_and(Option::is_some) {
            changes.push(InterfaceChange::Gone);
        }
        changes.push(InterfaceChange::Appeared);
    }
    match same.map(|seen| seen.link.up) {
        Some(up) if up == now.link.up => {}
        Some(false) => changes.push(InterfaceChange::Up),
        _ if now.link.up => {}
        _ => changes.push(InterfaceChange::Down),
    }
    let addresses = &now.link.addresses;
    if same.is_none_or(|seen| seen.link.addresses != *addresses) {
        if addresses.is_empty() {
            changes.push(InterfaceChange::NoAddress);
        } else if !first {
            changes.push(InterfaceChange::Addresses(
                addresses.iter().copied().collect(),
            ));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: u32, up: bool, addresses: &[[u8; 4]]) -> Seen {
        let addresses = addresses.iter().map(|address| IpAddr::from(*address));
        Seen {
            index,
            link: Link {
                name: "eth0".into(),
                up,
                addresses: addresses.collect(),
            },
        }
    }

    #[test]
    fn at_first_only_what_is_wrong_is_told() {
        assert_eq!(
            differences(None, Some(&seen(2, true, &[[10, 0, 0, 1]]))),
            []
        );
        assert_eq!(differences(None, None), [InterfaceChange::Absent]);
        assert_eq!(
            differences(None, Some(&seen(2, false, &[]))),
            [InterfaceChange::Down, InterfaceChange::NoAddress]
        );
    }

    #[test]
    fn an_interface_that_is_made_anew_is_another_one() {
        let before = Some(seen(2, true, &[[10, 0, 0, 1]]));
        assert_eq!(differences(Some(&before), None), [InterfaceChange::Gone]);
        assert_eq!(differences(Some(&None), None), []);
        assert_eq!(
            differences(Some(&before), Some(&seen(3, true, &[]))),
            [
                InterfaceChange::Gone,
                InterfaceChange::Appeared,
                InterfaceChange::NoAddress
            ]
        );
    }

    #[test]
    fn an_address_that_is_replaced_is_told() {
        let before = Some(seen(2, true, &[[10, 0, 0, 1]]));
        let now = seen(2, true, &[[10, 0, 0, 2]]);
        let address = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(
            differences(Some(&before), Some(&now)),
            [InterfaceChange::Addresses(vec![address])]
        );
        assert_eq!(differences(Some(&Some(now.clone())), Some(&now)), []);
    }
}
