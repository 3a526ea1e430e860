//! Two runs side by side: how much each cell differs, whether that is real, and what else differs.
//!
//! A difference is real only if chance does not explain it (the 95 % confidence interval over trials excludes zero) and
//! it is larger than the differences that this host shows where nothing differs (its A/A noise, [`Noise`]).
//! `docs/history.md` has the rules.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::differences::{self, Difference, in_one_line};
use super::noise::NoiseSource;
use super::warnings::Grade;
use crate::client::history::{History, HistoryError, Pick};
use crate::client::report::{CellReport, HeadlineOf, Report};
use crate::client::stats::{Interval, Statistic, compare_groups, median};
use crate::exit::Exit;
use crate::units::{latency, signed, utc};

pub(crate) use super::noise::{COMPARED, Known, Noise};

/// A run that is compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Side {
    /// How it was named.
    pub(crate) name: String,
    /// Its id, if it comes from the history.
    pub(crate) run: Option<i64>,
    /// Its name in all histories, if it was ever recorded.
    pub(crate) uuid: Option<Uuid>,
    /// Its label.
    pub(crate) label: Option<String>,
    /// Its report.
    pub(crate) report: Report,
}

impl Side {
    /// A run of the history.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) fn recorded(pick: &Pick, history: &History) -> Result<Self, HistoryError> {
        let run = history.run(history.find(pick)?)?;
        Ok(Self {
            name: pick.to_string(),
            run: Some(run.id),
            uuid: Some(run.uuid),
            label: run.label,
            report: run.report,
        })
    }

    /// Whether both are the same run, however each was named.
    fn is(&self, other: &Self) -> bool {
        match (self.uuid, other.uuid) {
            (Some(one), Some(other)) => one == other,
            // Files of reports have none.
            _ => self.report == other.report,
        }
    }
}

/// The identity of a side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SideSummary {
    /// How it was named.
    pub name: String,
    /// Its id, if it comes from the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// Its name in all histories, if it was ever recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it began.
    pub started_unix_s: u64,
    /// Its host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its grade.
    pub grade: Grade,
}

impl SideSummary {
    pub(crate) fn of(side: &Side) -> Self {
        Self {
            name: side.name.clone(),
            run: side.run,
            uuid: side.uuid.map(|uuid| uuid.to_string()),
            label: side.label.clone(),
            started_unix_s: side.report.started_unix_s,
            host: side.report.environment.hostname.clone(),
            grade: side.report.grade,
        }
    }
}

/// As `good (run 3, 2026-…, host, grade A)`.
impl fmt::Display for SideSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.run {
            Some(run) if self.name == run.to_string() => write!(f, "run {run}")?,
            run => {
                f.write_str(&self.name)?;
                parts.extend(run.map(|run| format!("run {run}")));
            }
        }
        parts.extend(
            self.label.iter().filter(|label| **label != self.name).map(|label| format!("label {label}")),
        );
        parts.push(utc(self.started_unix_s));
        parts.extend(self.host.clone());
        parts.push(format!("grade {}", self.grade));
        write!(f, " ({})", parts.join(", "))
    }
}

/// The verdict on a cell. The greatest of several decides a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Really faster, or below its bound.
    Faster,
    /// No difference that this host can show.
    NoDifference,
    /// The two cannot be compared.
    NotComparable,
    /// The figures are too few or too uncertain.
    #[serde(rename = "not_comparable")]
    Inconclusive,
    /// Really slower, or slower than allowed.
    Slower,
}

impl Verdict {
    /// Its name in JSON and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no_difference",
            Self::NotComparable | Self::Inconclusive => "not_comparable",
        }
    }

    /// What it means for a check: the state in its JSON, in words, and as an exit code.
    pub(super) fn checked(self) -> (&'static str, &'static str, Exit) {
        match self {
            Self::Faster | Self::NoDifference => ("fine", "fine", Exit::Success),
            Self::NotComparable => ("nothing", "nothing to compare", Exit::Nothing),
            Self::Inconclusive => ("noisy", "too noisy", Exit::Noisy),
            Self::Slower => ("regressed", "regressed", Exit::Regressed),
        }
    }
}

/// Why a verdict is not plainly yes or no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    /// Which; `docs/json.md` has the list.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

impl Reason {
    pub(super) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The change of one statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Change {
    /// Of what.
    pub statistic: Statistic,
    /// A's figure: the median over its trials.
    pub a_ns: f64,
    /// B's figure: the median over its trials.
    pub b_ns: f64,
    /// From A to B, as a fraction of A, over trials: above 0 is slower. It is estimated from all pairs of trials, and so
    /// differs slightly from the ratio of the two medians.
    pub change_fraction: f64,
    /// Its 95 % confidence interval.
    pub confidence_95: Interval,
    /// The noise of this host.
    pub noise_fraction: f64,
    /// Whether the interval excludes zero and the change exceeds the noise.
    pub real: bool,
}

impl Change {
    /// The change of a statistic, if all trials have it.
    fn of(statistic: Statistic, one: &CellReport, other: &CellReport, noise: &Noise) -> Option<Self> {
        let of = common_headline(one, other);
        let (a, b) = (over_trials(one, of, statistic).ok()?, over_trials(other, of, statistic).ok()?);
        let compared = compare_groups(&a, &b)?;
        let noise_fraction = noise.fraction(statistic);
        Some(Self {
            statistic,
            a_ns: median(&a)?,
            b_ns: median(&b)?,
            change_fraction: compared.change,
            confidence_95: compared.interval,
            noise_fraction,
            real: compared.is_real() && compared.change.abs() > noise_fraction,
        })
    }

    fn verdict(&self) -> Verdict {
        match self.real {
            true if self.change_fraction > 0.0 => Verdict::Slower,
            true => Verdict::Faster,
            false => Verdict::NoDifference,
        }
    }
}

/// A change and its interval: `+4.90 % [+3.10 %, +6.60 %]`.
pub(super) fn change_text(change: f64, interval: Interval) -> String {
    format!("{} {}", signed(change), interval_text(interval))
}

fn interval_text(Interval { low, high }: Interval) -> String {
    format!("[{}, {}]", signed(low), signed(high))
}

/// One cell of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CellComparison {
    /// Its name, B's if both have it: they may differ in the CPUs that a placement was resolved to.
    pub cell: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The pinned CPUs of A and B, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpus: Option<String>,
    /// Where the noise comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The change of each statistic that all trials have.
    pub changes: Vec<Change>,
    /// The statistics that a trial lacks because it had too few rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Statistic>,
}

impl CellComparison {
    /// The change of one statistic, if all trials have it.
    pub(crate) fn change(&self, statistic: Statistic) -> Option<&Change> {
        self.changes.iter().find(|change| change.statistic == statistic)
    }

    fn verdict_text(&self) -> String {
        let mut text = match self.verdict {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoDifference => "no difference",
            Verdict::NotComparable | Verdict::Inconclusive => "not comparable",
        }
        .to_owned();
        text.extend(self.reason.iter().map(|reason| format!(": {reason}")));
        text.extend(self.other_cpus.iter().map(|cpus| format!(" ({cpus})")));
        text
    }
}

/// Two runs, A and B, side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// The version of this layout.
    schema: u32,
    /// The earlier one, or the one that is compared with.
    pub(crate) a: SideSummary,
    /// The other one.
    pub(crate) b: SideSummary,
    /// Whether both are the same run, which makes the comparison meaningless.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) same_run: bool,
    /// The statistic that decides the verdicts.
    pub(crate) decided_by: Statistic,
    /// What else differs from A to B.
    pub(crate) differences: Vec<Difference>,
    /// The cells of A, in their order, and those that only B has.
    pub(crate) cells: Vec<CellComparison>,
}

impl Comparison {
    /// Compares B with A. The noise is the host's, if there is a history.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn new(
        a: &Side,
        b: &Side,
        decided_by: Statistic,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        Self::named(["A", "B"], a, b, decided_by, history)
    }

    /// The same, with other names for A and B in the reasons.
    pub(super) fn named(
        names: [&str; 2],
        a: &Side,
        b: &Side,
        decided_by: Statistic,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        let mut known = history.map(Known::new);
        let (these, those) = (&a.report.results, &b.report.results);
        let of_a = these.iter().map(|one| (Some(one), counterpart(one, these, those)));
        let only_b = those.iter().filter(|other| counterpart(other, those, these).is_none());
        let mut cells = Vec::new();
        for (one, other) in of_a.chain(only_b.map(|other| (None, Some(other)))) {
            let noise =
                |one: &_, other: &_| Noise::of((&a.report, one), (&b.report, other), b.run, known.as_mut());
            cells.push(compare_cells(names, [&a.report, &b.report], [one, other], decided_by, noise)?);
        }
        Ok(Self {
            schema: 1,
            a: SideSummary::of(a),
            b: SideSummary::of(b),
            same_run: a.is(b),
            decided_by,
            differences: differences::between(&a.report, &b.report),
            cells,
        })
    }

    /// Whether nothing could be compared.
    pub(crate) fn is_empty(&self) -> bool {
        let incomparable = [Verdict::NotComparable, Verdict::Inconclusive];
        self.cells.iter().all(|cell| incomparable.contains(&cell.verdict))
    }

    /// Writes text: what is compared, what else differs, and a block for each cell.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "A: {}\nB: {}", self.a, self.b)?;
        writeln!(out, "between them: {}", in_one_line(&self.differences))?;
        if self.same_run {
            writeln!(out, "{SAME_RUN}")?;
        }
        for cell in &self.cells {
            writeln!(out, "\n{}: {}", cell.cell, cell.verdict_text())?;
            for change in &cell.changes {
                let line = format!(
                    "\t{:<6}  {:>9} → {:<9}  {:<32}{}",
                    change.statistic.label(),
                    latency(change.a_ns),
                    latency(change.b_ns),
                    change_text(change.change_fraction, change.confidence_95),
                    if change.real { "  real" } else { "" }
                );
                writeln!(out, "{}", line.trim_end())?;
            }
            if !cell.left_out.is_empty() {
                let all: Vec<&str> = cell.left_out.iter().map(|statistic| statistic.label()).collect();
                writeln!(out, "\t{}: too few rounds per trial", all.join(", "))?;
            }
            if let (Some(noise), Some(change)) = (&cell.noise, cell.change(self.decided_by)) {
                let fraction = unsigned(change.noise_fraction);
                let source = match noise.source {
                    NoiseSource::History { steps } => {
                        format!("from {steps} steps between unchanged runs of the history")
                    }
                    NoiseSource::Trials { pairs } => format!("from {pairs} pairs of trials of these runs"),
                    NoiseSource::Resolution => "the smallest step of clock and histogram".to_owned(),
                };
                writeln!(out, "\tnoise of {}: {fraction}, {source}", change.statistic.label())?;
            }
        }
        let any_real = self.cells.iter().flat_map(|cell| &cell.changes).any(|change| change.real);
        if any_real && self.cells.len() > 1 {
            writeln!(out, "\nOne comparison of equal things in twenty shows a difference by chance.")?;
        }
        Ok(())
    }

    /// Writes Markdown: the same as a table.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        // A bar would end a table's cell.
        let escape = |text: String| text.replace('|', "\\|");
        writeln!(out, "- A: {}\n- B: {}", escape(self.a.to_string()), escape(self.b.to_string()))?;
        writeln!(out, "- Between them: {}\n", escape(in_one_line(&self.differences)))?;
        if self.same_run {
            writeln!(out, "{SAME_RUN}\n")?;
        }
        let shown: Vec<Statistic> = COMPARED
            .into_iter()
            .filter(|statistic| self.cells.iter().any(|cell| cell.change(*statistic).is_some()))
            .collect();
        let heads: String = shown.iter().map(|statistic| format!(" {} |", statistic.label())).collect();
        writeln!(out, "| cell | verdict |{heads}\n|---|---|{}", "---:|".repeat(shown.len()))?;
        for cell in &self.cells {
            write!(out, "| `{}` | {} |", cell.cell, escape(cell.verdict_text()))?;
            for statistic in &shown {
                let text = cell.change(*statistic).map_or("-".to_owned(), |change| {
                    let strong = if change.real { "**" } else { "" };
                    let (by, interval) =
                        (signed(change.change_fraction), interval_text(change.confidence_95));
                    format!("{strong}{by}{strong} {interval}")
                });
                write!(out, " {text} |")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

const SAME_RUN: &str = "A and B are the same run, which makes the comparison meaningless.";

/// A fraction in percent, without a sign.
pub(super) fn unsigned(fraction: f64) -> String {
    signed(fraction).replace('+', "")
}

/// Compares a cell of A, B or both.
fn compare_cells(
    names: [&str; 2],
    reports: [&Report; 2],
    cells: [Option<&CellReport>; 2],
    decided_by: Statistic,
    noise: impl FnOnce(&CellReport, &CellReport) -> Result<Noise, HistoryError>,
) -> Result<CellComparison, HistoryError> {
    let mut found = CellComparison {
        cell: cells.iter().rev().flatten().next().map_or_else(String::new, |cell| cell.cell.clone()),
        verdict: Verdict::NotComparable,
        reason: None,
        other_cpus: None,
        noise: None,
        changes: Vec::new(),
        left_out: Vec::new(),
    };
    let [Some(one), Some(other)] = cells else {
        let name = names[usize::from(cells[0].is_none())];
        found.reason = Some(Reason::new("only_in_one", format!("only {name} has it")));
        return Ok(found);
    };
    if let Some((verdict, reason)) = obstacle(names, reports, [one, other], decided_by) {
        (found.verdict, found.reason) = (verdict, Some(reason));
        return Ok(found);
    }
    let noise = noise(one, other)?;
    found.changes =
        COMPARED.into_iter().filter_map(|statistic| Change::of(statistic, one, other, &noise)).collect();
    found.left_out = COMPARED.into_iter().filter(|statistic| found.change(*statistic).is_none()).collect();
    found.verdict = found.change(decided_by).map_or(Verdict::NoDifference, Change::verdict);
    found.noise = Some(noise);
    let shown = |cpu: Option<u32>| cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
    let pair = |cell: &CellReport| format!("{}→{}", shown(cell.client_cpu), shown(cell.server_cpu));
    let (a, b) = (pair(one), pair(other));
    found.other_cpus = (a != b).then(|| format!("CPUs {a} and {b}"));
    Ok(found)
}

/// Why two cells cannot be compared.
fn obstacle(
    names: [&str; 2],
    reports: [&Report; 2],
    cells: [&CellReport; 2],
    decided_by: Statistic,
) -> Option<(Verdict, Reason)> {
    let not_comparable = |reason| Some((Verdict::NotComparable, reason));
    if let Some(what) = other_settings(cells[0], cells[1]) {
        return not_comparable(Reason::new("other_settings", format!("different settings: {what}")));
    }
    if let Some((name, _)) = names.iter().zip(cells).find(|(_, cell)| cell.error.is_some()) {
        return not_comparable(Reason::new("broke_off", format!("it failed in {name}")));
    }
    if let Some(reason) = obstacle_of_runs(reports[0], reports[1]) {
        return not_comparable(reason);
    }
    // Both were measured, and a longer run would be conclusive.
    let too_few = names.iter().zip(cells).find_map(|(name, cell)| {
        let trials = cell.trials.len();
        match over_trials(cell, common_headline(cells[0], cells[1]), decided_by) {
            _ if trials < 2 => Some(Reason::new(
                "too_few_trials",
                format!("{name} has {trials} of the 2 trials that a confidence interval needs (--trials 5)"),
            )),
            Err(lacking) => Some(Reason::new(
                "too_few_rounds",
                format!(
                    "{name} has too few rounds for a {} in {lacking} of {trials} trials (-n, --duration)",
                    decided_by.label()
                ),
            )),
            Ok(_) => None,
        }
    });
    too_few.map(|reason| (Verdict::Inconclusive, reason))
}

/// What two cells are compared by. An older run has no response times per trial.
fn common_headline(one: &CellReport, other: &CellReport) -> HeadlineOf {
    if one.headline_of == other.headline_of { one.headline_of } else { HeadlineOf::RoundTrip }
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

/// The differing settings of two cells of a method and size: `placement unpinned and same-core`.
fn other_settings(one: &CellReport, other: &CellReport) -> Option<String> {
    let settings = |cell: &CellReport| {
        let options: Vec<String> =
            cell.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let pace = match (cell.gap_ns, cell.interval_ns) {
            (Some(gap), _) => format!("a gap of {}", latency(gap as f64)),
            (None, Some(interval)) => format!("a round every {}", latency(interval as f64)),
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

/// Why no cells of two runs can be compared.
pub(in crate::client) fn obstacle_of_runs(a: &Report, b: &Report) -> Option<Reason> {
    let batch = |timing: &str| timing.strip_prefix("batch:").unwrap_or("each round").to_owned();
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let facts = |report: &Report| {
        [
            ("architecture", known(&report.environment.architecture)),
            ("CPU", known(&report.environment.cpu.model)),
            ("build", report.environment.build.profile.clone()),
            ("timing, rounds per sample", batch(&report.settings.timing)),
        ]
    };
    let ((what, a), (_, b)) = facts(a).into_iter().zip(facts(b)).find(|(a, b)| a != b)?;
    Some(Reason::new("other", format!("different {what}: {a} and {b}")))
}

/// The cell of `there` to compare one of `here` with: the same; or, if both have a single cell of its method and size,
/// that one, to report what differs.
fn counterpart<'a>(
    cell: &CellReport,
    here: &[CellReport],
    there: &'a [CellReport],
) -> Option<&'a CellReport> {
    let alike = |other: &&CellReport| other.method == cell.method && other.size_bytes == cell.size_bytes;
    let only = || {
        let mut all = there.iter().filter(alike);
        all.next().filter(|_| all.next().is_none() && here.iter().filter(alike).count() == 1)
    };
    // The CPUs that a placement was resolved to may differ.
    let same = |other: &&CellReport| alike(other) && other_settings(cell, other).is_none();
    there.iter().find(same).or_else(only)
}
