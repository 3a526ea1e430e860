//! `check`: a comparison with limits, against a baseline and against bounds.
//!
//! A check has three answers for each limit, since a limit inside a confidence interval is neither kept nor exceeded.
//! `docs/history.md` has the rules.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::compare::{
    CellComparison, Change, Comparison, Reason, Side, SideSummary, Verdict, change_text, over_trials,
    unsigned,
};
use super::differences::{Difference, in_one_line};
use crate::client::history::{History, HistoryError};
use crate::client::report::{CellReport, TrialReport};
use crate::client::stats::{Interval, Statistic, median, median_interval};
use crate::exit::Exit;
use crate::units::latency;

/// What a run must satisfy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    /// The statistic that is compared with the baseline's.
    pub statistic: Statistic,
    /// How much slower than the baseline it may be, as a fraction; by default, anything that is not a real difference.
    pub max_regression: Option<f64>,
    /// Statistics and their upper limits, in nanoseconds.
    pub bounds: Vec<(Statistic, f64)>,
}

/// The kind of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Against {
    /// The same cell of the baseline.
    Baseline,
    /// A latency.
    Bound,
}

/// The result for one cell and one limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    cell: String,
    against: Against,
    statistic: Statistic,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_fraction: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_ns: Option<f64>,
    #[serde(rename = "state", serialize_with = "state")]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The baseline's figure: the median over its trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    a_ns: Option<f64>,
    /// The run's figure: the median over its trials, or, if one of them lacks it, that of all their rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    b_ns: Option<f64>,
    /// The 95 % confidence interval of the run's figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence_95_ns: Option<Interval>,
    /// From the baseline to the run: above 0 is slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_fraction: Option<f64>,
    /// The 95 % confidence interval of the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence_95: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise_fraction: Option<f64>,
}

fn state<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.checked().0)
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    /// The version of this layout, which is in `docs/json.md`.
    schema: u32,
    /// The greatest of its findings; `nothing` if there are none.
    #[serde(rename = "state", serialize_with = "state")]
    verdict: Verdict,
    /// The run that was checked.
    run: SideSummary,
    /// The baseline, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<SideSummary>,
    /// The findings.
    findings: Vec<Finding>,
    /// What else differs from the baseline.
    differences: Vec<Difference>,
}

impl Check {
    /// Checks a run.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn new(
        run: &Side,
        baseline: Option<&Side>,
        limits: &Limits,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        let names = ["the baseline", "the run"];
        let comparison = baseline
            .map(|baseline| Comparison::named(names, baseline, run, limits.statistic, history))
            .transpose()?;
        let compared = comparison.iter().flat_map(|comparison| {
            comparison.cells.iter().map(|cell| against_baseline(cell, comparison, limits.max_regression))
        });
        let bounds = limits.bounds.iter().flat_map(|(statistic, most_ns)| {
            run.report.results.iter().map(|cell| against_bound(cell, *statistic, *most_ns))
        });
        let findings: Vec<Finding> = compared.chain(bounds).collect();
        let verdict = findings.iter().map(|finding| finding.verdict).max();
        let (baseline, differences) =
            comparison.map(|comparison| (comparison.a, comparison.differences)).unzip();
        Ok(Self {
            schema: 1,
            verdict: verdict.unwrap_or(Verdict::NotComparable),
            run: SideSummary::of(run),
            baseline,
            findings,
            differences: differences.unwrap_or_default(),
        })
    }

    /// The exit code of its verdict.
    pub(crate) fn exit(&self) -> Exit {
        self.verdict.checked().2
    }

    /// Writes text: what is checked, a line for each finding, and the answer last.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.baseline {
            Some(baseline) => writeln!(out, "{} against {baseline}", self.run)?,
            None => writeln!(out, "{}", self.run)?,
        }
        for finding in &self.findings {
            let (state, cell) = (finding.verdict.checked().1, &finding.cell);
            writeln!(out, "{state}: {cell}: required: {}: {}", finding.limit(), finding.figures())?;
        }
        if !self.differences.is_empty() {
            writeln!(out, "since the baseline: {}", in_one_line(&self.differences))?;
        }
        writeln!(out, "check: {}", self.verdict.checked().1)
    }
}

impl Finding {
    fn new(
        cell: &str,
        against: Against,
        statistic: Statistic,
        verdict: Verdict,
        reason: Option<Reason>,
    ) -> Self {
        Self {
            cell: cell.to_owned(),
            against,
            statistic,
            limit_fraction: None,
            limit_ns: None,
            verdict,
            reason,
            a_ns: None,
            b_ns: None,
            confidence_95_ns: None,
            change_fraction: None,
            confidence_95: None,
            noise_fraction: None,
        }
    }

    /// The limit: `p50 at most 10 % slower than the baseline`, `p99 below 20 µs`.
    fn limit(&self) -> String {
        let statistic = self.statistic.label();
        match (self.limit_ns, self.limit_fraction) {
            (Some(most_ns), _) => format!("{statistic} below {}", latency(most_ns)),
            (None, Some(most)) => format!("{statistic} at most {} slower than the baseline", unsigned(most)),
            (None, None) => format!("{statistic} not slower than the baseline"),
        }
    }

    /// Its figures, and the reason of the verdict.
    fn figures(&self) -> String {
        let mut figures = match (self.a_ns, self.b_ns) {
            (Some(a), Some(b)) => format!("{} → {}", latency(a), latency(b)),
            (_, b) => b.map(latency).unwrap_or_default(),
        };
        if let Some(Interval { low, high }) = self.confidence_95_ns {
            figures.push_str(&format!(" [{}, {}]", latency(low), latency(high)));
        }
        if let (Some(change), Some(interval)) = (self.change_fraction, self.confidence_95) {
            figures.push_str(&format!(", {}", change_text(change, interval)));
        }
        figures.extend(self.noise_fraction.map(|noise| format!(", noise {}", unsigned(noise))));
        let reason = self.reason.iter().map(Reason::to_string);
        let parts = Some(figures).filter(|figures| !figures.is_empty()).into_iter().chain(reason);
        parts.collect::<Vec<_>>().join(": ")
    }
}

/// A cell of the run against the baseline, which is the comparison's A. Slower by more than `most`, a fraction, is a
/// regression; without a `most`, any real slowdown is.
fn against_baseline(cell: &CellComparison, comparison: &Comparison, most: Option<f64>) -> Finding {
    let statistic = comparison.decided_by;
    let change = cell.change(statistic).filter(|_| cell.reason.is_none() && !comparison.same_run);
    let (verdict, reason) = match (change, &cell.reason, most) {
        _ if comparison.same_run => {
            (Verdict::NotComparable, Some(Reason::new("same_run", "the run is the baseline itself")))
        }
        (_, Some(reason), _) => (cell.verdict, Some(reason.clone())),
        (Some(change), None, Some(most)) => regression(change, most),
        (Some(_), None, None) => (cell.verdict, None),
        (None, None, _) => {
            let text = "a trial that took no time cannot be compared (--timing batch:1000)";
            (Verdict::Inconclusive, Some(Reason::new("no_time", text)))
        }
    };
    Finding {
        limit_fraction: most,
        a_ns: change.map(|change| change.a_ns),
        b_ns: change.map(|change| change.b_ns),
        change_fraction: change.map(|change| change.change_fraction),
        confidence_95: change.map(|change| change.confidence_95),
        noise_fraction: change.map(|change| change.noise_fraction),
        ..Finding::new(&cell.cell, Against::Baseline, statistic, verdict, reason)
    }
}

const LIMIT_IN_INTERVAL: &str = "the limit is within the interval";

/// A regression if the whole interval is above the limit and the change exceeds the noise; fine if the whole interval is
/// below, and the noise could not hide a regression of the limit's size.
fn regression(change: &Change, most: f64) -> (Verdict, Option<Reason>) {
    let Interval { low, high } = change.confidence_95;
    let noise = change.noise_fraction;
    let inconclusive = |kind, text: &str| (Verdict::Inconclusive, Some(Reason::new(kind, text)));
    if low > most && change.change_fraction > noise {
        (Verdict::Slower, None)
    } else if low > most {
        inconclusive("within_noise", "slower than allowed, but by no more than the noise")
    } else if noise > most && high + noise > most {
        let text = format!("the noise could hide a regression of {}", unsigned(most));
        inconclusive("noise_hides_limit", &text)
    } else if high > most {
        inconclusive("limit_in_interval", LIMIT_IN_INTERVAL)
    } else {
        (Verdict::NoDifference, None)
    }
}

/// A cell against a bound that a statistic has to stay below.
fn against_bound(cell: &CellReport, statistic: Statistic, most_ns: f64) -> Finding {
    let values = over_trials(cell, cell.headline_of, statistic);
    let figure = values.as_ref().map_or_else(|_| cell.headline_ns.get(statistic), |values| median(values));
    let interval = values.as_ref().ok().and_then(|values| median_interval(values));
    let because = |verdict, kind, text: String| (verdict, Some(Reason::new(kind, text)));
    let (verdict, reason) = match (&cell.error, &values, interval) {
        (Some(error), ..) => because(Verdict::NotComparable, "broke_off", format!("it failed: {error}")),
        (None, Err(lacking), _) => {
            let trials = cell.trials.len();
            let few = format!("too few rounds in {lacking} of {trials} trials (-n, --duration)");
            match median_interval(&at_least(cell, statistic)) {
                Some(least) if least.low >= most_ns => because(
                    Verdict::Slower,
                    "too_few_rounds",
                    format!("{few}, but lower quantiles exceed the bound"),
                ),
                _ => because(Verdict::Inconclusive, "too_few_rounds", few),
            }
        }
        (None, Ok(_), Some(Interval { high, .. })) if high < most_ns => (Verdict::Faster, None),
        (None, Ok(_), Some(Interval { low, .. })) if low >= most_ns => (Verdict::Slower, None),
        (None, Ok(_), Some(_)) => {
            because(Verdict::Inconclusive, "limit_in_interval", LIMIT_IN_INTERVAL.to_owned())
        }
        (None, Ok(_), None) => {
            let text = "a confidence interval needs two trials (--trials 5)";
            because(Verdict::Inconclusive, "too_few_trials", text.to_owned())
        }
    };
    let failed = cell.error.is_some();
    Finding {
        limit_ns: Some(most_ns),
        b_ns: figure.filter(|_| !failed),
        confidence_95_ns: interval.filter(|_| !failed),
        ..Finding::new(&cell.cell, Against::Bound, statistic, verdict, reason)
    }
}

/// A lower bound of a quantile for each trial: the highest quantile up to it that the trial has.
fn at_least(cell: &CellReport, quantile: Statistic) -> Vec<f64> {
    let known = |trial: &TrialReport| {
        let up_to = Statistic::ALL.iter().rev().skip_while(|one| **one != quantile);
        up_to.into_iter().find_map(|one| trial.headline(cell.headline_of).get(*one))
    };
    // Without a sample nothing is known.
    cell.trials.iter().map(|trial| known(trial).unwrap_or(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::sample;

    fn change(by: f64, half: f64, noise: f64) -> Change {
        Change {
            statistic: Statistic::P50,
            a_ns: 1000.0,
            b_ns: 1000.0 * (1.0 + by),
            change_fraction: by,
            confidence_95: Interval { low: by - half, high: by + half },
            noise_fraction: noise,
            real: by.abs() > half && by.abs() > noise,
        }
    }

    #[test]
    fn a_host_that_could_not_show_the_regression_is_inconclusive() {
        for (by, half, noise, state, kind) in [
            (0.008, 0.02, 0.05, Verdict::NoDifference, None),
            // The same figures, and a noise in which ten percent are lost.
            (0.008, 0.02, 0.23, Verdict::Inconclusive, Some("noise_hides_limit")),
            // Faster by far more than that.
            (-0.50, 0.02, 0.23, Verdict::NoDifference, None),
            (-0.10, 0.02, 0.23, Verdict::Inconclusive, Some("noise_hides_limit")),
            (0.09, 0.02, 0.05, Verdict::Inconclusive, Some("limit_in_interval")),
            (0.15, 0.02, 0.05, Verdict::Slower, None),
            (0.15, 0.02, 0.23, Verdict::Inconclusive, Some("within_noise")),
            (0.40, 0.02, 0.23, Verdict::Slower, None),
        ] {
            let (verdict, reason) = regression(&change(by, half, noise), 0.1);
            assert_eq!((verdict, reason.map(|why| why.kind)), (state, kind), "{by} with noise {noise}");
        }
    }

    #[test]
    fn a_trial_that_was_too_slow_for_the_quantile_is_not_ignored() {
        let mut cell = sample::cell();
        let found = |cell: &CellReport| {
            let finding = against_bound(cell, Statistic::P99, 20_000.0);
            (finding.verdict, finding.b_ns, finding.reason.map(|why| why.text))
        };
        assert_eq!(found(&cell), (Verdict::Faster, Some(12_000.0), None));
        cell.headline_ns.p99 = Some(221_000.0);
        for trial in &mut cell.trials[..2] {
            trial.latency_ns.p99 = None;
        }
        let few = "too few rounds in 2 of 5 trials (-n, --duration)";
        assert_eq!(found(&cell), (Verdict::Inconclusive, Some(221_000.0), Some(few.to_owned())));
        for trial in &mut cell.trials {
            trial.latency_ns.p90 = Some(190_000.0);
            trial.latency_ns.p99 = trial.latency_ns.p99.map(|_| 200_000.0);
        }
        let above = format!("{few}, but lower quantiles exceed the bound");
        assert_eq!(found(&cell), (Verdict::Slower, Some(221_000.0), Some(above)));
    }
}
