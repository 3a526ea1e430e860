//! `check`: a comparison with limits, against a baseline and against bounds.
//!
//! A check has three answers for each limit, since a limit inside an interval is neither kept nor exceeded.
//! `docs/statistics.md` has the rules.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::compare::{
    CellComparison, Comparison, FalseAlarms, LIMIT_IN_INTERVAL, Reason, Side, SideSummary, Verdict,
    change_text, step, unsigned,
};
use super::differences::{Difference, in_one_line};
use super::noise::{Known, Measured, Noise};
use crate::client::history::{History, HistoryError};
use crate::client::report::{CellReport, TrialReport};
use crate::client::stats::{Interval, RunEstimate, Statistic, geometric_mean, median_interval};
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
    /// How many false alarms to expect against the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    false_alarms: Option<FalseAlarms>,
    /// What else differs from the baseline.
    differences: Vec<Difference>,
}

impl Check {
    /// Checks a run.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn new(
        run: &[Side],
        baseline: Option<&[Side]>,
        limits: &Limits,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        let names = ["the baseline", "the run"];
        let compare = |baseline| {
            Comparison::named(names, baseline, run, limits.statistic, limits.max_regression, history)
        };
        let comparison = baseline.map(compare).transpose()?;
        let mut findings: Vec<Finding> = Vec::new();
        if let Some(comparison) = &comparison {
            let against = |cell| against_baseline(cell, comparison, limits.max_regression);
            findings.extend(comparison.cells.iter().map(against));
        }
        let mut known = history.map(Known::new);
        // Without a bound, no noise is read from the history.
        let bounded = if limits.bounds.is_empty() { &[][..] } else { &run[0].report.results };
        for cell in bounded {
            let measured = [run[0].measured(cell, cell.headline_of)];
            let noise = Noise::of([&measured, &measured[..0]], known.as_mut())?;
            let bounds = limits.bounds.iter();
            findings.extend(bounds.map(|(of, most_ns)| against_bound(&measured[0], *of, *most_ns, &noise)));
        }
        let verdict = findings.iter().map(|finding| finding.verdict).max();
        let (false_alarms, baseline, differences) = match comparison {
            Some(Comparison { false_alarms, a, differences, .. }) => {
                (Some(false_alarms), Some(a), differences)
            }
            None => (None, None, Vec::new()),
        };
        Ok(Self {
            schema: 1,
            verdict: verdict.unwrap_or(Verdict::NotComparable),
            run: SideSummary::of(run),
            baseline,
            findings,
            false_alarms,
            differences,
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
            let (state, cell) = (finding.state(), &finding.cell);
            writeln!(out, "{state}: {cell}: required: {}: {}", finding.limit(), finding.figures())?;
        }
        if !self.differences.is_empty() {
            writeln!(out, "since the baseline: {}", in_one_line(&self.differences))?;
        }
        let mut deciding = self.findings.iter().filter(|finding| finding.verdict == self.verdict);
        let state = deciding.next().map_or(self.verdict.checked().1, Finding::state);
        writeln!(out, "check: {state}")
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

    /// The verdict in words. A run above a bound has not become slower than another: it exceeds a limit.
    fn state(&self) -> &'static str {
        match (self.against, self.verdict) {
            (Against::Bound, Verdict::Slower) => "limit exceeded",
            (_, verdict) => verdict.checked().1,
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

/// A cell of the run against the baseline, which is the comparison's A; its verdict is the comparison's.
fn against_baseline(cell: &CellComparison, comparison: &Comparison, most: Option<f64>) -> Finding {
    let statistic = comparison.decided_by;
    let change = cell.change(statistic).filter(|_| !comparison.same_run);
    let (verdict, reason) = if comparison.same_run {
        (Verdict::NotComparable, Some(Reason::new("same_run", "the run is one of the baseline's")))
    } else {
        (cell.verdict, cell.reason.clone())
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

/// A cell against a bound that a statistic has to stay below, in this run and in others like it.
fn against_bound(run: &Measured<'_>, statistic: Statistic, most_ns: f64, noise: &Noise) -> Finding {
    let cell = run.cell;
    let values = run.trials(statistic);
    let ns = run.figure(statistic).or(cell.headline_ns.get(statistic));
    let interval = values.as_ref().ok().and_then(|values| {
        let Interval { low, high } = median_interval(values)?;
        let ns = geometric_mean(&[ns?])?;
        let step = step(std::iter::once(run), ns);
        Some(RunEstimate::new(ns, 1.0, &noise.spread(statistic), (high / low).ln() / 2.0, step).interval())
    });
    let because = |verdict, kind, text: String| (verdict, Some(Reason::new(kind, text)));
    let (verdict, reason) = match (&cell.error, &values, interval) {
        (Some(error), ..) => because(Verdict::NotComparable, "broke_off", format!("it failed: {error}")),
        _ if cell.misses_its_rate() => {
            let text = "the rate was not reached, so that response times grow without limit";
            because(Verdict::Slower, "rate_missed", text.to_owned())
        }
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
    let failed = cell.error.is_some() || cell.misses_its_rate();
    Finding {
        limit_ns: Some(most_ns),
        b_ns: ns.filter(|_| !failed),
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
    use uuid::Uuid;

    use super::*;
    use crate::client::judge::warnings::sample;
    use crate::client::report::{HeadlineOf, Report};
    use crate::client::stats::Latency;

    fn side(report: Report) -> Side {
        Side { name: "run".to_owned(), run: None, uuid: Some(Uuid::new_v4()), label: None, report }
    }

    /// The sample with all trials this much slower, and trials up to 0.2 % apart.
    fn scaled(scale: f64, cells: usize) -> Side {
        let mut report = sample::report();
        let mut cell = report.results.remove(0);
        for (index, trial) in cell.trials.iter_mut().enumerate() {
            let ns = 10_000.0 * scale * (1.0 + 0.0005 * index as f64);
            trial.latency_ns.p50 = Some(ns);
        }
        for index in 0..cells {
            cell.size_bytes = 8 << index;
            cell.cell = format!("cell {index}");
            report.results.push(cell.clone());
        }
        side(report)
    }

    /// Six runs; their figures have a standard deviation of 1.4 %.
    fn six(cells: usize) -> Vec<Side> {
        [0.98, 0.99, 1.0, 1.0, 1.01, 1.02].map(|scale| scaled(scale, cells)).into()
    }

    fn checked(scales: &[f64], baseline: &[Side], most: Option<f64>) -> (Verdict, Option<&'static str>) {
        let runs: Vec<Side> =
            scales.iter().map(|scale| scaled(*scale, baseline[0].report.results.len())).collect();
        let limits = Limits { statistic: Statistic::P50, max_regression: most, bounds: Vec::new() };
        let check = Check::new(&runs, Some(baseline), &limits, None).unwrap();
        let worst = check.findings.iter().max_by_key(|finding| finding.verdict).unwrap();
        (worst.verdict, worst.reason.as_ref().map(|why| why.kind))
    }

    #[test]
    fn fine_means_that_the_limit_is_above_the_interval() {
        // Half of the interval is 4.1 %.
        for (scale, verdict, kind) in [
            (1.0, Verdict::NoDifference, None),
            (1.05, Verdict::NoDifference, None),
            (1.07, Verdict::Inconclusive, Some("limit_in_interval")),
            (1.10, Verdict::Inconclusive, Some("limit_in_interval")),
            (1.13, Verdict::Inconclusive, Some("limit_in_interval")),
            (1.16, Verdict::Slower, None),
        ] {
            assert_eq!(checked(&[scale], &six(1), Some(0.10)), (verdict, kind), "{scale}");
        }
        assert_eq!(checked(&[1.0], &six(1), Some(0.03)), (Verdict::Inconclusive, Some("noise_hides_limit")));
        assert_eq!(checked(&[1.03], &six(1), None).0, Verdict::NoDifference);
        assert_eq!(checked(&[1.05], &six(1), None).0, Verdict::Slower);
        assert_eq!(checked(&[0.95], &six(1), None).0, Verdict::Faster);
        // Six runs against six show less: 1.9 %.
        assert_eq!(checked(&[1.01, 1.02, 1.03, 1.03, 1.04, 1.05], &six(1), None).0, Verdict::Slower);
    }

    #[test]
    fn without_six_runs_a_verdict_needs_the_floor() {
        let one = [scaled(1.0, 1)];
        assert_eq!(checked(&[1.045], &one, None).0, Verdict::NoDifference);
        assert_eq!(checked(&[1.06], &one, None).0, Verdict::Slower);
        assert_eq!(checked(&[1.0], &one, Some(0.04)), (Verdict::Inconclusive, Some("noise_hides_limit")));
        assert_eq!(checked(&[1.0], &one, Some(0.10)).0, Verdict::NoDifference);
    }

    #[test]
    fn among_many_cells_a_difference_has_to_be_larger() {
        assert_eq!(checked(&[1.05], &six(1), None).0, Verdict::Slower);
        // All of 23 would differ alike, and each may be the one by chance.
        assert_eq!(checked(&[1.05], &six(23), None).0, Verdict::NoDifference);
        assert_eq!(checked(&[1.16], &six(23), Some(0.10)), (Verdict::Inconclusive, Some("by_chance")));
        assert_eq!(checked(&[1.12], &six(23), None).0, Verdict::Slower);
    }

    #[test]
    fn a_limit_at_a_fixed_rate_is_one_of_response_times() {
        let mut cell = sample::cell();
        cell.interval_ns = Some(10_000);
        let found = |cell: &CellReport| {
            let side = side(sample::report());
            let measured = side.measured(cell, cell.headline_of);
            against_bound(&measured, Statistic::P99, 20_000.0, &Noise::default()).verdict
        };
        assert_eq!(found(&cell), Verdict::Faster, "12 µs");
        for trial in &mut cell.trials {
            trial.response_ns = Some(Latency { p99: Some(141e6), ..trial.latency_ns });
        }
        cell.headline_of = HeadlineOf::Response;
        assert_eq!(found(&cell), Verdict::Slower);
        let mut too_high = sample::cell();
        too_high.interval_ns = Some(100);
        assert_eq!(found(&too_high), Verdict::Slower, "a rate that was not reached");
    }

    #[test]
    fn a_trial_that_was_too_slow_for_the_quantile_is_not_ignored() {
        let mut cell = sample::cell();
        let found = |cell: &CellReport| {
            let side = side(sample::report());
            let finding = against_bound(
                &side.measured(cell, cell.headline_of),
                Statistic::P99,
                20_000.0,
                &Noise::default(),
            );
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
