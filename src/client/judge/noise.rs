//! Noise: how far equal things differ on a host, which a difference has to exceed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Serialize;

use super::differences::{Conditions, Difference};
use crate::client::history::{Filter, History, HistoryError, Point, RunConditions, Series};
use crate::client::host::Environment;
use crate::client::report::{CellReport, Report, TrialReport};
use crate::client::stats::{Statistic, compare_pairs, median};

/// The statistics that are compared.
pub(crate) const COMPARED: [Statistic; 6] =
    [Statistic::P50, Statistic::P90, Statistic::P99, Statistic::P99_9, Statistic::P99_99, Statistic::Mean];

/// The newest runs of a series that are considered.
const RUNS: u32 = 50;

/// The fewest steps between unchanged runs that give the noise; with fewer, the trials do.
const STEPS: usize = 6;

/// From the median step between two equal runs to the one that 95 % do not exceed, if runs are distributed normally: the
/// ratio of those two quantiles of the absolute value of a normal variable, 1.960 / 0.674.
const MEDIAN_TO_95: f64 = 2.906;

/// The width of a bucket of a histogram with three digits.
const BUCKET: f64 = 0.001;

/// Where the noise comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum NoiseSource {
    /// The differences between successive runs of the history between which nothing changed.
    History {
        /// The number of such steps.
        steps: usize,
    },
    /// The differences between successive trials of the two runs, as in the self-test of `doctor`.
    Trials {
        /// The number of pairs.
        pairs: usize,
    },
    /// The smallest step of the clock and the histogram: there are too few trials.
    Resolution,
}

/// The smallest change that counts, by statistic, as a fraction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Noise {
    /// Where it comes from.
    pub source: NoiseSource,
    #[serde(skip)]
    fractions: [f64; COMPARED.len()],
}

impl Noise {
    /// The noise of a cell of two runs; B's id, if it is recorded.
    pub(super) fn of(
        (a, one): (&Report, &CellReport),
        (b, other): (&Report, &CellReport),
        b_run: Option<i64>,
        known: Option<&mut Known<'_>>,
    ) -> Result<Self, HistoryError> {
        let recorded = match known {
            Some(known) => Self::from_history(a, (b, other), b_run, known)?,
            None => None,
        };
        let mut noise = recorded.unwrap_or_else(|| Self::from_trials(one, other));
        let step_ns = a.clock.resolution_ns.max(b.clock.resolution_ns);
        for (fraction, statistic) in noise.fractions.iter_mut().zip(COMPARED) {
            let smallest = [one, other].into_iter().filter_map(|cell| cell.headline_ns.get(statistic));
            *fraction = smallest.map(|ns| step_ns / ns).fold(BUCKET, f64::max).max(*fraction);
        }
        Ok(noise)
    }

    /// From the other runs of a series that were measured as this one was; `None` if there are too few.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn of_runs(
        series: &Series,
        (run, environment): (i64, i64),
        known: &mut Known<'_>,
    ) -> Result<Option<Self>, HistoryError> {
        known.read(run, environment)?;
        let points = known.points(series, Some(run))?;
        Ok(Self::of_points(&points, &[&known.conditions[&run]], known))
    }

    /// For one of [`COMPARED`].
    pub(crate) fn fraction(&self, statistic: Statistic) -> f64 {
        let at = COMPARED.iter().position(|compared| *compared == statistic);
        at.map_or(f64::INFINITY, |at| self.fractions[at])
    }

    /// From runs of B's host that were measured as A or B was.
    fn from_history(
        a: &Report,
        (b, cell): (&Report, &CellReport),
        b_run: Option<i64>,
        known: &mut Known<'_>,
    ) -> Result<Option<Self>, HistoryError> {
        let host = b.environment.hostname.clone().unwrap_or_default();
        let filter = Filter { methods: vec![cell.method.clone()], hosts: vec![host], ..Filter::default() };
        let series = known.history.series(&filter)?.into_iter().find(|series| series.cell == cell.cell);
        let Some(series) = series else { return Ok(None) };
        let points = known.points(&series, b_run)?;
        let (a, b) = (Conditions::of(a), Conditions::of(b));
        // If both were measured alike, a step between two runs must count once.
        let different = if a.is_unchanged(&b) { &[&b][..] } else { &[&b, &a] };
        Ok(Self::of_points(&points, different, known))
    }

    /// From the steps between successive runs under the same conditions, for each of these.
    fn of_points(points: &[Point], conditions: &[&Conditions], known: &Known<'_>) -> Option<Self> {
        let mut steps: Vec<(&Point, &Point)> = Vec::new();
        for wanted in conditions {
            let alike: Vec<&Point> =
                points.iter().filter(|point| wanted.is_unchanged(&known.conditions[&point.run])).collect();
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
        // A quantile with too few steps gets the median's noise as a lower bound: a tail is noisier.
        let least = fraction(Statistic::P50)?;
        Some(Self {
            source: NoiseSource::History { steps: steps.len() },
            fractions: COMPARED.map(|statistic| fraction(statistic).unwrap_or(least)),
        })
    }

    /// From pairs of successive trials of either run, each trial compared with its neighbour.
    fn from_trials(one: &CellReport, other: &CellReport) -> Self {
        let mut most = 0;
        let fractions = COMPARED.map(|statistic| {
            let pairs: Vec<(f64, f64)> = [one, other]
                .into_iter()
                .flat_map(|cell| cell.trials.chunks_exact(2).map(|pair| (pair, cell.headline_of)))
                .filter_map(|(pair, of)| {
                    let figure = |trial: &TrialReport| trial.headline(of).get(statistic);
                    Some((figure(&pair[0])?, figure(&pair[1])?))
                })
                .collect();
            most = most.max(pairs.len());
            compare_pairs(&pairs).map_or(0.0, |comparison| comparison.smallest_detectable())
        });
        let source = if most >= 2 { NoiseSource::Trials { pairs: most } } else { NoiseSource::Resolution };
        Self { source, fractions }
    }
}

/// What the runs of a history were measured under, each read once.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    history: &'a History,
    environments: BTreeMap<i64, Environment>,
    conditions: BTreeMap<i64, Conditions>,
}

impl<'a> Known<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(history: &'a History) -> Self {
        Self { history, environments: BTreeMap::new(), conditions: BTreeMap::new() }
    }

    /// What changed from one run to another.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn changed(&mut self, from: &Point, to: &Point) -> Result<Vec<Difference>, HistoryError> {
        self.read(from.run, from.environment)?;
        self.read(to.run, to.environment)?;
        Ok(self.conditions[&from.run].differences(&self.conditions[&to.run]))
    }

    /// Reads what this run was measured under, unless that is done.
    fn read(&mut self, run: i64, environment: i64) -> Result<(), HistoryError> {
        if self.conditions.contains_key(&run) {
            return Ok(());
        }
        let environment = match self.environments.entry(environment) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.history.environment(environment)?),
        };
        let RunConditions { settings, clock } = self.history.run_conditions(run)?;
        self.conditions.insert(run, Conditions::new(environment, &settings, &clock.source));
        Ok(())
    }

    /// The newest runs of a series, read. The run to be judged is left out: it must not affect the noise.
    fn points(&mut self, series: &Series, judged: Option<i64>) -> Result<Vec<Point>, HistoryError> {
        let mut points = self.history.points(series, &Filter::default(), RUNS)?;
        points.retain(|point| Some(point.run) != judged);
        for point in &points {
            self.read(point.run, point.environment)?;
        }
        Ok(points)
    }
}
