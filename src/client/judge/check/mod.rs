//! Whether a run is as fast as it has to be: against a baseline, and against bounds.
//!
//! A check has three answers for each thing that it looks at, since a limit inside a confidence interval is neither kept
//! nor broken. `docs/history.md` has the rules.

use std::io::{self, Write};

use serde::Serialize;

use super::compare::{Change, Circumstance, Comparison, Reason, SideSummary, Verdict, over_trials};
use crate::client::host::Difference;
use crate::client::report::{CellReport, TrialReport};
use crate::client::stats::{Interval, Statistic, median, median_interval};
use crate::exit::Exit;
use crate::units::{latency, signed};

/// The version of the JSON's layout, which `docs/json.md` tells.
pub(crate) const CHECK_SCHEMA: u32 = 1;

/// What a check came to, from the best to what counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It is as fast as it has to be.
    Fine,
    /// There was nothing to look at.
    Nothing,
    /// The figures are too uncertain for the limit.
    Noisy,
    /// It is slower than it may be.
    Regressed,
}

impl State {
    /// The exit code that tells of it.
    #[must_use]
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Fine => Exit::Success,
            Self::Nothing => Exit::Nothing,
            Self::Noisy => Exit::Noisy,
            Self::Regressed => Exit::Regressed,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Nothing => "nothing to compare",
            Self::Noisy => "too noisy to tell",
            Self::Regressed => "regressed",
        }
    }
}

/// What a cell is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Against {
    /// The same cell of the baseline.
    Baseline,
    /// A latency that was named.
    Bound,
}

/// Why something is not plainly fine or regressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Why {
    /// Which; `docs/json.md` has the list.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// The cell's name.
    pub cell: String,
    /// What it was held against.
    pub against: Against,
    /// Which of its statistics.
    pub statistic: Statistic,
    /// How much slower than the baseline it may be; `None` for whatever is no real difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_fraction: Option<f64>,
    /// What it has to stay below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_ns: Option<f64>,
    /// What it came to.
    pub state: State,
    /// Why it is not plainly fine or regressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
    /// The baseline's figure: the median over its trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a_ns: Option<f64>,
    /// The run's figure: the median over its trials, or, where one of them lacks it, that of all their rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b_ns: Option<f64>,
    /// The 95 % confidence interval of the run's figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_95_ns: Option<Interval>,
    /// From the baseline to the run: above 0 is slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_fraction: Option<f64>,
    /// The 95 % confidence interval of the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_95: Option<Interval>,
    /// How far equal things lie apart on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_fraction: Option<f64>,
}

/// All that a check has to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    /// [`CHECK_SCHEMA`].
    pub schema: u32,
    /// What counts most of its findings; `nothing` if there are none.
    pub state: State,
    /// The run that was checked.
    pub run: SideSummary,
    /// What it was held against, if that was a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<SideSummary>,
    /// The findings.
    pub findings: Vec<Finding>,
    /// What else differs from the baseline.
    pub differences: Vec<Difference>,
}

impl Check {
    /// From what was found; the comparison, if there was one, has the baseline as its A.
    #[must_use]
    pub(crate) fn of(run: SideSummary, comparison: Option<Comparison>, findings: Vec<Finding>) -> Self {
        let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Nothing);
        let (baseline, differences) =
            comparison.map(|comparison| (comparison.a, comparison.differences)).unzip();
        Self {
            schema: CHECK_SCHEMA,
            state,
            run,
            baseline,
            findings,
            differences: differences.unwrap_or_default(),
        }
    }

    /// Writes text: what is checked, a line for each finding, and the answer last.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.baseline {
            Some(baseline) => writeln!(out, "{} against {}", self.run.in_words(), baseline.in_words())?,
            None => writeln!(out, "{}", self.run.in_words())?,
        }
        for finding in &self.findings {
            let (state, cell) = (finding.state.words(), &finding.cell);
            writeln!(out, "{state}: {cell}: required: {}: {}", finding.limit(), finding.figures())?;
        }
        if !self.differences.is_empty() {
            let all: Vec<String> =
                self.differences.iter().map(|difference| Circumstance(difference).to_string()).collect();
            writeln!(out, "since the baseline: {}", all.join("; "))?;
        }
        writeln!(out, "check: {}", self.state.words())
    }
}

impl Finding {
    /// What it had to be: `p50 at most 10 % slower than the baseline`, `p99 below 20 µs`.
    fn limit(&self) -> String {
        let statistic = self.statistic.label();
        match (self.limit_ns, self.limit_fraction) {
            (Some(most_ns), _) => format!("{statistic} below {}", latency(most_ns)),
            (None, Some(most)) => format!("{statistic} at most {} slower than the baseline", share(most)),
            (None, None) => format!("{statistic} not slower than the baseline"),
        }
    }

    /// Its figures, and why they do not do.
    fn figures(&self) -> String {
        let mut parts = Vec::new();
        match (self.a_ns, self.b_ns) {
            (Some(a), Some(b)) => parts.push(format!("{} → {}", latency(a), latency(b))),
            (_, b) => parts.extend(b.map(latency)),
        }
        if let Some(Interval { low, high }) = self.confidence_95_ns {
            parts = vec![format!("{} [{}, {}]", parts.concat(), latency(low), latency(high))];
        }
        if let (Some(change), Some(Interval { low, high })) = (self.change_fraction, self.confidence_95) {
            parts.push(format!("{} [{}, {}]", signed(change), signed(low), signed(high)));
        }
        parts.extend(self.noise_fraction.map(|noise| format!("noise {}", share(noise))));
        let figures = parts.join(", ");
        match (figures.as_str(), &self.reason) {
            (_, None) => figures,
            ("", Some(why)) => why.text.clone(),
            (figures, Some(why)) => format!("{figures}: {}", why.text),
        }
    }
}

/// A fraction without a sign.
fn share(fraction: f64) -> String {
    signed(fraction).replace('+', "")
}

/// Holds each cell against the baseline: `comparison` has the baseline as its A. Slower by more than `most`, a fraction,
/// is a regression; without a `most`, whatever is really slower.
#[must_use]
pub(crate) fn against(comparison: &Comparison, most: Option<f64>) -> Vec<Finding> {
    let finding = |cell: &str| Finding {
        cell: cell.to_owned(),
        against: Against::Baseline,
        statistic: comparison.decided_by,
        limit_fraction: most,
        limit_ns: None,
        state: State::Nothing,
        reason: None,
        a_ns: None,
        b_ns: None,
        confidence_95_ns: None,
        change_fraction: None,
        confidence_95: None,
        noise_fraction: None,
    };
    let judged = |cell: &super::compare::CellComparison| {
        let finding = finding(&cell.cell);
        if comparison.same_run {
            let text = "the run is the baseline itself".to_owned();
            return Finding { reason: Some(Why { kind: "same_run", text }), ..finding };
        }
        match (cell.change(comparison.decided_by), &cell.reason) {
            (Some(change), None) => {
                let (state, reason) = match most {
                    Some(most) => regression(change, most),
                    None if cell.verdict == Verdict::Slower => (State::Regressed, None),
                    None => (State::Fine, None),
                };
                Finding {
                    state,
                    reason,
                    a_ns: Some(change.a_ns),
                    b_ns: Some(change.b_ns),
                    change_fraction: Some(change.change_fraction),
                    confidence_95: Some(change.confidence_95),
                    noise_fraction: Some(change.noise_fraction),
                    ..finding
                }
            }
            (_, Some(reason)) => {
                // Both were measured, and more of it would tell.
                let too_few = matches!(reason, Reason::TooFewTrials { .. } | Reason::TooFewRounds { .. });
                let text = reason.text(["the baseline", "the run"]);
                Finding {
                    state: if too_few { State::Noisy } else { State::Nothing },
                    reason: Some(Why { kind: reason.kind(), text }),
                    ..finding
                }
            }
            (None, None) => {
                let text = "a trial that took no time cannot be compared (--timing batch:1000)".to_owned();
                Finding { state: State::Noisy, reason: Some(Why { kind: "no_time", text }), ..finding }
            }
        }
    };
    comparison.cells.iter().map(judged).collect()
}

/// Regressed if the whole interval lies above the limit and the change exceeds the noise; fine if the whole interval lies
/// below, and a regression of the limit's size would not be lost in the noise.
fn regression(change: &Change, most: f64) -> (State, Option<Why>) {
    let Interval { low, high } = change.confidence_95;
    let noise = change.noise_fraction;
    let noisy = |kind, text: String| (State::Noisy, Some(Why { kind, text }));
    if low > most && change.change_fraction > noise {
        (State::Regressed, None)
    } else if low > most {
        noisy("within_noise", "slower than allowed, and by no more than the noise".to_owned())
    } else if noise > most && high + noise > most {
        let text = format!("the noise exceeds the {} that are allowed, which could hide in it", share(most));
        noisy("noise_hides_limit", text)
    } else if high > most {
        noisy("limit_in_interval", "what is allowed lies within the interval".to_owned())
    } else {
        (State::Fine, None)
    }
}

/// Holds each cell against a bound that a statistic has to stay below.
#[must_use]
pub(crate) fn below(cells: &[CellReport], statistic: Statistic, most_ns: f64) -> Vec<Finding> {
    let finding = |cell: &CellReport| {
        let values = over_trials(cell, statistic);
        let figure = values.as_ref().map_or_else(|_| cell.latency_ns.get(statistic), |values| median(values));
        let interval = values.as_ref().ok().and_then(|values| median_interval(values));
        let (state, reason) = bound(cell, statistic, interval, most_ns);
        Finding {
            cell: cell.cell.clone(),
            against: Against::Bound,
            statistic,
            limit_fraction: None,
            limit_ns: Some(most_ns),
            state,
            reason,
            a_ns: None,
            b_ns: figure.filter(|_| cell.error.is_none()),
            confidence_95_ns: interval.filter(|_| cell.error.is_none()),
            change_fraction: None,
            confidence_95: None,
            noise_fraction: None,
        }
    };
    cells.iter().map(finding).collect()
}

fn bound(
    cell: &CellReport,
    statistic: Statistic,
    interval: Option<Interval>,
    most_ns: f64,
) -> (State, Option<Why>) {
    let why = |kind, text: String| Some(Why { kind, text });
    match (interval, over_trials(cell, statistic)) {
        _ if cell.error.is_some() => {
            let error = cell.error.as_deref().unwrap_or_default();
            (State::Nothing, why("broke_off", format!("it broke off: {error}")))
        }
        (_, Err(lacking)) => {
            let trials = cell.trials.len();
            let few = format!("too few rounds in {lacking} of {trials} trials (-n, --duration)");
            if median_interval(&at_least(cell, statistic)).is_some_and(|least| least.low >= most_ns) {
                (State::Regressed, why("too_few_rounds", format!("{few}, and lower quantiles are above it")))
            } else {
                (State::Noisy, why("too_few_rounds", few))
            }
        }
        (Some(Interval { high, .. }), _) if high < most_ns => (State::Fine, None),
        (Some(Interval { low, .. }), _) if low >= most_ns => (State::Regressed, None),
        (Some(_), _) => {
            (State::Noisy, why("limit_in_interval", "what is allowed lies within the interval".to_owned()))
        }
        (None, _) => {
            let text = "without two trials there is no confidence interval (--trials 5)";
            (State::Noisy, why("too_few_trials", text.to_owned()))
        }
    }
}

/// What a quantile is at least, for each trial: the next lower one that the trial tells.
fn at_least(cell: &CellReport, quantile: Statistic) -> Vec<f64> {
    let told = |trial: &TrialReport| {
        let up_to = Statistic::ALL.iter().rev().skip_while(|one| **one != quantile);
        up_to.into_iter().find_map(|one| trial.latency_ns.get(*one))
    };
    // Without a sample nothing is known.
    cell.trials.iter().map(|trial| told(trial).unwrap_or(0.0)).collect()
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
    fn a_host_that_could_not_show_the_regression_does_not_say_fine() {
        for (by, half, noise, state, kind) in [
            (0.008, 0.02, 0.05, State::Fine, None),
            // The same figures, and a noise in which ten percent are lost.
            (0.008, 0.02, 0.23, State::Noisy, Some("noise_hides_limit")),
            // Faster by far more than that.
            (-0.50, 0.02, 0.23, State::Fine, None),
            (-0.10, 0.02, 0.23, State::Noisy, Some("noise_hides_limit")),
            (0.09, 0.02, 0.05, State::Noisy, Some("limit_in_interval")),
            (0.15, 0.02, 0.05, State::Regressed, None),
            (0.15, 0.02, 0.23, State::Noisy, Some("within_noise")),
            (0.40, 0.02, 0.23, State::Regressed, None),
        ] {
            let (told, reason) = regression(&change(by, half, noise), 0.1);
            assert_eq!((told, reason.map(|why| why.kind)), (state, kind), "{by} with noise {noise}");
        }
    }

    #[test]
    fn a_trial_that_was_too_slow_for_the_quantile_is_not_passed_over() {
        let mut cell = sample::cell();
        let told = |cell: &CellReport| {
            let finding = below(std::slice::from_ref(cell), Statistic::P99, 20_000.0).remove(0);
            (finding.state, finding.b_ns, finding.reason.map(|why| why.text))
        };
        assert_eq!(told(&cell), (State::Fine, Some(12_000.0), None));
        cell.latency_ns.p99 = Some(221_000.0);
        for trial in &mut cell.trials[..2] {
            trial.latency_ns.p99 = None;
        }
        let few = "too few rounds in 2 of 5 trials (-n, --duration)";
        assert_eq!(told(&cell), (State::Noisy, Some(221_000.0), Some(few.to_owned())));
        for trial in &mut cell.trials {
            trial.latency_ns.p90 = Some(190_000.0);
            trial.latency_ns.p99 = trial.latency_ns.p99.map(|_| 200_000.0);
        }
        let above = format!("{few}, and lower quantiles are above it");
        assert_eq!(told(&cell), (State::Regressed, Some(221_000.0), Some(above)));
    }
}
