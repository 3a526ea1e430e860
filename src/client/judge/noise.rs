//! Noise: how far runs of a cell lie apart on a host where nothing has changed. It is what the verdicts rest on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Serialize;

use super::differences::{Conditions, Difference};
use crate::client::history::{Filter, History, HistoryError, Point, RunConditions, Series};
use crate::client::host::Environment;
use crate::client::report::{CellReport, HeadlineOf, Report};
use crate::client::stats::{ASSUMED_RUN_SD, RunSpread, Statistic, median};

/// The statistics that are compared.
pub(crate) const COMPARED: [Statistic; 6] =
    [Statistic::P50, Statistic::P90, Statistic::P99, Statistic::P99_9, Statistic::P99_99, Statistic::Mean];

/// The newest runs of a series that are considered.
const RUNS: u32 = 50;

/// A cell of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    /// The run's id, if it comes from the history.
    pub run: Option<i64>,
    pub report: &'a Report,
    pub cell: &'a CellReport,
    /// What it is compared by.
    pub of: HeadlineOf,
}

impl Measured<'_> {
    /// The values of a statistic, one for each trial.
    ///
    /// # Errors
    /// See [`over_trials`].
    pub(super) fn trials(&self, statistic: Statistic) -> Result<Vec<f64>, usize> {
        over_trials(self.cell, self.of, statistic)
    }

    /// The run's figure: the median over its trials, if all of them have it.
    pub(super) fn figure(&self, statistic: Statistic) -> Option<f64> {
        median(&self.trials(statistic).ok()?)
    }
}

/// The values of a statistic, one for each trial.
///
/// # Errors
/// The number of trials that lack it. Of trials of a fixed duration those are the slow ones, so the others do not
/// represent them.
pub(super) fn over_trials(
    cell: &CellReport,
    of: HeadlineOf,
    statistic: Statistic,
) -> Result<Vec<f64>, usize> {
    let values: Vec<f64> = cell.trials.iter().filter_map(|trial| trial.headline(of).get(statistic)).collect();
    match cell.trials.len() - values.len() {
        0 => Ok(values),
        lacking => Err(lacking),
    }
}

/// How far unchanged runs of a cell lie apart, by statistic.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Noise {
    spreads: [RunSpread; COMPARED.len()],
}

/// The smallest difference that a new run can show against all unchanged runs of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Resolution {
    /// As a fraction.
    pub smallest_difference: f64,
    /// Where the spread between runs comes from.
    pub source: NoiseSource,
}

/// Where a noise comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum NoiseSource {
    /// Unchanged runs.
    History {
        /// The independent differences between them: for each level, one less than its runs.
        steps: usize,
    },
    /// There are fewer than six unchanged runs.
    Assumed,
}

impl Noise {
    /// The noise of a cell: from both sides' runs, and from the other runs of B's host that were measured as A or B was.
    pub(super) fn of(
        sides: [&[Measured<'_>]; 2],
        known: Option<&mut Known<'_>>,
    ) -> Result<Self, HistoryError> {
        let mut noise = match known {
            Some(known) => Self::from_others(sides, known)?,
            None => Self::default(),
        };
        for (spread, statistic) in noise.spreads.iter_mut().zip(COMPARED) {
            for side in sides {
                let figures: Vec<f64> = side.iter().filter_map(|run| run.figure(statistic)).collect();
                spread.add(&figures);
            }
        }
        Ok(noise)
    }

    /// The noise of a series, from the runs that were measured as this one was. The run itself is left out: it must not affect
    /// what it is judged by.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn of_runs(
        series: &Series,
        (run, environment): (i64, i64),
        known: &mut Known<'_>,
    ) -> Result<Self, HistoryError> {
        known.read(run, environment)?;
        let points = known.points(series, &[run])?;
        let mut noise = Self::default();
        noise.add(&points, &known.conditions[&run], known);
        Ok(noise)
    }

    /// The noise of a cell on a host, from the runs that were measured as its newest one was.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn of_cell(history: &History, host: &str, cell: &str) -> Result<Self, HistoryError> {
        let filter = Filter { hosts: vec![host.to_owned()], ..Filter::default() };
        let mut noise = Self::default();
        let series = history.series(&filter)?.into_iter().find(|series| series.cell == cell);
        let Some(series) = series else { return Ok(noise) };
        let mut known = Known::new(history);
        let points = known.points(&series, &[])?;
        if let Some(newest) = points.last() {
            noise.add(&points, &known.conditions[&newest.run], &known);
        }
        Ok(noise)
    }

    fn from_others(sides: [&[Measured<'_>]; 2], known: &mut Known<'_>) -> Result<Self, HistoryError> {
        let mut noise = Self::default();
        let [Some(a), Some(b)] = sides.map(|side| side.first()) else { return Ok(noise) };
        let host = b.report.environment.hostname.clone().unwrap_or_default();
        let filter = Filter { methods: vec![b.cell.method.clone()], hosts: vec![host], ..Filter::default() };
        let series = known.history.series(&filter)?.into_iter().find(|series| series.cell == b.cell.cell);
        let Some(series) = series else { return Ok(noise) };
        let compared: Vec<i64> = sides.into_iter().flatten().filter_map(|run| run.run).collect();
        let points = known.points(&series, &compared)?;
        let (a, b) = (Conditions::of(a.report), Conditions::of(b.report));
        noise.add(&points, &b, known);
        // If both were measured alike, each run counts once.
        if !a.is_unchanged(&b) {
            noise.add(&points, &a, known);
        }
        Ok(noise)
    }

    /// Adds the runs under these conditions, in their order.
    fn add(&mut self, points: &[Point], conditions: &Conditions, known: &Known<'_>) {
        let alike: Vec<&Point> =
            points.iter().filter(|point| conditions.is_unchanged(&known.conditions[&point.run])).collect();
        for (spread, statistic) in self.spreads.iter_mut().zip(COMPARED) {
            let values: Vec<f64> = alike.iter().filter_map(|point| point.latency_ns.get(statistic)).collect();
            spread.add_history(&values);
        }
    }

    /// That of one of [`COMPARED`].
    pub(crate) fn spread(&self, statistic: Statistic) -> RunSpread {
        let at = COMPARED.iter().position(|compared| *compared == statistic);
        at.map_or_else(RunSpread::default, |at| self.spreads[at])
    }

    /// By how much two unchanged runs differ, as a fraction that 95 % do not exceed; `None` with fewer than six such runs.
    pub(crate) fn fraction(&self, statistic: Statistic) -> Option<f64> {
        let spread = self.spread(statistic);
        spread.sd().map(|_| spread.smallest_difference(1))
    }

    /// What a new run can show.
    pub(crate) fn resolution(&self, statistic: Statistic) -> Resolution {
        let spread = self.spread(statistic);
        let others = spread.sd().map_or(1, |_| spread.degrees() + 1);
        Resolution { smallest_difference: spread.smallest_difference(others), source: self.source(statistic) }
    }

    /// Where that of a statistic comes from.
    pub(crate) fn source(&self, statistic: Statistic) -> NoiseSource {
        let spread = self.spread(statistic);
        spread.sd().map_or(NoiseSource::Assumed, |_| NoiseSource::History { steps: spread.degrees() })
    }
}

impl NoiseSource {
    /// In half a line.
    pub(crate) fn text(self) -> String {
        match self {
            Self::History { steps } => format!("from {steps} differences between unchanged runs"),
            Self::Assumed => format!(
                "fewer than six unchanged runs: assumes that runs differ by {:.1} %",
                100.0 * ASSUMED_RUN_SD
            ),
        }
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

    /// The newest runs of a series, read, except these.
    fn points(&mut self, series: &Series, except: &[i64]) -> Result<Vec<Point>, HistoryError> {
        let mut points = self.history.points(series, &Filter::default(), RUNS)?;
        points.retain(|point| !except.contains(&point.run));
        for point in &points {
            self.read(point.run, point.environment)?;
        }
        Ok(points)
    }
}
