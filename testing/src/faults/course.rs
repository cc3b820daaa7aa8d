//! What an eye should have seen: when a port was to be open, and how far that may be off.

use std::time::{Duration, Instant};

use super::eye::Glance;

/// The claim: no door is open longer than its time and this.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// How long a packet may be on its way to the place where it is judged: this machine does much else.
const WAY: Duration = Duration::from_millis(100);

/// When a port is to be open; at any other time it is to be closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    open: Vec<(Instant, Instant)>,
    either: Vec<(Instant, Instant)>,
    /// From when on it is open for good.
    for_good: Option<Instant>,
}

impl Course {
    /// Never.
    pub(super) fn closed() -> Self {
        Self::default()
    }

    /// Knocked for then, seen open then, and to be open for `time`.
    pub(super) fn open(mut self, knocked: Instant, seen: Instant, time: Duration) -> Self {
        self.either.push((knocked, seen));
        self.open.push((seen, knocked + time - WAY));
        self.either.push((knocked + time - WAY, seen + time + LATE));
        self
    }

    /// Open from `seen` until it was closed on demand, between `from` and `to`.
    pub(super) fn open_until(
        mut self,
        (knocked, seen): (Instant, Instant),
        (from, to): (Instant, Instant),
    ) -> Self {
        self.either.push((knocked, seen));
        self.open.push((seen, from - WAY));
        self.either.push((from - WAY, to));
        self
    }

    /// Open or closed from `from` to `to`.
    pub(super) fn either(mut self, from: Instant, to: Instant) -> Self {
        self.either.push((from - WAY, to));
        self
    }

    /// Open from then on, for good.
    pub(super) fn open_for_good(mut self, from: Instant) -> Self {
        self.for_good = Some(from);
        self
    }

    /// When nothing more changes; what is for good is looked at for a second.
    pub(super) fn end(&self) -> Option<Instant> {
        let all = self.open.iter().chain(&self.either);
        let for_good = self.for_good.map(|from| from + LATE);
        all.map(|(_, to)| *to).chain(for_good).max()
    }

    /// What is wrong with what was seen, in milliseconds since `start`.
    pub(super) fn judge(&self, glances: &[Glance], start: Instant) -> Option<String> {
        let wrong = |glance: &&Glance| {
            let within = |spans: &[(Instant, Instant)]| {
                let mut spans = spans.iter();
                spans.any(|(from, to)| (*from..=*to).contains(&glance.at))
            };
            let for_good = self.for_good.is_some_and(|from| from <= glance.at);
            !within(&self.either) && (for_good || within(&self.open)) != glance.open
        };
        let wrong: Vec<_> = glances.iter().filter(wrong).collect();
        let (first, last) = (wrong.first()?, wrong.last()?);
        let since = |at: Instant| at.saturating_duration_since(start).as_millis();
        let spans = |spans: &[(Instant, Instant)]| {
            let spans = spans.iter().map(|(a, b)| (since(*a), since(*b)));
            format!("{:?}", spans.collect::<Vec<_>>())
        };
        // Where it is long, the machine had no time for us, nor perhaps for the daemon.
        let pairs = glances.iter().zip(glances.iter().skip(1));
        let pauses = pairs.map(|(a, b)| b.at.saturating_duration_since(a.at).as_millis());
        Some(format!(
            "{} of {} glances are wrong: {} at {} ms … {} at {} ms; open is {}, either is {}; the \
             longest pause between glances was {} ms",
            wrong.len(),
            glances.len(),
            if first.open { "open" } else { "closed" },
            since(first.at),
            if last.open { "open" } else { "closed" },
            since(last.at),
            spans(&self.open),
            spans(&self.either),
            pauses.max().unwrap_or_default(),
        ))
    }
}
