//! One cell of two runs: the change of each statistic, and the verdict.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{COMPARED, Known, Noise, Side};
use crate::client::history::HistoryError;
use crate::client::report::{CellReport, Report};
use crate::client::stats::{Interval, Statistic, compare_groups, median};
use crate::units::latency;

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
    pub(crate) fn words(self) -> &'static str {
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
    /// Measured otherwise: what differs in options, wait, placement, pace or channels.
    OtherSettings(String),
    /// Without two trials there is no confidence interval.
    TooFewTrials {
        /// Which run.
        side: Which,
        /// How many it has.
        trials: usize,
    },
    /// Trials that had too few rounds for the statistic.
    TooFewRounds {
        /// Which run.
        side: Which,
        /// How many of its trials.
        lacking: usize,
        /// How many it has.
        trials: usize,
        /// Of what.
        statistic: Statistic,
    },
}

impl Reason {
    /// Its name in the JSON.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::OnlyIn(_) => "only_in_one",
            Self::BrokeOff(_) => "broke_off",
            Self::Other { .. } => "other",
            Self::OtherSettings(_) => "other_settings",
            Self::TooFewTrials { .. } => "too_few_trials",
            Self::TooFewRounds { .. } => "too_few_rounds",
        }
    }

    /// In words, with names for A and B.
    #[must_use]
    pub(crate) fn text(&self, [a, b]: [&str; 2]) -> String {
        let name = |which: &Which| match which {
            Which::A => a,
            Which::B => b,
        };
        match self {
            Self::OnlyIn(which) => format!("only {} has it", name(which)),
            Self::BrokeOff(which) => format!("it broke off in {}", name(which)),
            Self::Other { what, a, b } => format!("other {what}: {a} and {b}"),
            Self::OtherSettings(what) => format!("other settings: {what}"),
            Self::TooFewTrials { side, trials } => {
                format!(
                    "{} has {trials} of the two trials that a confidence interval takes (--trials 5)",
                    name(side)
                )
            }
            Self::TooFewRounds { side, lacking, trials, statistic } => format!(
                "{} has too few rounds for a {} in {lacking} of {trials} trials (-n, --duration)",
                name(side),
                statistic.label()
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
    /// The change of each statistic that all trials have.
    pub changes: Vec<Change>,
    /// The statistics that a trial lacks, which had too few rounds.
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
        if let Some(what) = other_settings(one, other) {
            return Ok(none(Reason::OtherSettings(what)));
        }
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

    /// The change of one statistic, if all trials have it.
    #[must_use]
    pub(crate) fn change(&self, statistic: Statistic) -> Option<&Change> {
        self.changes.iter().find(|change| change.statistic == statistic)
    }
}

/// The values of a statistic, one for each trial.
///
/// # Errors
/// How many trials lack it. Of trials that last a given time those are the slow ones, so that the others cannot speak
/// for them.
pub(in crate::client) fn over_trials(cell: &CellReport, statistic: Statistic) -> Result<Vec<f64>, usize> {
    let values: Vec<f64> = cell.trials.iter().filter_map(|trial| trial.latency_ns.get(statistic)).collect();
    match cell.trials.len() - values.len() {
        0 => Ok(values),
        lacking => Err(lacking),
    }
}

/// What tells two cells of a method and size apart: `placement unpinned and same-core`.
fn other_settings(one: &CellReport, other: &CellReport) -> Option<String> {
    let settings = |cell: &CellReport| {
        let options: Vec<String> =
            cell.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let pace = match (cell.gap_ns, cell.interval_ns) {
            (Some(gap), _) => format!("a gap of {}", latency(gap as f64)),
            (None, Some(interval)) => format!("a round each {}", latency(interval as f64)),
            (None, None) => "none".to_owned(),
        };
        [
            ("options", if options.is_empty() { "none".to_owned() } else { options.join(" ") }),
            ("wait", cell.wait.name().to_owned()),
            ("placement", cell.placement.name().to_owned()),
            ("pace", pace),
            ("parallel", cell.parallel.to_string()),
        ]
    };
    let both = settings(one).into_iter().zip(settings(other));
    let differ: Vec<String> =
        both.filter(|(a, b)| a != b).map(|((name, a), (_, b))| format!("{name} {a} and {b}")).collect();
    (!differ.is_empty()).then(|| differ.join(", "))
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
            let trials = cell.trials.len();
            match over_trials(cell, decided_by) {
                _ if trials < 2 => Some(Reason::TooFewTrials { side, trials }),
                Err(lacking) => Some(Reason::TooFewRounds { side, lacking, trials, statistic: decided_by }),
                Ok(_) => None,
            }
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
    let (a, b) = (over_trials(one, statistic).ok()?, over_trials(other, statistic).ok()?);
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
