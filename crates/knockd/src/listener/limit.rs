//! Bounds on what strangers can make us say: token buckets, and a count of what was left out.

use std::time::Duration;

use knock_core::time::Timestamp;

use crate::bucket::{Bucket, LeftOut};
use crate::wire::ReportKind;

/// Decides which reports go out. Openings do as long as commands could be run for them; attempts
/// that are past their first step, which only who knows the sequence gets to, do not suffer from
/// those at it.
#[derive(Debug)]
pub(super) struct Limiter {
    openings: Bucket,
    first_steps: Bucket,
    later_steps: Bucket,
    wrong_knocks: Bucket,
    dumps: Bucket,
    left_out: LeftOut,
}

/// A door of one step can be opened by forged packets. This is more than commands can be run.
const OPENINGS: u32 = 8192;
const OPENING_PERIOD: Duration = Duration::from_micros(500);

/// A flood of both, and the line that counts the rest, stay below ten lines a second over any
/// twenty: (40 + 50) / 20 + 2 + 2 + 1.
const FIRST_STEPS: u32 = 40;
const LATER_STEPS: u32 = 50;
const STEP_PERIOD: Duration = Duration::from_millis(500);

impl Limiter {
    pub(super) fn new() -> Self {
        Self {
            openings: Bucket::new(OPENINGS, OPENING_PERIOD),
            first_steps: Bucket::new(FIRST_STEPS, STEP_PERIOD),
            later_steps: Bucket::new(LATER_STEPS, STEP_PERIOD),
            wrong_knocks: Bucket::new(100, Duration::from_millis(100)),
            dumps: Bucket::new(1000, Duration::from_millis(5)),
            left_out: LeftOut::new(),
        }
    }

    /// Whether a report of `kind` may go out at `now`; if not, somebody counts it.
    pub(super) fn allows(&mut self, kind: &ReportKind, now: Timestamp) -> bool {
        let bucket = match kind {
            ReportKind::Opening => return self.openings.take(now),
            ReportKind::Layer(..)
            | ReportKind::Ready
            | ReportKind::LeftOut { .. }
            | ReportKind::Dropped { .. }
            | ReportKind::Counter(..)
            // Those have limits of their own (`super::codes`).
            | ReportKind::Code(_) => return true,
            ReportKind::Stage(1) | ReportKind::Timeout { stage: 1 } => &mut self.first_steps,
            ReportKind::Stage(_) | ReportKind::Timeout { .. } => &mut self.later_steps,
            // Most logs do not show them: they must not keep other lines out.
            ReportKind::Broken { .. } => &mut self.wrong_knocks,
            ReportKind::Dump { .. } => &mut self.dumps,
        };
        bucket.take(now)
    }

    /// Counts one report more that was left out, for whatever reason.
    pub(super) fn count(&mut self) {
        self.left_out.count();
    }

    /// How many were left out since the start.
    pub(super) const fn all_left_out(&self) -> u64 {
        self.left_out.all()
    }

    /// When [`Limiter::poll_left_out`] has something to say; `None` while nothing was left out.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.left_out.poll_timeout()
    }

    /// How many were left out since this was last said, if it is time to say so.
    pub(super) fn poll_left_out(&mut self, now: Timestamp) -> Option<u32> {
        self.left_out.poll(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE_1: ReportKind = ReportKind::Stage(1);

    fn allowed(limiter: &mut Limiter, kind: &ReportKind, count: u32, at: u64) -> usize {
        let now = Timestamp::from_millis(at);
        let mut allowed = 0;
        for _ in 0..count {
            if limiter.allows(kind, now) {
                allowed += 1;
            } else {
                limiter.count();
            }
        }
        allowed
    }

    #[test]
    fn a_burst_goes_out_and_then_two_a_second() {
        let mut limiter = Limiter::new();
        assert_eq!(allowed(&mut limiter, &STAGE_1, 1000, 5_000), 40);
        assert_eq!(allowed(&mut limiter, &STAGE_1, 1000, 6_000), 2);
        assert_eq!(allowed(&mut limiter, &STAGE_1, 1000, 6_400), 0);
        assert_eq!(allowed(&mut limiter, &STAGE_1, 1000, 6_500), 1);
        assert_eq!(allowed(&mut limiter, &STAGE_1, 1000, 3_600_000), 40);
    }

    #[test]
    fn a_flood_of_every_step_is_at_most_ten_lines_a_second_with_those_that_count_the_rest() {
        let mut limiter = Limiter::new();
        let mut lines = 0;
        for at in (0..20_000).step_by(10) {
            lines += allowed(&mut limiter, &STAGE_1, 10, at);
            lines += allowed(&mut limiter, &ReportKind::Stage(2), 10, at);
            let said = limiter.poll_left_out(Timestamp::from_millis(at));
            lines += usize::from(said.is_some());
        }
        assert!((180..=200).contains(&lines), "{lines}");
    }

    #[test]
    fn first_steps_take_nothing_from_later_ones_and_openings_have_a_bound_of_their_own() {
        let mut limiter = Limiter::new();
        allowed(&mut limiter, &STAGE_1, 1_000_000, 0);
        assert_eq!(allowed(&mut limiter, &ReportKind::Stage(2), 10, 0), 10);
        assert_eq!(allowed(&mut limiter, &ReportKind::Opening, 9999, 0), 8192);
        assert_eq!(allowed(&mut limiter, &ReportKind::Opening, 9999, 1), 2);
    }

    #[test]
    fn wrong_knocks_that_few_logs_show_keep_no_other_line_out() {
        let mut limiter = Limiter::new();
        let by = knock_core::sequence::Step::tcp(1);
        let wrong = ReportKind::Broken { stage: 1, by };
        assert_eq!(allowed(&mut limiter, &wrong, 1_000, 0), 100);
        assert_eq!(allowed(&mut limiter, &STAGE_1, 100, 0), 40);
    }

    #[test]
    fn what_was_left_out_is_said_once_a_second_and_in_full() {
        let mut limiter = Limiter::new();
        assert_eq!(limiter.poll_timeout(), None);
        allowed(&mut limiter, &STAGE_1, 90, 1_000);
        assert_eq!(
            limiter.poll_left_out(Timestamp::from_millis(1_000)),
            Some(50)
        );
        allowed(&mut limiter, &STAGE_1, 7, 1_001);
        assert_eq!(limiter.poll_left_out(Timestamp::from_millis(1_999)), None);
        assert_eq!(limiter.poll_timeout(), Some(Timestamp::from_millis(2_000)));
        assert_eq!(
            limiter.poll_left_out(Timestamp::from_millis(2_000)),
            Some(7)
        );
        assert_eq!(limiter.poll_timeout(), None);
        assert_eq!(limiter.all_left_out(), 57);
    }
}
