//! Heat maps: a grid of medians in colours of equal ratios, between the fastest and the slowest.

use super::axis::Axis;
use super::{Chart, Field, LETTER, theme};
use crate::units::latency;

/// How many levels there are: as many as an eye distinguishes and a digit names.
pub(crate) const LEVELS: usize = theme::HEAT.len();

/// The legend's name for fields of both sides on one CPU.
pub(crate) const ONE_CPU: &str = "same CPU";

/// The range is at least this wide. Differences within less are noise, which must not look like structure.
const LEAST_RATIO: f64 = 2.0;

/// A field with its figure written on it takes this many points of the drawing's width at least.
const WORDS: i32 = 60;
/// Limits of a field's width and height, in points.
const NARROWEST: i32 = 6;
const WIDEST: i32 = 96;
/// The height of all rows together is at least this, to leave room for the title beside them.
const LOWEST: i32 = 104;

/// The levels between the fastest and the slowest of some latencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Levels {
    /// The fastest latency.
    pub(crate) low: f64,
    /// The slowest latency, or somewhat more.
    pub(crate) high: f64,
}

impl Levels {
    /// The levels of these latencies. `None` if there is none.
    pub(crate) fn between(ns: impl Iterator<Item = f64>) -> Option<Self> {
        let range = |(low, high): (f64, f64), ns: f64| (low.min(ns), high.max(ns));
        let (low, high) = ns.filter(|ns| *ns > 0.0).fold((f64::INFINITY, 0.0), range);
        (high > 0.0).then(|| Self { low, high: high.max(low * LEAST_RATIO) })
    }

    /// The level of a latency, from 0; latencies outside the range are in the first or the last.
    pub(crate) fn level(&self, ns: f64) -> usize {
        let share = (ns / self.low).ln() / (self.high / self.low).ln();
        // A negative number or NaN becomes 0.
        ((share * LEVELS as f64) as usize).min(LEVELS - 1)
    }

    /// Where the level begins.
    pub(crate) fn bound(&self, level: usize) -> f64 {
        self.low * (self.high / self.low).powf(level as f64 / LEVELS as f64)
    }
}

/// A heat map before it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    pub(crate) title: String,
    /// Titles of the rows and of the columns.
    pub(crate) heads: (&'static str, &'static str),
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// Medians in nanoseconds, row by row.
    pub(crate) values: Vec<Option<f64>>,
    pub(crate) levels: Option<Levels>,
    /// Whether rows and columns are CPUs, so that a row's own column is one CPU for both sides, which has no level.
    pub(crate) of_cpus: bool,
    /// What a pointer shows for each; may be empty.
    pub(crate) tips: Vec<String>,
}

impl Heat {
    /// The chart, about `total` points wide.
    pub(crate) fn chart(&self, total: i32) -> Chart {
        let (columns, rows) = (self.columns.len() as i32, self.rows.len() as i32);
        let words = columns <= total / WORDS;
        let beside = Axis::names(self.heads.0, &self.rows, 1, true).width_beside() + 34;
        let narrowest = if words { WORDS - 10 } else { NARROWEST };
        let width = ((total - beside) / columns.max(1)).clamp(narrowest, WIDEST);
        let height = if words { 26.max(LOWEST / rows.max(1)) } else { width };
        let longest = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32;
        let x = Axis::names(self.heads.1, &self.columns, (longest * LETTER + 4) / width + 1, false);
        let y = Axis::names(self.heads.0, &self.rows, 20 / height + 1, true);
        let label = format!("{}: {} by {}", self.title, self.rows.len(), self.columns.len());
        let mut chart = Chart::new(label, x, y);
        chart.size = ((beside + width * columns).max(300), 70 + height * rows);
        chart.levels = self.legend();
        let field = |(at, value): (usize, &Option<f64>)| {
            let (row, column) = (at / self.columns.len(), at % self.columns.len());
            let one_cpu = self.of_cpus && row == column;
            let level = value.zip(self.levels.filter(|_| !one_cpu)).map(|(ns, levels)| levels.level(ns));
            let otherwise = theme::colour(if one_cpu && value.is_some() { "one-cpu" } else { "none" });
            let ink = level.map_or(theme::colour("ink"), theme::heat_ink);
            Field {
                column,
                row,
                colour: level.map_or(otherwise, theme::heat),
                text: words.then(|| (value.map_or("–".to_owned(), latency), ink)),
                tip: self.tips.get(at).cloned(),
            }
        };
        chart.fields = self.values.iter().enumerate().map(field).collect();
        chart
    }

    /// Where each level begins, and the colour of what has none.
    fn legend(&self) -> Vec<(String, theme::Rgb)> {
        let level = |level| Some((format!("≥ {}", latency(self.levels?.bound(level))), theme::heat(level)));
        let one_cpu = self.of_cpus.then(|| (ONE_CPU.to_owned(), theme::colour("one-cpu")));
        (0..LEVELS).filter_map(level).chain(one_cpu).collect()
    }
}

impl Chart {
    /// Its levels as a heat map of one row, for a drawing that has its legend in it.
    pub(super) fn legend_chart(&self) -> Self {
        let names: Vec<String> = self.levels.iter().map(|(name, _)| name.clone()).collect();
        let mut chart = Self::new(
            String::new(),
            Axis::names("", &names, 1, false),
            Axis::names("", &[String::new()], 1, true),
        );
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32 * LETTER + 12;
        chart.size = (names.len() as i32 * width + 70, 84);
        let field = |(column, (_, colour)): (usize, &(String, theme::Rgb))| Field {
            column,
            row: 0,
            colour: *colour,
            text: None,
            tip: None,
        };
        chart.fields = self.levels.iter().enumerate().map(field).collect();
        chart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_equal_ratios_and_hold_what_lies_beyond() {
        let levels = Levels { low: 100.0, high: 51_200.0 }; // Nine doublings.
        for (ns, level) in [(1.0, 0), (100.0, 0), (199.0, 0), (201.0, 1), (401.0, 2), (51_100.0, 8), (1e9, 8)]
        {
            assert_eq!(levels.level(ns), level, "{ns}");
        }
        assert!((levels.bound(1) - 200.0).abs() < 1e-9);
        assert_eq!(levels.level(f64::NAN), 0);
    }

    #[test]
    fn noise_does_not_look_like_structure() {
        let levels = Levels::between([214.0, 228.0].into_iter()).unwrap();
        assert_eq!(levels, Levels { low: 214.0, high: 428.0 });
        assert_eq!(levels.level(218.0), levels.level(214.0));
        assert_eq!(Levels::between([0.0].into_iter()), None);
    }
}
