//! The attempts of each door in the order of their deadlines, and which of them goes first when
//! the table is full.
//!
//! A door has two lists: attempts, and cooling-downs. Both are joined at the end, and all that
//! join a list get the same time, so deadlines in a list never fall.
//!
//! What is *cheap* costs a stranger one packet, or is no loss to a knocker: an attempt at its
//! first step, and a cooling-down. The oldest attempt at its first step is found by a hand that
//! goes through the list once: what it has passed is past its first step for ever.

use alloc::vec;
use alloc::vec::Vec;

use super::crowd::Crowd;
use super::deadlines::{Deadlines, ListId};
use super::slab::{Attempt, Links, NONE, Slab, Slot};
use crate::time::Timestamp;

/// The first and the last of a list.
#[derive(Copy, Clone, Debug)]
struct Ends {
    first: Slot,
    last: Slot,
}

const NOBODY: Ends = Ends {
    first: NONE,
    last: NONE,
};

#[derive(Copy, Clone, Debug)]
struct Lane {
    attempts: Ends,
    cooling: Ends,
    /// No attempt before it is at its first step; [`NONE`] if none is at all.
    hand: Slot,
    /// How many attempts are at their first step.
    at_first_step: u32,
}

pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// How many cheap ones each door has.
    cheap: Crowd,
    deadlines: Deadlines,
}

impl Lanes {
    pub(super) fn new(doors: usize) -> Self {
        let lane = Lane {
            attempts: NOBODY,
            cooling: NOBODY,
            hand: NONE,
            at_first_step: 0,
        };
        Self {
            lanes: vec![lane; doors],
            cheap: Crowd::new(doors),
            deadlines: Deadlines::new(2 * doors),
        }
    }

    /// How many doors there are.
    pub(super) fn doors(&self) -> u16 {
        u16::try_from(self.lanes.len()).unwrap_or(u16::MAX)
    }

    /// Puts `slot`, which is in no list, at the end of the one it belongs to.
    pub(super) fn join(&mut self, slab: &mut Slab, slot: Slot) {
        let Attempt {
            door,
            stage,
            deadline,
            ..
        } = *slab.get(slot);
        let Some(lane) = self.lanes.get_mut(usize::from(door)) else {
            return;
        };
        let ends = lane.ends(stage);
        let last = ends.last;
        ends.last = slot;
        if last == NONE {
            ends.first = slot;
        } else {
            slab.get_mut(last).in_lane.after = slot;
        }
        slab.get_mut(slot).in_lane = Links {
            before: last,
            after: NONE,
        };
        if stage == 1 {
            lane.at_first_step += 1;
            if lane.hand == NONE {
                lane.hand = slot;
            }
        }
        if stage <= 1 {
            self.cheap.add(door);
        }
        self.deadlines.joined(list_of(door, stage), deadline);
    }

    /// Takes `slot` out of its list.
    pub(super) fn leave(&mut self, slab: &mut Slab, slot: Slot) {
        let Attempt {
            door,
            stage,
            in_lane,
            ..
        } = *slab.get(slot);
        self.no_longer_cheap(door, stage);
        let Some(lane) = self.lanes.get_mut(usize::from(door)) else {
            return;
        };
        if lane.hand == slot {
            lane.hand = in_lane.after;
        }
        let ends = lane.ends(stage);
        if in_lane.before == NONE {
            ends.first = in_lane.after;
        } else {
            slab.get_mut(in_lane.before).in_lane.after = in_lane.after;
        }
        if in_lane.after == NONE {
            ends.last = in_lane.before;
        } else {
            slab.get_mut(in_lane.after).in_lane.before = in_lane.before;
        }
    }

    /// Puts `slot`, an attempt at its first step, at the end of its list.
    pub(super) fn requeue(&mut self, slab: &mut Slab, slot: Slot) {
        let Attempt { door, in_lane, .. } = *slab.get(slot);
        let Some(lane) = self.lanes.get_mut(usize::from(door)) else {
            return;
        };
        if in_lane.after == NONE {
            return;
        }
        if lane.hand == slot {
            lane.hand = in_lane.after;
        }
        slab.get_mut(in_lane.after).in_lane.before = in_lane.before;
        if in_lane.before == NONE {
            lane.attempts.first = in_lane.after;
        } else {
            slab.get_mut(in_lane.before).in_lane.after = in_lane.after;
        }
        let last = lane.attempts.last;
        lane.attempts.last = slot;
        slab.get_mut(last).in_lane.after = slot;
        slab.get_mut(slot).in_lane = Links {
            before: last,
            after: NONE,
        };
    }

    /// One more step for `slot`, which is no cooling-down. Its deadline and place stay.
    pub(super) fn advance(&mut self, slab: &mut Slab, slot: Slot) {
        let attempt = slab.get_mut(slot);
        let stage = attempt.stage;
        attempt.stage = stage.saturating_add(1);
        let door = attempt.door;
        self.no_longer_cheap(door, stage);
    }

    fn no_longer_cheap(&mut self, door: u16, stage: u8) {
        if stage > 1 {
            return;
        }
        self.cheap.sub(door);
        if let Some(lane) = self.lanes.get_mut(usize::from(door)).filter(|_| stage == 1) {
            lane.at_first_step -= 1;
        }
    }

    /// Which attempt is worth least. Of the door with the most cheap ones, so that who floods one
    /// door does not disturb another: the oldest at its first step, or else the oldest
    /// cooling-down. If nothing is cheap, the attempt with the least time left.
    pub(super) fn least_worth(&mut self, slab: &Slab) -> Option<Slot> {
        let Some(door) = self.cheap.fullest() else {
            let (_, list) = self.soonest(slab)?;
            return self.first(list);
        };
        let lane = self.lanes.get_mut(usize::from(door))?;
        if lane.at_first_step == 0 {
            return Some(lane.cooling.first);
        }
        while slab.get(lane.hand).stage != 1 {
            lane.hand = slab.get(lane.hand).in_lane.after;
        }
        Some(lane.hand)
    }

    /// A time that is not later than any deadline; `None` if there is none.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.deadlines.earliest()
    }

    /// The first deadline of all, and its list.
    pub(super) fn soonest(&mut self, slab: &Slab) -> Option<(Timestamp, ListId)> {
        let lanes = &self.lanes;
        self.deadlines.soonest(|list| {
            let first = first_of(lanes, list)?;
            Some(slab.get(first).deadline)
        })
    }

    /// The first of a list.
    pub(super) fn first(&self, list: ListId) -> Option<Slot> {
        first_of(&self.lanes, list)
    }

    /// The last deadline in the list of a door's attempts (`stage` > 0) or cooling-downs (0).
    pub(super) fn latest(&self, slab: &Slab, door: u16, stage: u8) -> Timestamp {
        let lane = self.lanes.get(usize::from(door));
        let last = lane.map_or(NONE, |lane| {
            if stage == 0 {
                lane.cooling.last
            } else {
                lane.attempts.last
            }
        });
        if last == NONE {
            Timestamp::ZERO
        } else {
            slab.get(last).deadline
        }
    }

    /// There is no attempt any more.
    pub(super) fn clear(&mut self) {
        self.deadlines.clear();
    }
}

impl Lane {
    fn ends(&mut self, stage: u8) -> &mut Ends {
        if stage == 0 {
            &mut self.cooling
        } else {
            &mut self.attempts
        }
    }
}

/// The list of a door's attempts (`stage` > 0) or cooling-downs (0).
pub(super) fn list_of(door: u16, stage: u8) -> ListId {
    2 * usize::from(door) + usize::from(stage == 0)
}

fn first_of(lanes: &[Lane], list: ListId) -> Option<Slot> {
    let lane = lanes.get(list / 2)?;
    let ends = if list.is_multiple_of(2) {
        lane.attempts
    } else {
        lane.cooling
    };
    Some(ends.first).filter(|slot| *slot != NONE)
}

#[cfg(test)]
impl Lanes {
    /// Asserts that the lists, the counts and the hands are right; gives all slots in them.
    pub(super) fn check(&self, slab: &Slab) -> Vec<Slot> {
        let mut all = Vec::new();
        for (door, lane) in (0_u16..).zip(&self.lanes) {
            let mut at_first_step = 0;
            let mut cheap = 0;
            let mut hand_passed = lane.hand == NONE;
            for (list, ends) in [(0, lane.cooling), (1, lane.attempts)] {
                let (mut before, mut at) = (NONE, ends.first);
                if at != NONE {
                    let first = slab.get(at).deadline;
                    self.deadlines.check(list_of(door, list), first);
                }
                while at != NONE {
                    let attempt = slab.get(at);
                    assert_eq!((attempt.door, attempt.in_lane.before), (door, before));
                    assert_eq!(attempt.stage.min(1), list);
                    assert!(before == NONE || slab.get(before).deadline <= attempt.deadline);
                    hand_passed |= at == lane.hand;
                    at_first_step += u32::from(attempt.stage == 1);
                    assert!(attempt.stage != 1 || (hand_passed && lane.hand != NONE));
                    cheap += u32::from(attempt.stage <= 1);
                    all.push(at);
                    (before, at) = (at, attempt.in_lane.after);
                }
                assert_eq!(ends.last, before);
            }
            assert!(hand_passed);
            assert_eq!(lane.at_first_step, at_first_step);
            assert_eq!(self.cheap.count(door), cheap);
        }
        all
    }
}
