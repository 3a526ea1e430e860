//! Axes: a scale, its ticks, and their labels.

use crate::units::{time_unit, utc};

/// The most ticks whose labels do not meet.
const MOST_TICKS: usize = 7;
/// An axis of latencies spans at least this ratio: within less, what differs is noise and must not look like structure.
const LEAST_RATIO: f64 = 1.5;

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// What it shows, with the unit if the ticks lack it.
    pub(crate) title: String,
    log: bool,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<(f64, String)>,
    /// Where 0 is drawn on a logarithmic axis.
    zero: f64,
}

impl Axis {
    /// Latencies in nanoseconds: logarithmic, each tick with its unit.
    pub(crate) fn latency((low, high): (f64, f64)) -> Self {
        let (low, high) = (low.max(1e-3), high.max(1e-3));
        let widen = (LEAST_RATIO / (high / low)).max(1.0).sqrt() * 1.1;
        let (low, high) = (low / widen, high * widen);
        let ticks = log_ticks(low, high).into_iter().map(|ns| (ns, duration(ns))).collect();
        Self { title: String::new(), log: true, low, high, ticks, zero: low }
    }

    /// Quantiles by how rare longer rounds are, up to one in `most`.
    pub(crate) fn quantile(most: f64) -> Self {
        let high = most.max(10.0) * 1.1;
        let decades = (0..16).map(|decade| 10_f64.powi(decade));
        let mut ticks: Vec<f64> = decades.take_while(|rarity| *rarity <= high).collect();
        ticks.insert(1, 2.0);
        // The axis begins there; over several decades, its label and the next one's would meet.
        if high > 300.0 {
            ticks.remove(0);
        }
        let ticks = ticks.into_iter().map(|rarity| (rarity, percentile(rarity))).collect();
        Self { title: "rounds that are not longer".to_owned(), log: true, low: 1.0, high, ticks, zero: 1.0 }
    }

    /// Ascending values on a logarithmic axis, 0 left of the others; a tick for each of them that fits.
    pub(crate) fn values(title: &str, values: &[f64], label: fn(f64) -> String) -> Self {
        let least = values.iter().copied().find(|value| *value > 0.0).unwrap_or(1.0);
        let zero = least / 4.0;
        let low = if values.first() == Some(&0.0) { zero } else { least };
        let high = values.last().copied().unwrap_or(1.0).max(least);
        let pad = (high / low).max(2.0).powf(0.04);
        let mut axis = Self {
            title: title.to_owned(),
            log: true,
            low: low / pad,
            high: high * pad,
            ticks: Vec::new(),
            zero,
        };
        // Labels of neighbours that are too near would meet.
        let room = 1.0 / MOST_TICKS as f64;
        let mut last = f64::NEG_INFINITY;
        for value in values {
            let at = axis.share(*value);
            if at - last >= room {
                axis.ticks.push((*value, label(*value)));
                last = at;
            }
        }
        axis
    }

    /// Times in seconds since 1970.
    pub(crate) fn time(from: u64, to: u64) -> Self {
        let pad = (to.saturating_sub(from) / 40).max(1);
        let (low, high) = (from.saturating_sub(pad), to + pad);
        let step = STEPS_S.into_iter().find(|step| (high - low) / step < 5).unwrap_or((high - low) / 4);
        let label = |time: u64| match (step < DAY_S, utc(time)) {
            (true, text) if step < 60 => text[11..19].to_owned(),
            (true, text) => text[11..16].to_owned(),
            (false, text) => text[5..10].to_owned(),
        };
        let ticks = (low.div_ceil(step)..=high / step).map(|n| (n * step) as f64);
        let (first, last) = (utc(from), utc(to));
        let (first, last) =
            if step < DAY_S { (&first[..10], &last[..10]) } else { (&first[..4], &last[..4]) };
        let when = if first == last { first.to_owned() } else { format!("{first} to {last}") };
        Self {
            title: format!("when the run began, UTC ({when})"),
            log: false,
            low: low as f64,
            high: high as f64,
            ticks: ticks.map(|time| (time, label(time as u64))).collect(),
            zero: 0.0,
        }
    }

    /// How far along the axis a value lies.
    pub(super) fn share(&self, value: f64) -> f64 {
        let place = |value: f64| if self.log { value.max(self.zero).ln() } else { value };
        (place(value) - place(self.low)) / (place(self.high) - place(self.low))
    }
}

const DAY_S: u64 = 86_400;
/// Steps between ticks of time: from seconds over minutes, hours, days and weeks to a year.
const STEPS_S: [u64; 21] = [
    1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 1209600,
    2592000, 7776000, 31536000,
];

/// Round numbers between the two, as many as fit; on a short stretch of a logarithmic axis at even steps.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let of = |mantissas: &[f64], every: i32| -> Vec<f64> {
        let decades = (first..=last).filter(|decade| decade.rem_euclid(every) == 0);
        decades
            .flat_map(|decade| mantissas.iter().map(move |mantissa| mantissa * 10_f64.powi(decade)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    };
    if high / low < 5.0 {
        // The smallest step that leaves few enough.
        let rough = (high - low) / MOST_TICKS as f64;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        return ((low / step).ceil() as i64..=(high / step).floor() as i64)
            .map(|n| n as f64 * step)
            .collect();
    }
    let fine = of(&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], 1);
    let candidates = [fine, of(&[1.0, 2.0, 5.0], 1), of(&[1.0, 3.0], 1), of(&[1.0], 1), of(&[1.0], 2)];
    candidates.into_iter().find(|ticks| ticks.len() <= MOST_TICKS).unwrap_or_else(|| of(&[1.0], 3))
}

/// A round number of nanoseconds in its unit: `200 ns`, `1.5 µs`.
pub(crate) fn duration(ns: f64) -> String {
    if ns == 0.0 {
        return "0".to_owned();
    }
    let (unit_ns, unit) = time_unit(ns);
    format!("{} {unit}", trimmed(format!("{:.3}", ns / unit_ns)))
}

/// The share of rounds that are not longer, if one in `rarity` is: `99.9 %`.
pub(crate) fn percentile(rarity: f64) -> String {
    let digits = rarity.log10().max(0.0).ceil() as usize;
    let percent = (1.0 - 1.0 / rarity) * 100.0;
    format!("{} %", trimmed(format!("{percent:.digits$}")))
}

/// Without zeros that end a fraction.
fn trimmed(number: String) -> String {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_of_latencies_are_round_and_few() {
        for (range, expected) in [
            ((60.0, 60_000.0), &["100 ns", "300 ns", "1 µs", "3 µs", "10 µs", "30 µs"][..]),
            ((5.0, 2e9), &["100 ns", "10 µs", "1 ms", "100 ms"]),
            ((10_000.0, 14_000.0), &["10 µs", "12 µs", "14 µs"]),
            ((3_000.0, 40_000.0), &["3 µs", "5 µs", "7 µs", "10 µs", "15 µs", "20 µs", "30 µs"]),
        ] {
            let axis = Axis::latency(range);
            assert_eq!(labels(&axis), expected, "{range:?}");
        }
        for exponent in 0..40 {
            for width in 1..40 {
                let low = 1.7_f64.powi(exponent);
                let axis = Axis::latency((low, low * 1.37_f64.powi(width)));
                let count = axis.ticks.len();
                assert!((2..=MOST_TICKS + 1).contains(&count), "{exponent} {width}: {:?}", labels(&axis));
            }
        }
    }

    #[test]
    fn small_differences_do_not_fill_an_axis() {
        let axis = Axis::latency((100.0, 100.1));
        assert!(axis.high / axis.low >= LEAST_RATIO, "{axis:?}");
    }

    #[test]
    fn quantiles_are_spread_by_how_rare_they_are() {
        let axis = Axis::quantile(30_000.0);
        assert_eq!(labels(&Axis::quantile(100.0)), ["0 %", "50 %", "90 %", "99 %"]);
        assert_eq!(labels(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        let steps = [1.0, 10.0, 100.0, 1000.0].map(|rarity| axis.share(rarity));
        assert!(((steps[2] - steps[1]) - (steps[1] - steps[0])).abs() < 1e-9, "{steps:?}");
        assert_eq!(percentile(1.6), "37.5 %");
        assert_eq!(percentile(6300.0), "99.9841 %");
    }

    #[test]
    fn zero_is_drawn_left_of_the_others() {
        let axis = Axis::values("", &[0.0, 10_000.0, 1_000_000.0], duration);
        assert_eq!(labels(&axis), ["0", "10 µs", "1 ms"]);
        let places = [0.0, 10_000.0, 1_000_000.0].map(|gap| axis.share(gap));
        assert!(places.is_sorted() && places[0] >= 0.0 && places[2] <= 1.0 && places[1] - places[0] > 0.1);
    }

    #[test]
    fn labels_that_would_meet_are_left_out() {
        let all: Vec<f64> = (1..=64).map(|n| f64::from(n) * 1024.0).collect();
        let axis = Axis::values("", &all, |bytes| crate::units::size(bytes as u64));
        assert!(axis.ticks.len() <= MOST_TICKS + 1, "{:?}", labels(&axis));
        assert_eq!(labels(&axis)[0], "1 KiB");
    }

    #[test]
    fn ticks_of_time_are_as_fine_as_the_runs_are_close() {
        let axis = Axis::time(1_772_323_200, 1_772_323_200 + 60 * DAY_S);
        assert_eq!(labels(&axis), ["03-12", "03-26", "04-09", "04-23"]);
        assert!(axis.title.ends_with("(2026)"), "{}", axis.title);
        let axis = Axis::time(1_772_323_200, 1_772_323_230);
        assert_eq!(labels(&axis), ["00:00:00", "00:00:10", "00:00:20", "00:00:30"]);
        assert!(axis.title.ends_with("(2026-03-01)"), "{}", axis.title);
        // A single run, and years of them.
        for (from, to) in [(5, 5), (0, 50 * 365 * DAY_S)] {
            assert!(Axis::time(from, to).ticks.len() <= 6);
        }
    }
}
