//! What was measured, and what it is held to.

use serde::Serialize;

/// A number for each time that something was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample that `share` (0 to 1) of all are not above.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let below = |n: usize| to_f64(n) / to_f64(sorted.len()) < share;
        let at = (1..sorted.len()).take_while(|n| below(*n)).count();
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn median(&self) -> Figure {
        self.figure(0.5)
    }

    /// One in a hundred is above it.
    pub(super) fn percentile_99(&self) -> Figure {
        self.figure(0.99)
    }

    fn figure(&self, share: f64) -> Figure {
        Figure {
            value: self.quantile(share),
            least: self.quantile(0.0),
            greatest: self.quantile(1.0),
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// A count as a number to calculate with.
pub(super) fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// What samples come to, and how far they are apart.
#[derive(Copy, Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) value: f64,
    least: f64,
    greatest: f64,
}

impl Figure {
    /// Measured once, or no matter of chance.
    pub(super) const fn single(value: f64) -> Self {
        Self {
            value,
            least: value,
            greatest: value,
        }
    }

    /// In another unit.
    pub(super) fn times(self, scale: f64) -> Self {
        Self {
            value: self.value * scale,
            least: self.least * scale,
            greatest: self.greatest * scale,
        }
    }

    fn text(&self, unit: &str) -> String {
        let Self {
            value,
            least,
            greatest,
        } = *self;
        let shown = format!("{}{unit}", number(value));
        if (least, greatest) == (value, value) {
            return shown;
        }
        format!("{shown} ({} to {})", number(least), number(greatest))
    }
}

/// With as many decimals as say something.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v == 0.0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// What one measurement gave.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    bench: &'static str,
    what: String,
    unit: &'static str,
    ours: Figure,
    theirs: Option<Figure>,
    /// How many times as much theirs is.
    ratio: Option<f64>,
    /// What ours is held against besides, for instance the least that is possible: a program that
    /// only counts packets.
    bare: Option<Figure>,
    /// What that is.
    bare_is: &'static str,
    /// How many times as much as that ours is.
    bare_ratio: Option<f64>,
    at_most: Option<f64>,
    at_least: Option<f64>,
    bare_ratio_at_most: Option<f64>,
    bare_ratio_at_least: Option<f64>,
    ratio_at_least: Option<f64>,
    holds: bool,
    note: String,
}

impl Line {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, ours: Figure) -> Self {
        Self {
            bench: "daemon",
            what: what.into(),
            unit,
            ours,
            theirs: None,
            ratio: None,
            bare: None,
            bare_is: "bare loop",
            bare_ratio: None,
            at_most: None,
            at_least: None,
            bare_ratio_at_most: None,
            bare_ratio_at_least: None,
            ratio_at_least: None,
            holds: true,
            note: String::new(),
        }
    }

    pub(super) fn theirs(mut self, theirs: Figure) -> Self {
        self.theirs = Some(theirs);
        self.ratio = (self.ours.value != 0.0).then(|| theirs.value / self.ours.value);
        self.judged()
    }

    /// The budget: ours is at most this.
    pub(super) fn at_most(mut self, most: f64) -> Self {
        self.at_most = Some(most);
        self.judged()
    }

    /// The budget: ours is at least this.
    pub(super) fn at_least(mut self, least: f64) -> Self {
        self.at_least = Some(least);
        self.judged()
    }

    pub(super) fn bare(self, bare: Figure) -> Self {
        self.beside("bare loop", bare)
    }

    /// Something else of ours that it is held against, as the bare loop elsewhere.
    pub(super) fn beside(mut self, name: &'static str, bare: Figure) -> Self {
        (self.bare, self.bare_is) = (Some(bare), name);
        self.bare_ratio = (bare.value != 0.0).then(|| self.ours.value / bare.value);
        self.judged()
    }

    /// The budget: ours is at most this many times as much as the bare loop's.
    pub(super) fn bare_ratio_at_most(mut self, most: f64) -> Self {
        self.bare_ratio_at_most = Some(most);
        self.judged()
    }

    /// The budget: ours is at least this many times as much as the bare loop's.
    pub(super) fn bare_ratio_at_least(mut self, least: f64) -> Self {
        self.bare_ratio_at_least = Some(least);
        self.judged()
    }

    /// The budget: theirs is at least this many times as much.
    pub(super) fn ratio_at_least(mut self, least: f64) -> Self {
        self.ratio_at_least = Some(least);
        self.judged()
    }

    /// What else to know about the figures.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// A figure that is no number holds nothing.
    fn judged(mut self) -> Self {
        let most = |value: f64, most: Option<f64>| most.is_none_or(|most| value <= most);
        let least = |value: f64, least: Option<f64>| least.is_none_or(|least| value >= least);
        let ratio = self.ratio.unwrap_or(f64::INFINITY);
        let bare_ratio = self.bare_ratio.unwrap_or(f64::NAN);
        self.holds = most(self.ours.value, self.at_most)
            && least(self.ours.value, self.at_least)
            && least(ratio, self.ratio_at_least)
            && most(bare_ratio, self.bare_ratio_at_most)
            && least(bare_ratio, self.bare_ratio_at_least);
        self
    }

    /// Whether the budget is held.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.holds
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}", self.what, self.ours.text(self.unit));
        if let Some(most) = self.at_most {
            text += &format!(", at most {}", number(most));
        }
        if let Some(least) = self.at_least {
            text += &format!(", at least {}", number(least));
        }
        if let Some(bare) = &self.bare {
            text += &format!("; {} {}", self.bare_is, bare.text(self.unit));
        }
        if let Some(ratio) = self.bare_ratio {
            text += &format!(": {}x", number(ratio));
        }
        if let Some(most) = self.bare_ratio_at_most {
            text += &format!(", at most {most}x");
        }
        if let Some(least) = self.bare_ratio_at_least {
            text += &format!(", at least {least}x");
        }
        if let Some(theirs) = &self.theirs {
            text += &format!("; theirs {}", theirs.text(self.unit));
        }
        if let Some(ratio) = self.ratio {
            text += &format!(": {}x", number(ratio));
        }
        if let Some(least) = self.ratio_at_least {
            text += &format!(", at least {least}x");
        }
        if !self.note.is_empty() {
            text += &format!("; {}", self.note);
        }
        let budgets = [
            self.at_most,
            self.at_least,
            self.ratio_at_least,
            self.bare_ratio_at_most,
            self.bare_ratio_at_least,
        ];
        if budgets.iter().all(Option::is_none) {
            return text;
        }
        let verdict = if self.holds { "held" } else { "NOT HELD" };
        format!("{text}: {verdict}")
    }

    /// For a program: one JSON object, without a line's end.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn json(&self) -> crate::Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!(samples.median().value, 100.0);
        assert_eq!(samples.percentile_99().value, 198.0);
        let Figure {
            least, greatest, ..
        } = samples.median();
        assert_eq!((least, greatest), (1.0, 200.0));
        let one: Samples = [7.0].into_iter().collect();
        assert_eq!(one.percentile_99().value, 7.0);
    }

    #[test]
    fn both_budgets_must_be_held() {
        let line = |ours, theirs| {
            Line::new("it", " ms", Figure::single(ours))
                .theirs(Figure::single(theirs))
                .at_most(1.5)
                .ratio_at_least(20.0)
        };
        assert!(line(1.5, 30.0).holds());
        assert!(!line(1.6, 100.0).holds(), "too much");
        assert!(!line(1.0, 19.0).holds(), "too little less than theirs");
        assert!(!line(f64::NAN, 100.0).holds(), "not measured");
        assert!(line(0.0, 0.0).holds(), "nothing at all");
        let text = line(1.0, 19.0).text();
        assert_eq!(
            text,
            "it: 1.00 ms, at most 1.50; theirs 19.0 ms: 19.0x, at least 20x: NOT HELD"
        );
    }

    #[test]
    fn the_bare_loop_bounds_from_both_sides() {
        let line = |ours| Line::new("it", " ns", Figure::single(ours)).bare(Figure::single(10.0));
        assert!(line(30.0).bare_ratio_at_most(3.0).holds());
        assert!(!line(31.0).bare_ratio_at_most(3.0).holds());
        assert!(line(9.0).bare_ratio_at_least(0.9).holds());
        assert!(!line(8.9).bare_ratio_at_least(0.9).holds());
        assert!(!line(8.9).at_least(9.0).holds());
        let text = line(31.0).bare_ratio_at_most(3.0).text();
        let expected = "it: 31.0 ns; bare loop 10.0 ns: 3.10x, at most 3x: NOT HELD";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_without_a_budget_has_no_verdict() {
        let line = Line::new("it", " ms", Figure::single(1.0));
        assert_eq!(line.text(), "it: 1.00 ms");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = Line::new("it", " ms", Figure::single(1.0)).at_most(2.0);
        let text = line.json().unwrap();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ours"]["value"], 1.0);
        assert_eq!(value["holds"], true);
    }
}
