//! How far equal things lie apart on a host: what a difference has to exceed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{COMPARED, Conditions, Known, Side};
use crate::client::history::{Filter, HistoryError, Point, Series};
use crate::client::host::Difference;
use crate::client::report::CellReport;
use crate::client::stats::{Statistic, compare_pairs, median};

/// So many of a series' newest runs are looked at.
const RUNS: u32 = 50;

/// So many steps between unchanged runs tell the noise; with fewer, the trials do.
const STEPS: usize = 6;

/// From the median step between two equal runs to the one that 95 % do not exceed, where runs are spread normally: the
/// ratio of those two quantiles of the absolute value of a normal variable, 1.960 / 0.674.
const MEDIAN_TO_95: f64 = 2.906;

/// A bucket of a histogram with three digits.
const BUCKET: f64 = 0.001;

/// What tells the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum NoiseSource {
    /// How far successive runs of the history lie apart between which nothing has changed.
    History {
        /// How many such steps there were.
        steps: usize,
    },
    /// How far successive trials of these two runs lie apart, as in the self-test of `doctor`.
    Trials {
        /// How many pairs there were.
        pairs: usize,
    },
    /// The smallest step of the clock and the histogram: there are too few trials to tell more.
    Resolution,
}

/// The smallest change that counts, by statistic, as a fraction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Noise {
    /// What tells it.
    pub source: NoiseSource,
    #[serde(skip)]
    fractions: [f64; COMPARED.len()],
}

impl Noise {
    /// The noise of this cell.
    pub(super) fn of(
        (a, one): (&Side, &CellReport),
        (b, other): (&Side, &CellReport),
        known: Option<&mut Known<'_>>,
    ) -> Result<Self, HistoryError> {
        let told = match known {
            Some(known) => from_history(a, (b, other), known)?,
            None => None,
        };
        let mut noise = told.unwrap_or_else(|| from_trials(one, other));
        let step_ns = a.report.clock.resolution_ns.max(b.report.clock.resolution_ns);
        for (fraction, statistic) in noise.fractions.iter_mut().zip(COMPARED) {
            let smallest = [one, other].into_iter().filter_map(|cell| cell.latency_ns.get(statistic));
            let resolution = smallest.map(|ns| step_ns / ns).fold(BUCKET, f64::max);
            *fraction = fraction.max(resolution);
        }
        Ok(noise)
    }

    /// What the other runs of a series tell about this one in this environment, of those that ran as it did; `None` if
    /// there are too few.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn of_runs(
        series: &Series,
        (run, environment): (i64, i64),
        known: &mut Known<'_>,
    ) -> Result<Option<Self>, HistoryError> {
        known.read(run, environment)?;
        let points = points(series, Some(run), known)?;
        Ok(of_points(&points, &[known.conditions(run, environment)], known))
    }

    /// For one of [`COMPARED`].
    #[must_use]
    pub(crate) fn fraction(&self, statistic: Statistic) -> f64 {
        let at = COMPARED.iter().position(|compared| *compared == statistic);
        at.map_or(f64::INFINITY, |at| self.fractions[at])
    }
}

/// From runs of B's host that ran as A did, or as B did.
fn from_history(
    a: &Side,
    (b, cell): (&Side, &CellReport),
    known: &mut Known<'_>,
) -> Result<Option<Noise>, HistoryError> {
    let host = b.report.environment.hostname.clone().unwrap_or_default();
    let filter = Filter { methods: vec![cell.method.clone()], hosts: vec![host], ..Filter::default() };
    let series = known.history.series(&filter)?.into_iter().find(|series| series.cell == cell.cell);
    let Some(series) = series else { return Ok(None) };
    let points = points(&series, b.run, known)?;
    let (a, b) = (Conditions::of(&a.report), Conditions::of(&b.report));
    // Where both ran alike, a step between two runs is one step.
    let both = [b, a];
    let different = if unchanged(&a.differences(&b)) { &both[..1] } else { &both[..] };
    Ok(of_points(&points, different, known))
}

/// The newest runs of a series, read. The run that is to be judged tells nothing about how to judge it.
fn points(series: &Series, judged: Option<i64>, known: &mut Known<'_>) -> Result<Vec<Point>, HistoryError> {
    let mut points = known.history.points(series, &Filter::default(), RUNS)?;
    points.retain(|point| Some(point.run) != judged);
    for point in &points {
        known.read(point.run, point.environment)?;
    }
    Ok(points)
}

/// From the steps between successive runs under the same conditions, for each of these.
fn of_points(points: &[Point], conditions: &[Conditions<'_>], known: &Known<'_>) -> Option<Noise> {
    let mut steps: Vec<(&Point, &Point)> = Vec::new();
    for wanted in conditions {
        // To compare environments takes long, and most runs share one.
        let mut environments: BTreeMap<i64, bool> = BTreeMap::new();
        let mut alike = |point: &&Point| {
            let ran = known.conditions(point.run, point.environment);
            unchanged(&wanted.asked_differences(&ran))
                && *environments
                    .entry(point.environment)
                    .or_insert_with(|| unchanged(&wanted.differences(&ran)))
        };
        let alike: Vec<&Point> = points.iter().filter(|point| alike(point)).collect();
        steps.extend(alike.windows(2).map(|pair| (pair[0], pair[1])));
    }
    let fraction = |statistic: Statistic| {
        let sizes: Vec<f64> = steps
            .iter()
            .filter_map(|(one, next)| {
                let ratio = next.latency_ns.get(statistic)? / one.latency_ns.get(statistic)?;
                Some(ratio.ln().abs()).filter(|step| step.is_finite())
            })
            .collect();
        (sizes.len() >= STEPS).then(|| MEDIAN_TO_95 * median(&sizes).unwrap_or(0.0))
    };
    // Where a quantile has too few steps, nothing is known of it but the median's noise, and a tail is noisier.
    let least = fraction(Statistic::P50)?;
    Some(Noise {
        source: NoiseSource::History { steps: steps.len() },
        fractions: COMPARED.map(|statistic| fraction(statistic).unwrap_or(least)),
    })
}

/// A reboot alone is no change: what it does to a latency is part of the noise. Nor is the number of trials, which moves
/// no median.
fn unchanged(differences: &[Difference]) -> bool {
    differences.iter().all(|difference| ["boot_id", "settings.trials"].contains(&difference.key.as_str()))
}

/// From the trials: pairs of successive ones of either run, each compared with its neighbour.
fn from_trials(one: &CellReport, other: &CellReport) -> Noise {
    let mut most = 0;
    let fractions = COMPARED.map(|statistic| {
        let pairs: Vec<(f64, f64)> = [one, other]
            .into_iter()
            .flat_map(|cell| cell.trials.chunks_exact(2))
            .filter_map(|pair| Some((pair[0].latency_ns.get(statistic)?, pair[1].latency_ns.get(statistic)?)))
            .collect();
        most = most.max(pairs.len());
        compare_pairs(&pairs).map_or(0.0, |comparison| comparison.smallest_detectable())
    });
    let source = if most >= 2 { NoiseSource::Trials { pairs: most } } else { NoiseSource::Resolution };
    Noise { source, fractions }
}
