//! How hot a pair is: levels of equal ratios between the fastest and the slowest pair.

use super::{Matrix, Pair};
use crate::units::latency;

/// What a legend says of both sides on one CPU.
pub(in crate::client) const ONE_CPU: &str = "same CPU";

/// How many levels there are: as many as an eye keeps apart and a digit names.
pub(in crate::client) const LEVELS: usize = 9;

/// The range is at least this wide. Within less, what differs is noise, which must not look like structure.
const LEAST_RATIO: f64 = 2.0;

/// The colours of the levels, fastest first: ColorBrewer's `OrRd`, which eyes that do not see red tell apart by its
/// lightness.
pub(in crate::client) const COLOURS: [(u8, u8, u8); LEVELS] = [
    (0xff, 0xf7, 0xec),
    (0xfe, 0xe8, 0xc8),
    (0xfd, 0xd4, 0x9e),
    (0xfd, 0xbb, 0x84),
    (0xfc, 0x8d, 0x59),
    (0xef, 0x65, 0x48),
    (0xd7, 0x30, 0x1f),
    (0xb3, 0x00, 0x00),
    (0x7f, 0x00, 0x00),
];

/// From this level's colour on, white can be read on it better than black.
pub(super) const DARK: usize = 6;

/// The levels of one matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::client) struct Levels {
    /// The fastest pair's latency.
    pub(super) low: f64,
    /// The slowest pair's latency, or somewhat more.
    pub(super) high: f64,
}

impl Levels {
    /// The levels of the pairs of two CPUs: taking turns on one CPU is another matter, which may be a thousand times slower
    /// or faster than all of them, and has no level. `None` if there is no figure.
    pub(super) fn of(matrix: &Matrix) -> Option<Self> {
        Self::between(matrix.pairs.iter().filter(|pair| !pair.is_of_one_cpu()).filter_map(Pair::p50_ns))
    }

    /// The levels of these latencies. `None` if there is none.
    pub(in crate::client) fn between(ns: impl Iterator<Item = f64>) -> Option<Self> {
        let range = |(low, high): (f64, f64), ns: f64| (low.min(ns), high.max(ns));
        let (low, high) = ns.filter(|ns| *ns > 0.0).fold((f64::INFINITY, 0.0), range);
        (high > 0.0).then(|| Self::from_to(low, high))
    }

    fn from_to(low: f64, high: f64) -> Self {
        Self { low, high: high.max(low * LEAST_RATIO) }
    }

    /// The level of a latency, from 0; what lies beyond the range is in the first or the last.
    pub(in crate::client) fn level(&self, ns: f64) -> usize {
        let share = (ns / self.low).ln() / (self.high / self.low).ln();
        let level = (share * LEVELS as f64).floor();
        // Not a number, or below: the first.
        (0..LEVELS - 1).rev().find(|below| level > *below as f64).map_or(0, |below| below + 1)
    }

    /// What a legend says of each level: where it begins.
    pub(in crate::client) fn names(self) -> impl Iterator<Item = String> {
        (0..LEVELS).map(move |level| format!("≥ {}", latency(self.bound(level))))
    }

    /// Where the level begins.
    pub(super) fn bound(&self, level: usize) -> f64 {
        self.low * (self.high / self.low).powf(level as f64 / LEVELS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{matrix, two_cpus, two_sockets};
    use super::*;
    use crate::client::host::placement::Placement;

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
    fn one_cpu_taking_turns_does_not_stretch_the_range() {
        assert_eq!(Levels::of(&two_sockets()), Some(Levels { low: 105.0, high: 420.0 }));
    }

    #[test]
    fn noise_does_not_look_like_structure() {
        let levels = Levels::of(&two_cpus()).unwrap();
        assert_eq!(levels, Levels { low: 214.0, high: 428.0 });
        assert_eq!(levels.level(218.0), levels.level(214.0));
    }

    #[test]
    fn a_single_cpu_and_no_figures_at_all_have_no_levels() {
        assert_eq!(Levels::of(&matrix(&[3], |_, _| (Placement::SameCore, 50.0))), None);
        let mut two = two_cpus();
        two.pairs.iter_mut().for_each(|pair| pair.trials.clear());
        assert_eq!(Levels::of(&two), None);
    }
}
