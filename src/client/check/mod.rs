//! Whether a run is as fast as it has to be: against a baseline, and against bounds.
//!
//! A check has three answers for each thing that it looks at, since a limit inside a confidence interval is neither kept
//! nor broken. `docs/history.md` has the rules.

use std::io::{self, Write};

use serde::Serialize;

use super::compare::{Change, Circumstance, Comparison, Verdict, over_trials, signed};
use super::environment::Difference;
use super::measure::stats::{Interval, Statistic, median_interval};
use super::report::{CellReport, latency};
use crate::protocol::Exit;

/// What a check came to, from the best to what counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
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
    pub fn exit(self) -> Exit {
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

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The cell's name.
    pub cell: String,
    /// What was looked at: `p50 against the baseline`, `p99 below 20 µs`.
    pub limit: String,
    /// What it came to.
    pub state: State,
    /// The figures, in words.
    pub text: String,
}

/// All that a check has to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What counts most of its findings; `nothing` if there are none.
    pub state: State,
    /// The findings.
    pub findings: Vec<Finding>,
    /// What else differs from the baseline.
    pub differences: Vec<Difference>,
}

impl Check {
    /// From what was found.
    #[must_use]
    pub fn of(findings: Vec<Finding>, differences: Vec<Difference>) -> Self {
        let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Nothing);
        Self { state, findings, differences }
    }

    /// Writes text: a line for each finding, and the answer last.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Finding { cell, limit, state, text } in &self.findings {
            writeln!(out, "{}: {cell}: {limit}: {text}", state.words())?;
        }
        if !self.differences.is_empty() {
            let all: Vec<String> =
                self.differences.iter().map(|difference| Circumstance(difference).to_string()).collect();
            writeln!(out, "since the baseline: {}", all.join("; "))?;
        }
        writeln!(out, "check: {}", self.state.words())
    }
}

/// Holds each cell against the baseline: `comparison` has the baseline as its A. Slower by more than `most`, a fraction,
/// is a regression; without a `most`, whatever is really slower.
#[must_use]
pub fn against(comparison: &Comparison, most: Option<f64>) -> Vec<Finding> {
    let statistic = comparison.decided_by.label();
    let limit = match most {
        Some(most) => {
            format!("{statistic} at most {} slower than the baseline", signed(most).replace('+', ""))
        }
        None => format!("{statistic} not slower than the baseline"),
    };
    let finding =
        |cell: &str, state, text| Finding { cell: cell.to_owned(), limit: limit.clone(), state, text };
    comparison
        .cells
        .iter()
        .map(|cell| match (cell.change(comparison.decided_by), &cell.reason) {
            (Some(change), None) => {
                let state = match most {
                    Some(most) => regression(change, most),
                    None if cell.verdict == Verdict::Slower => State::Regressed,
                    None => State::Fine,
                };
                finding(&cell.cell, state, described(change))
            }
            (_, reason) => {
                let text = reason.as_ref().map_or_else(
                    || "no figure".to_owned(),
                    |reason| {
                        // In a check, A is the baseline and B the run.
                        let text = reason.to_string();
                        text.replace("only A", "only the baseline").replace("only B", "only the run")
                    },
                );
                finding(&cell.cell, State::Nothing, text)
            }
        })
        .collect()
}

/// Regressed if the whole interval lies above the limit and the change exceeds the noise, fine if the whole interval lies
/// below.
fn regression(change: &Change, most: f64) -> State {
    let Interval { low, high } = change.confidence_95;
    if high <= most {
        State::Fine
    } else if low > most && change.change_fraction > change.noise_fraction {
        State::Regressed
    } else {
        State::Noisy
    }
}

fn described(change: &Change) -> String {
    let Change { a_ns, b_ns, change_fraction, confidence_95, noise_fraction, .. } = change;
    format!(
        "{} → {}, {} [{}, {}], noise {}",
        latency(*a_ns),
        latency(*b_ns),
        signed(*change_fraction),
        signed(confidence_95.low),
        signed(confidence_95.high),
        signed(*noise_fraction).replace('+', "")
    )
}

/// Holds each cell against a bound that a statistic has to stay below.
#[must_use]
pub fn below(cells: &[CellReport], statistic: Statistic, most_ns: f64) -> Vec<Finding> {
    let finding = |cell: &CellReport| {
        let (state, text) = bound(cell, statistic, most_ns);
        let limit = format!("{} below {}", statistic.label(), latency(most_ns));
        Finding { cell: cell.cell.clone(), limit, state, text }
    };
    cells.iter().map(finding).collect()
}

fn bound(cell: &CellReport, statistic: Statistic, most_ns: f64) -> (State, String) {
    if let Some(error) = &cell.error {
        return (State::Nothing, format!("it broke off: {error}"));
    }
    let values = over_trials(cell, statistic);
    match (cell.latency_ns.get(statistic), median_interval(&values)) {
        (Some(ns), Some(Interval { low, high })) => {
            let state = match () {
                () if high < most_ns => State::Fine,
                () if low >= most_ns => State::Regressed,
                () => State::Noisy,
            };
            (state, format!("{} [{}, {}]", latency(ns), latency(low), latency(high)))
        }
        (Some(ns), None) => {
            let text = "without two trials that have it there is no confidence interval (--trials 5)";
            (State::Noisy, format!("{}, but {text}", latency(ns)))
        }
        (None, _) => (State::Noisy, "too few rounds to tell it (-n, --duration)".to_owned()),
    }
}
