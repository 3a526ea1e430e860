//! Runs side by side: how much each cell differs, whether that is real, and what else differs.
//!
//! One verdict holds for `compare` and `check`: a change counts if its 95 % interval, which has the spread between
//! unchanged runs in it ([`Noise`]), is beyond the limit, whatever the number of cells. `docs/statistics.md` has the rules.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::differences::{self, Difference, in_one_line};
use super::noise::{Measured, NoiseSource, over_trials};
use super::warnings::Grade;
use crate::client::history::{History, HistoryError, Pick};
use crate::client::report::{CellReport, HeadlineOf, Report, short_names};
use crate::client::stats::{
    Interval, RunEstimate, RunSpread, Statistic, compare_groups, geometric_mean, holm,
};
use crate::exit::Exit;
use crate::units::{began, counted, latency, signed, tally};

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

    /// The runs of the history that this names: several, if it is a baseline of several; the newest first.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub(crate) fn all_recorded(pick: &Pick, history: &History) -> Result<Vec<Self>, HistoryError> {
        let side = |id| Ok(Self { name: pick.to_string(), ..Self::recorded(&Pick::Id(id), history)? });
        history.find_all(pick)?.into_iter().map(side).collect()
    }

    /// One of its cells.
    pub(super) fn measured<'a>(&'a self, cell: &'a CellReport, of: HeadlineOf) -> Measured<'a> {
        Measured { run: self.run, report: &self.report, cell, of }
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
    /// Its id, if it comes from the history; of several runs, the newest one's, as all that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// The ids of all runs, the newest first, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<i64>,
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
    pub(crate) fn of(sides: &[Side]) -> Self {
        let [side, others @ ..] = sides else { unreachable!("what is compared has a run") };
        Self {
            name: side.name.clone(),
            run: side.run,
            runs: if others.is_empty() {
                Vec::new()
            } else {
                sides.iter().filter_map(|side| side.run).collect()
            },
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
                match self.runs.len() {
                    0 => parts.extend(run.map(|run| format!("run {run}"))),
                    count => parts.push(format!("{count} runs, the newest {}", self.runs[0])),
                }
            }
        }
        parts.extend(
            self.label.iter().filter(|label| **label != self.name).map(|label| format!("label {label}")),
        );
        parts.push(began(self.started_unix_s));
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
    /// A's figure: the median over the trials of a run; of several runs, the geometric mean.
    pub a_ns: f64,
    /// B's figure.
    pub b_ns: f64,
    /// From A to B, as a fraction of A: above 0 is slower.
    pub change_fraction: f64,
    /// Its 95 % interval, the spread between runs included.
    pub confidence_95: Interval,
    /// The smallest change that these runs can show.
    pub noise_fraction: f64,
    /// Whether the verdict is that there is one; only for the deciding statistic, the others are estimates.
    pub real: bool,
    #[serde(skip)]
    estimate: RunEstimate,
}

impl Change {
    /// The change of a statistic, if all trials have it.
    fn of(statistic: Statistic, [a, b]: [&[Measured<'_>]; 2], noise: &Noise) -> Option<Self> {
        let figures = |side: &[Measured<'_>]| -> Option<Vec<f64>> {
            side.iter().map(|run| run.figure(statistic)).collect()
        };
        let trials = |side: &[Measured<'_>]| -> Option<Vec<f64>> {
            let runs: Option<Vec<Vec<f64>>> = side.iter().map(|run| run.trials(statistic).ok()).collect();
            Some(runs?.concat())
        };
        let (a_ns, b_ns) = (geometric_mean(&figures(a)?)?, geometric_mean(&figures(b)?)?);
        let Interval { low, high } = compare_groups(&trials(a)?, &trials(b)?)?.interval;
        let share = 1.0 / a.len() as f64 + 1.0 / b.len() as f64;
        let within = ((1.0 + high) / (1.0 + low)).ln() / 2.0;
        let step = step([a, b].concat().iter(), a_ns.min(b_ns));
        let estimate = RunEstimate::new(b_ns / a_ns, share, &noise.spread(statistic), within, step);
        let Interval { low, high } = estimate.interval();
        Some(Self {
            statistic,
            a_ns,
            b_ns,
            change_fraction: estimate.value() - 1.0,
            confidence_95: Interval { low: low - 1.0, high: high - 1.0 },
            noise_fraction: estimate.half_width().exp_m1(),
            real: false,
            estimate,
        })
    }
}

/// The width of a bucket of a histogram with three digits.
const BUCKET: f64 = 0.001;

/// The smallest change of a figure that clock and histogram can show, in logarithms.
pub(super) fn step<'a>(runs: impl Iterator<Item = &'a Measured<'a>>, ns: f64) -> f64 {
    let clock = runs.map(|run| run.report.clock.resolution_ns).fold(0.0, f64::max);
    BUCKET.max(clock / ns).ln_1p()
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
    /// The method, and what distinguishes it from the comparison's other cells of that method.
    #[serde(skip)]
    short: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The pinned CPUs of A and B, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpus: Option<String>,
    /// How many runs of A and B have it.
    pub runs: [usize; 2],
    /// Where the spread between runs comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseOrigin>,
    /// How far rounds, trials and runs lie apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Levels>,
    /// The change of each statistic that all trials have.
    pub changes: Vec<Change>,
    /// The statistics that a trial lacks because it had too few rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Statistic>,
}

/// The noise in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct NoiseOrigin {
    pub source: NoiseSource,
}

/// Standard deviations of the deciding statistic, as fractions of it: of rounds in a trial, of trials in a run, and of runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Levels {
    /// Half of the distance between the 16 % and the 84 % quantile of B's rounds, as a fraction of their median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_fraction: Option<f64>,
    /// Over the trials of all compared runs, each beside its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_fraction: Option<f64>,
    /// Over unchanged runs, what their trials add to it taken off; missing with fewer than six.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_fraction: Option<f64>,
}

impl Levels {
    fn of(sides: [&[Measured<'_>]; 2], statistic: Statistic, runs: RunSpread) -> Self {
        let mut trials = RunSpread::default();
        let all = || sides.into_iter().flatten();
        all().filter_map(|run| run.trials(statistic).ok()).for_each(|values| trials.add(&values));
        let of_trials = trials.variance();
        // A median of n values varies by π/2n of their variance.
        let each = all().map(|run| run.cell.trials.len()).min().unwrap_or(1) as f64;
        let of_medians = of_trials.unwrap_or(0.0) * std::f64::consts::FRAC_PI_2 / each;
        let rounds = sides[1].first().map(|run| &run.cell.histogram).filter(|rounds| !rounds.is_empty());
        Self {
            round_fraction: rounds.map(|rounds| {
                let at = |quantile| rounds.value_at_quantile(quantile) as f64;
                (at(0.84) - at(0.16)) / (2.0 * at(0.5))
            }),
            trial_fraction: of_trials.map(f64::sqrt),
            run_fraction: runs.sd().map(|sd| (sd * sd - of_medians).max(0.0).sqrt()),
        }
    }
}

impl CellComparison {
    /// The change of one statistic, if all trials have it.
    pub(crate) fn change(&self, statistic: Statistic) -> Option<&Change> {
        self.changes.iter().find(|change| change.statistic == statistic)
    }

    /// The tail's change, if its interval is beyond [`TAIL`] and the deciding statistic shows no difference.
    fn changed_tail(&self, decided_by: Statistic) -> Option<&Change> {
        let is_beyond = |change: &&Change| {
            let Interval { low, high } = change.confidence_95;
            change.statistic != decided_by && (low > TAIL || high < -TAIL)
        };
        let tail = [Statistic::P99, Statistic::P90].into_iter().filter_map(|tail| self.change(tail));
        tail.filter(|_| self.verdict == Verdict::NoDifference).find(is_beyond)
    }

    /// Its name, its figures, and its verdict; `None` if nothing changed and `all` is false.
    fn row(&self, decided_by: Statistic, all: bool) -> Option<[String; 3]> {
        let tail = self.changed_tail(decided_by);
        if !all && self.verdict == Verdict::NoDifference && tail.is_none() {
            return None;
        }
        let figures = self.change(decided_by).map_or_else(String::new, |change| {
            let (a, b) = (latency(change.a_ns), latency(change.b_ns));
            format!("{a} → {b}, {}", change_text(change.change_fraction, change.confidence_95))
        });
        let mut verdict = self.verdict_text();
        verdict.extend(
            tail.map(|tail| format!("; {} {}", tail.statistic.label(), signed(tail.change_fraction))),
        );
        Some([self.short.clone(), figures, verdict])
    }

    /// Everything known about it.
    fn write_block(&self, decided_by: Statistic, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}: {}", self.short, self.verdict_text())?;
        for change in &self.changes {
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
        if !self.left_out.is_empty() {
            let all: Vec<&str> = self.left_out.iter().map(|statistic| statistic.label()).collect();
            writeln!(out, "\t{}: too few rounds per trial", all.join(", "))?;
        }
        if let (Some(noise), Some(change)) = (&self.noise, self.change(decided_by)) {
            let (label, smallest) = (change.statistic.label(), unsigned(change.noise_fraction));
            writeln!(
                out,
                "\t{label}: differences below {smallest} cannot be shown ({})",
                noise.source.text()
            )?;
        }
        Ok(())
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

/// What chance alone does to the verdicts of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct FalseAlarms {
    /// The cells that are judged.
    cells: usize,
    /// How their number is accounted for.
    control: &'static str,
    /// The most verdicts of a difference to expect, on average, where nothing differs.
    expected: f64,
    /// How many intervals exclude zero then.
    expected_intervals: f64,
}

/// A and B, side by side: each is a run, or several.
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
    /// How many false alarms to expect.
    pub(crate) false_alarms: FalseAlarms,
    /// What else differs from A to B.
    pub(crate) differences: Vec<Difference>,
    /// The cells of A, in their order, and those that only B has.
    pub(crate) cells: Vec<CellComparison>,
}

impl Comparison {
    /// Compares B with A. Of several runs on a side, the first has the settings that are compared. `limit` is how much slower
    /// B may be, as a fraction; without one, any difference counts. The spread between runs comes from the history.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn new(
        a: &[Side],
        b: &[Side],
        decided_by: Statistic,
        limit: Option<f64>,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        Self::named(["A", "B"], a, b, decided_by, limit, history)
    }

    /// The same, with other names for A and B in the reasons.
    pub(super) fn named(
        names: [&str; 2],
        a: &[Side],
        b: &[Side],
        decided_by: Statistic,
        limit: Option<f64>,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        let mut known = history.map(Known::new);
        let ([first_a, ..], [first_b, ..]) = (a, b) else { unreachable!("what is compared has a run") };
        let (these, those) = (&first_a.report.results, &first_b.report.results);
        let of_a = these.iter().map(|one| (Some(one), counterpart(one, these, those)));
        let only_b = those.iter().filter(|other| counterpart(other, those, these).is_none());
        let pairs: Vec<_> = of_a.chain(only_b.map(|other| (None, Some(other)))).collect();
        let mut cells = Vec::new();
        let short = short_names(pairs.iter().filter_map(|(one, other)| other.or(*one)));
        for ((one, other), short) in pairs.into_iter().zip(short) {
            cells.push(compare_cells(names, [a, b], [one, other], short, decided_by, known.as_mut())?);
        }
        let judged = decide(&mut cells, decided_by, limit);
        Ok(Self {
            schema: 1,
            a: SideSummary::of(a),
            b: SideSummary::of(b),
            same_run: a.iter().any(|one| b.iter().any(|other| one.is(other))),
            decided_by,
            false_alarms: FalseAlarms {
                cells: judged,
                control: "holm",
                expected: if judged > 0 { FALSE_ALARMS } else { 0.0 },
                expected_intervals: FALSE_ALARMS * judged as f64,
            },
            differences: differences::between(&first_a.report, &first_b.report),
            cells,
        })
    }

    /// Whether nothing could be compared.
    pub(crate) fn is_empty(&self) -> bool {
        let incomparable = [Verdict::NotComparable, Verdict::Inconclusive];
        self.cells.iter().all(|cell| incomparable.contains(&cell.verdict))
    }

    /// Writes text: what is compared, how many cells differ, and a line for each cell that does; for every cell if there are
    /// few, and every statistic of each with `verbose`.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn write_text(&self, verbose: bool, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "A: {}\nB: {}", self.a, self.b)?;
        writeln!(out, "between them: {}", in_one_line(&self.differences))?;
        if self.same_run {
            writeln!(out, "{SAME_RUN}")?;
        }
        writeln!(out, "\n{}", self.summary())?;
        if verbose {
            return self.cells.iter().try_for_each(|cell| cell.write_block(self.decided_by, out));
        }
        let few = self.cells.len() <= FEW_CELLS;
        let rows: Vec<_> = self.cells.iter().filter_map(|cell| cell.row(self.decided_by, few)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (names, figures) = (width(0), width(1));
        for [name, figure, verdict] in &rows {
            writeln!(out, "  {name:<names$}  {figure:<figures$}  {verdict}")?;
        }
        Ok(())
    }

    /// `p50 of 21 cells: 2 slower, 1 faster, 18 without a difference`.
    fn summary(&self) -> String {
        let count = |verdict: &str| self.cells.iter().filter(|cell| cell.verdict.name() == verdict).count();
        let counts = tally([
            (count("slower"), "slower"),
            (count("faster"), "faster"),
            (count("no_difference"), "without a difference"),
            (count("not_comparable"), "not comparable"),
        ]);
        format!("{} of {}: {counts}", self.decided_by.label(), counted(self.cells.len() as u64, "cell"))
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
            write!(out, "| {} | {} |", escape(cell.short.clone()), escape(cell.verdict_text()))?;
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

/// What did not change has a line each if it is at most this many cells; more are only counted.
pub(super) const FEW_CELLS: usize = 8;

/// A tail that changes by less is not mentioned beside a median that does not change.
const TAIL: f64 = 0.1;

const SAME_RUN: &str = "A and B have a run in common, which makes the comparison meaningless.";

/// How often, at most, a comparison without any difference has a verdict of one.
const FALSE_ALARMS: f64 = 0.05;

/// Gives the cells that can be compared their verdicts, and returns their number. A change counts if its interval is beyond
/// the limit, and still would if the family of all cells had one chance in twenty of a false alarm; it is fine if the
/// upper end of its interval is within the limit.
fn decide(cells: &mut [CellComparison], decided_by: Statistic, limit: Option<f64>) -> usize {
    let mut judged: Vec<(&mut CellComparison, Change)> = cells
        .iter_mut()
        .filter(|cell| cell.reason.is_none())
        .filter_map(|cell| cell.change(decided_by).copied().map(|change| (cell, change)))
        .collect();
    let of_chance: Vec<f64> = judged
        .iter()
        .map(|(_, change)| match limit {
            Some(limit) if change.change_fraction <= limit => 1.0,
            limit => change.estimate.p_value(1.0 + limit.unwrap_or(0.0)),
        })
        .collect();
    let family = holm(&of_chance);
    let count = judged.len();
    for (((cell, change), alone), together) in judged.iter_mut().zip(of_chance).zip(family) {
        let is_beyond = together <= FALSE_ALARMS;
        let inconclusive = |kind, text| (Verdict::Inconclusive, Some(Reason::new(kind, text)));
        (cell.verdict, cell.reason) = match limit {
            _ if is_beyond && change.change_fraction > 0.0 => (Verdict::Slower, None),
            None if is_beyond => (Verdict::Faster, None),
            None => (Verdict::NoDifference, None),
            Some(limit) if change.confidence_95.high <= limit => (Verdict::NoDifference, None),
            Some(_) if alone <= FALSE_ALARMS => inconclusive(
                "by_chance",
                format!("slower than allowed, but one of {count} cells may be by chance"),
            ),
            Some(limit) if change.noise_fraction > limit => inconclusive(
                "noise_hides_limit",
                format!("these runs cannot show less than {}", unsigned(change.noise_fraction)),
            ),
            Some(_) => inconclusive("limit_in_interval", LIMIT_IN_INTERVAL.to_owned()),
        };
        let real = limit.is_none() && is_beyond;
        cell.changes.iter_mut().for_each(|one| one.real = real && one.statistic == decided_by);
    }
    count
}

pub(super) const LIMIT_IN_INTERVAL: &str = "the limit is within the interval";

/// A fraction in percent, without a sign.
pub(super) fn unsigned(fraction: f64) -> String {
    signed(fraction).replace('+', "")
}

/// Compares a cell of A, B or both; [`decide`] gives the verdict.
fn compare_cells(
    names: [&str; 2],
    sides: [&[Side]; 2],
    cells: [Option<&CellReport>; 2],
    short: String,
    decided_by: Statistic,
    known: Option<&mut Known<'_>>,
) -> Result<CellComparison, HistoryError> {
    let mut found = CellComparison {
        cell: cells.iter().rev().flatten().next().map_or_else(String::new, |cell| cell.cell.clone()),
        short,
        verdict: Verdict::NotComparable,
        reason: None,
        other_cpus: None,
        runs: [0; 2],
        noise: None,
        spread: None,
        changes: Vec::new(),
        left_out: Vec::new(),
    };
    let [Some(one), Some(other)] = cells else {
        let name = names[usize::from(cells[0].is_none())];
        found.reason = Some(Reason::new("only_in_one", format!("only {name} has it")));
        return Ok(found);
    };
    let reports = sides.map(|side| &side[0].report);
    if let Some((verdict, reason)) = obstacle(names, reports, [one, other], decided_by) {
        (found.verdict, found.reason) = (verdict, Some(reason));
        return Ok(found);
    }
    let of = common_headline(one, other);
    let [a, b] =
        [(sides[0], one), (sides[1], other)].map(|(side, first)| measured(side, first, of, decided_by));
    let both = [&a[..], &b[..]];
    let noise = Noise::of(both, known)?;
    found.runs = both.map(<[_]>::len);
    found.changes =
        COMPARED.into_iter().filter_map(|statistic| Change::of(statistic, both, &noise)).collect();
    found.left_out = COMPARED.into_iter().filter(|statistic| found.change(*statistic).is_none()).collect();
    if found.change(decided_by).is_none() {
        let text = "a trial that took no time cannot be compared (--timing batch:1000)";
        (found.verdict, found.reason) = (Verdict::Inconclusive, Some(Reason::new("no_time", text)));
        return Ok(found);
    }
    found.verdict = Verdict::NoDifference;
    found.noise = Some(NoiseOrigin { source: noise.source(decided_by) });
    found.spread = Some(Levels::of(both, decided_by, noise.spread(decided_by)));
    let shown = |cpu: Option<u32>| cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
    let pair = |cell: &CellReport| format!("{}→{}", shown(cell.client_cpu), shown(cell.server_cpu));
    let (a, b) = (pair(one), pair(other));
    found.other_cpus = (a != b).then(|| format!("CPUs {a} and {b}"));
    Ok(found)
}

/// The cell in each of a side's runs that was measured as the first was and has the deciding statistic.
fn measured<'a>(
    side: &'a [Side],
    of_first: &'a CellReport,
    of: HeadlineOf,
    decided_by: Statistic,
) -> Vec<Measured<'a>> {
    let usable = |cell: &&CellReport| {
        cell.method == of_first.method
            && cell.size_bytes == of_first.size_bytes
            && other_settings(cell, of_first).is_none()
            && cell.error.is_none()
            && cell.trials.len() >= 2
            && over_trials(cell, of, decided_by).is_ok()
    };
    let alike = |run: &&Side| obstacle_of_runs(&side[0].report, &run.report).is_none();
    let others = side[1..].iter().filter(alike);
    std::iter::once(side[0].measured(of_first, of))
        .chain(others.filter_map(|run| Some(run.measured(run.report.results.iter().find(usable)?, of))))
        .collect()
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
