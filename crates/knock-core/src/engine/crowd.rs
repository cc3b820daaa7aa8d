//! Which door has the most of something: a tournament tree of counts, exact, O(log doors).

use alloc::vec;
use alloc::vec::Vec;

/// A count for each door.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Node 1 is the root, 2n and 2n + 1 are the children of n; the last half are the doors. A
    /// node is the greatest of its children.
    nodes: Vec<u32>,
    leaves: usize,
}

impl Crowd {
    pub(super) fn new(doors: usize) -> Self {
        let leaves = doors.next_power_of_two();
        Self {
            nodes: vec![0; 2 * leaves],
            leaves,
        }
    }

    pub(super) fn count(&self, door: u16) -> u32 {
        self.node(self.leaves + usize::from(door))
    }

    pub(super) fn add(&mut self, door: u16) {
        self.set(door, self.count(door).saturating_add(1));
    }

    pub(super) fn sub(&mut self, door: u16) {
        self.set(door, self.count(door).saturating_sub(1));
    }

    /// The door with the greatest count, the first of several; `None` if all are zero.
    pub(super) fn fullest(&self) -> Option<u16> {
        let most = self.node(1);
        if most == 0 {
            return None;
        }
        let mut at = 1;
        while at < self.leaves {
            at *= 2;
            if self.node(at) != most {
                at += 1;
            }
        }
        u16::try_from(at - self.leaves).ok()
    }

    fn set(&mut self, door: u16, count: u32) {
        let mut at = self.leaves + usize::from(door);
        let mut value = count;
        while let Some(node) = self.nodes.get_mut(at).filter(|node| **node != value) {
            *node = value;
            value = value.max(self.node(at ^ 1));
            at /= 2;
            if at == 0 {
                break;
            }
        }
    }

    fn node(&self, at: usize) -> u32 {
        self.nodes.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fullest_door_is_the_first_with_the_greatest_count(
            doors in 1..20_usize,
            steps in prop::collection::vec((0..20_u16, any::<bool>()), 0..200),
        ) {
            let mut crowd = Crowd::new(doors);
            let mut counts = vec![0_u32; doors];
            for (door, more) in steps {
                let Some(count) = counts.get_mut(usize::from(door)) else { continue };
                if more {
                    crowd.add(door);
                    *count += 1;
                } else {
                    crowd.sub(door);
                    *count = count.saturating_sub(1);
                }
                let most = counts.iter().copied().max().unwrap();
                let fullest = counts.iter().position(|c| *c == most && most > 0);
                prop_assert_eq!(crowd.fullest().map(usize::from), fullest);
            }
        }
    }
}
