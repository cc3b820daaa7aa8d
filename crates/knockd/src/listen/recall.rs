//! What the keeper remembers of attempts, so that a new listener can go on with them.
//!
//! A listener takes its attempts with it when it dies. Those that it has reported are remembered
//! here: all of them on a quiet day; in a flood, when reports of first steps are limited, those
//! that are past their first step, and so the ones that matter. Where the report of a first step
//! was left out, the time for the whole sequence is reckoned from the first step that was not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use knock_core::door::{Door, DoorId, successors};
use knock_core::engine::Progress;
use knock_core::time::Timestamp;

use crate::wire::{Report, ReportKind};

/// The most attempts that are remembered; beyond it those with the least time left are forgotten.
/// A quarter of a megabyte.
const MAX_REMEMBERED: usize = 4096;

type Attempt = (DoorId, IpAddr);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Recall {
    attempts: BTreeMap<Attempt, Progress>,
    /// The same, by when they are over.
    ends: BTreeSet<(Timestamp, Attempt)>,
}

impl Recall {
    /// Takes note of a report that means one of `doors`.
    pub(super) fn note(&mut self, report: &Report, doors: &[Door], now: Timestamp) {
        let Some(door) = doors.get(usize::from(report.door.0)) else {
            return;
        };
        let attempt = (report.door, report.source);
        let from = report.at.min(now);
        match report.kind {
            ReportKind::Stage(stage) => {
                let known = self.attempts.get(&attempt).filter(|_| stage > 1);
                let known = known.filter(|progress| progress.stage > 0);
                let until = known.map_or_else(
                    || from.saturating_add(door.trigger.seq_timeout),
                    |progress| progress.until,
                );
                self.remember(attempt, Progress { stage, until }, now);
            }
            ReportKind::Opening => {
                self.forget(attempt);
                let cooldown = door.trigger.cooldown;
                if !cooldown.is_zero() {
                    let until = from.saturating_add(cooldown);
                    self.remember(attempt, Progress { stage: 0, until }, now);
                }
            }
            ReportKind::Timeout { .. } | ReportKind::Broken { .. } => self.forget(attempt),
            _ => {}
        }
    }

    /// All that is under way at `now`, in the order of their ends.
    pub(super) fn attempts(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (DoorId, IpAddr, Progress)> {
        let live = self.ends.iter().filter(move |(until, _)| *until > now);
        live.filter_map(|(_, attempt)| {
            let progress = self.attempts.get(attempt)?;
            Some((attempt.0, attempt.1, *progress))
        })
    }

    /// The doors are others now: what was at a door that did not change is at its new place.
    pub(super) fn follow(&mut self, before: &[Door], now: &[Door]) {
        let before = before
            .iter()
            .map(|door| (door.name.as_str(), &door.trigger));
        let places = successors(before, now);
        let place = |id: DoorId| {
            let place = places.get(usize::from(id.0)).copied().flatten();
            place.map(DoorId)
        };
        let attempts = std::mem::take(&mut self.attempts);
        self.ends.clear();
        for ((door, source), progress) in attempts {
            if let Some(door) = place(door) {
                self.ends.insert((progress.until, (door, source)));
                self.attempts.insert((door, source), progress);
            }
        }
    }

    fn remember(&mut self, attempt: Attempt, progress: Progress, now: Timestamp) {
        self.forget(attempt);
        while let Some((until, oldest)) = self.ends.first().copied() {
            if until > now && self.attempts.len() < MAX_REMEMBERED {
                break;
            }
            self.forget(oldest);
        }
        self.attempts.insert(attempt, progress);
        self.ends.insert((progress.until, attempt));
    }

    fn forget(&mut self, attempt: Attempt) {
        if let Some(progress) = self.attempts.remove(&attempt) {
            self.ends.remove(&(progress.until, attempt));
        }
    }
}

#[cfg(test)]
mod tests {
    use knock_core::config;

    use super::*;
    use crate::wire::Checksum;

    const A: &str = "[A]\nsequence = 1,2,3\nseq_timeout = 10\n";
    const B: &str = "[B]\nsequence = 1,2\ncooldown = 5\n";

    fn doors(text: &str) -> Vec<Door> {
        let parsed = config::parse(text.as_bytes(), &|_, _| None);
        parsed.config.unwrap().doors
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn note(recall: &mut Recall, source: u32, door: u16, kind: ReportKind, seconds: u64) {
        let report = Report {
            doors: Checksum(0),
            door: DoorId(door),
            source: IpAddr::from(source.to_be_bytes()),
            at: at(seconds),
            kind,
        };
        recall.note(&report, &doors(&format!("{A}{B}")), at(seconds));
    }

    /// `door.stage@until` of each.
    fn told(recall: &Recall, seconds: u64) -> String {
        let told = recall.attempts(at(seconds)).map(|(door, _, progress)| {
            let until = progress.until.as_nanos() / 1_000_000_000;
            format!("{}.{}@{until}", door.0, progress.stage)
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_attempt_keeps_the_time_of_its_first_step() {
        let mut recall = Recall::default();
        note(&mut recall, 1, 0, ReportKind::Stage(1), 100);
        note(&mut recall, 1, 0, ReportKind::Stage(2), 104);
        note(&mut recall, 2, 0, ReportKind::Stage(2), 105);
        assert_eq!(told(&recall, 106), "0.2@110 0.2@115");
        assert_eq!(told(&recall, 112), "0.2@115");
        note(&mut recall, 1, 0, ReportKind::Stage(1), 113);
        assert_eq!(told(&recall, 113), "0.2@115 0.1@123");
    }

    #[test]
    fn what_has_ended_is_forgotten_and_who_cools_down_is_not() {
        let mut recall = Recall::default();
        for (source, end) in [
            (1, ReportKind::Timeout { stage: 1 }),
            (2, ReportKind::Opening),
            (3, ReportKind::Stage(1)),
        ] {
            note(&mut recall, source, 1, ReportKind::Stage(1), 100);
            note(&mut recall, source, 1, end, 101);
        }
        assert_eq!(told(&recall, 102), "1.0@106 1.1@126");
        note(&mut recall, 2, 1, ReportKind::Stage(2), 107);
        assert_eq!(told(&recall, 108), "1.1@126 1.2@132");
    }

    #[test]
    fn attempts_go_with_their_doors() {
        let mut recall = Recall::default();
        note(&mut recall, 1, 0, ReportKind::Stage(2), 100);
        note(&mut recall, 1, 1, ReportKind::Stage(1), 101);
        let before = doors(&format!("{A}{B}"));
        let now = doors(&format!(
            "[C]\nsequence = 9\n{}{A}",
            B.replace("1,2", "1,4")
        ));
        recall.follow(&before, &now);
        assert_eq!(told(&recall, 102), "2.2@110");
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut recall = Recall::default();
        for source in 0..5_000 {
            note(
                &mut recall,
                source,
                0,
                ReportKind::Stage(1),
                u64::from(source) / 1_000,
            );
        }
        assert_eq!(recall.attempts.len(), MAX_REMEMBERED);
        assert_eq!(recall.ends.len(), MAX_REMEMBERED);
        let last = IpAddr::from(4_999_u32.to_be_bytes());
        assert!(recall.attempts.contains_key(&(DoorId(0), last)));
        note(&mut recall, 9_999, 0, ReportKind::Stage(1), 1_000);
        assert_eq!(recall.attempts.len(), 1, "the others are long over");
    }
}
