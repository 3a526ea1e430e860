//! One cell of two runs: the change of each statistic, and the verdict.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{COMPARED, Known, Noise, Side};
use crate::client::history::HistoryError;
use crate::client::measure::stats::{Interval, Statistic, compare_groups, median};
use crate::client::report::{CellReport, Report};

/// What the comparison of a cell comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is faster, and that is real.
    Faster,
    /// B is slower, and that is real.
    Slower,
    /// There is no difference that this host can show.
    NoDifference,
    /// They cannot be compared.
    NotComparable,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no difference that this host can show",
            Self::NotComparable => "not comparable",
        }
    }
}

/// Which of the two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that is compared with.
    A,
    /// The other.
    B,
}

/// Why two results cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Only one of them is there.
    OnlyIn(Which),
    /// It broke off.
    BrokeOff(Which),
    /// Another processor.
    Other {
        /// What is another one: `CPU`, `build`, `timing`.
        what: &'static str,
        /// A's.
        a: String,
        /// B's.
        b: String,
    },
    /// Without two trials there is no confidence interval.
    TooFewTrials {
        /// Which run.
        side: Which,
        /// How many it has.
        trials: usize,
        /// Of what.
        statistic: &'static str,
    },
}

impl Reason {
    /// Its name in the JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OnlyIn(_) => "only_in_one",
            Self::BrokeOff(_) => "broke_off",
            Self::Other { .. } => "other",
            Self::TooFewTrials { .. } => "too_few_trials",
        }
    }

    /// In words, with names for A and B.
    #[must_use]
    pub fn text(&self, [a, b]: [&str; 2]) -> String {
        let name = |which: &Which| match which {
            Which::A => a,
            Which::B => b,
        };
        match self {
            Self::OnlyIn(which) => format!("only {} has it", name(which)),
            Self::BrokeOff(which) => format!("it broke off in {}", name(which)),
            Self::Other { what, a, b } => format!("other {what}: {a} and {b}"),
            Self::TooFewTrials { side, trials, statistic } => format!(
                "{} has {trials} of the two trials with a {statistic} that a confidence interval takes (--trials 5)",
                name(side)
            ),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(["A", "B"]))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("kind", self.kind())?;
        map.serialize_entry("text", &self.to_string())?;
        map.end()
    }
}

/// The change of one statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// Of what.
    pub statistic: Statistic,
    /// A's figure: the median over its trials.
    pub a_ns: f64,
    /// B's figure: the median over its trials.
    pub b_ns: f64,
    /// From A to B, as a fraction of A, over trials: above 0 is slower. It is estimated from all pairs of trials, and so
    /// not quite the ratio of the two medians.
    pub change_fraction: f64,
    /// Its 95 % confidence interval.
    pub confidence_95: Interval,
    /// How far equal things lie apart on this host.
    pub noise_fraction: f64,
    /// Whether the interval excludes zero and the change exceeds the noise.
    pub real: bool,
}

/// One cell of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellComparison {
    /// Its name, B's if both have it: they may differ in the CPUs that a placement came to.
    pub cell: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why it cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What differs in where it ran: the pinned CPUs of A and B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpus: Option<String>,
    /// What tells the noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The change of each statistic that enough trials have.
    pub changes: Vec<Change>,
    /// The statistics that too few trials have: those had too few rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Statistic>,
}

impl CellComparison {
    /// Compares; at least one of the two is there.
    pub(super) fn new(
        a: &Side,
        b: &Side,
        one: Option<&CellReport>,
        other: Option<&CellReport>,
        decided_by: Statistic,
        known: Option<&mut Known<'_>>,
    ) -> Result<Self, HistoryError> {
        let cell = other.or(one).map_or_else(String::new, |cell| cell.cell.clone());
        let none = |reason| Self {
            cell: cell.clone(),
            verdict: Verdict::NotComparable,
            reason: Some(reason),
            other_cpus: None,
            noise: None,
            changes: Vec::new(),
            left_out: Vec::new(),
        };
        let (one, other) = match (one, other) {
            (Some(one), Some(other)) => (one, other),
            (one, _) => return Ok(none(Reason::OnlyIn(if one.is_some() { Which::A } else { Which::B }))),
        };
        if let Some(reason) = obstacle(a, b, one, other, decided_by) {
            return Ok(none(reason));
        }
        let noise = Noise::of((a, one), (b, other), known)?;
        let changes: Vec<Change> =
            COMPARED.into_iter().filter_map(|statistic| change(statistic, one, other, &noise)).collect();
        let left_out = COMPARED
            .into_iter()
            .filter(|statistic| !changes.iter().any(|change| change.statistic == *statistic))
            .collect();
        let decisive = changes.iter().find(|change| change.statistic == decided_by);
        let verdict = match decisive {
            Some(change) if change.real && change.change_fraction > 0.0 => Verdict::Slower,
            Some(change) if change.real => Verdict::Faster,
            _ => Verdict::NoDifference,
        };
        let cpus = |cell: &CellReport| (cell.client_cpu, cell.server_cpu);
        let shown = |cpu: Option<u32>| cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
        let pair = |cell| format!("{}→{}", shown(cpus(cell).0), shown(cpus(cell).1));
        Ok(Self {
            cell,
            verdict,
            reason: None,
            other_cpus: (cpus(one) != cpus(other)).then(|| format!("CPUs {} and {}", pair(one), pair(other))),
            noise: Some(noise),
            changes,
            left_out,
        })
    }

    /// The change of one statistic, if enough trials have it.
    #[must_use]
    pub fn change(&self, statistic: Statistic) -> Option<&Change> {
        self.changes.iter().find(|change| change.statistic == statistic)
    }
}

/// The values of a statistic, one for each trial that has it.
pub(in crate::client) fn over_trials(cell: &CellReport, statistic: Statistic) -> Vec<f64> {
    cell.trials.iter().filter_map(|trial| trial.latency_ns.get(statistic)).collect()
}

fn obstacle(
    a: &Side,
    b: &Side,
    one: &CellReport,
    other: &CellReport,
    decided_by: Statistic,
) -> Option<Reason> {
    let sides = [(Which::A, one), (Which::B, other)];
    if let Some((side, _)) = sides.iter().find(|(_, cell)| cell.error.is_some()) {
        return Some(Reason::BrokeOff(*side));
    }
    let of_runs = obstacle_of_runs(&a.report, &b.report);
    of_runs.or_else(|| {
        sides.into_iter().find_map(|(side, cell)| {
            let trials = over_trials(cell, decided_by).len();
            (trials < 2).then(|| Reason::TooFewTrials { side, trials, statistic: decided_by.label() })
        })
    })
}

/// Why nothing of two runs has to do with each other.
pub(in crate::client) fn obstacle_of_runs(a: &Report, b: &Report) -> Option<Reason> {
    let batch = |timing: &str| timing.strip_prefix("batch:").unwrap_or("each round").to_owned();
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "not told".to_owned());
    let all = [
        ("architecture", told(&a.environment.architecture), told(&b.environment.architecture)),
        ("CPU", told(&a.environment.cpu.model), told(&b.environment.cpu.model)),
        ("build", a.environment.build.profile.clone(), b.environment.build.profile.clone()),
        ("timing, rounds a sample", batch(&a.settings.timing), batch(&b.settings.timing)),
    ];
    all.into_iter().find(|(_, a, b)| a != b).map(|(what, a, b)| Reason::Other { what, a, b })
}

fn change(statistic: Statistic, one: &CellReport, other: &CellReport, noise: &Noise) -> Option<Change> {
    let (a, b) = (over_trials(one, statistic), over_trials(other, statistic));
    let compared = compare_groups(&a, &b)?;
    let noise_fraction = noise.fraction(statistic);
    Some(Change {
        statistic,
        a_ns: median(&a)?,
        b_ns: median(&b)?,
        change_fraction: compared.change,
        confidence_95: compared.interval,
        noise_fraction,
        real: compared.is_real() && compared.change.abs() > noise_fraction,
    })
}
