//! Two runs beside each other: by how much each cell differs, whether that is real, and what else differs.
//!
//! A difference is real only if chance does not explain it (the 95 % confidence interval over trials excludes zero) and
//! it is larger than what this host shows where nothing differs (its A/A noise, [`Noise`]). `docs/history.md` has the
//! rules.

mod cell;
mod circumstances;
mod known;
mod noise;
mod text;

use serde::Serialize;
use uuid::Uuid;

pub(crate) use cell::{CellComparison, Change, Reason, Verdict};
pub(in crate::client) use cell::{obstacle_of_runs, over_trials};
pub(crate) use circumstances::{Circumstance, Conditions};
pub(crate) use known::Known;
pub(crate) use noise::{Noise, NoiseSource};
pub(crate) use text::{write_markdown, write_text};

use super::warnings::Grade;
use crate::client::history::{History, HistoryError, Pick};
use crate::client::host::Difference;
use crate::client::report::{CellReport, Report};
use crate::client::stats::Statistic;

/// The statistics that are compared.
pub(crate) const COMPARED: [Statistic; 6] =
    [Statistic::P50, Statistic::P90, Statistic::P99, Statistic::P99_9, Statistic::P99_99, Statistic::Mean];

/// A run that is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// How it was named.
    pub name: String,
    /// Its id, if it comes from the history.
    pub run: Option<i64>,
    /// Its name in all histories, if it has been in one.
    pub uuid: Option<Uuid>,
    /// Its label.
    pub label: Option<String>,
    /// What it told.
    pub report: Report,
}

impl Side {
    /// The run of the history that is meant.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn recorded(pick: &Pick, history: &History) -> Result<Self, HistoryError> {
        let run = history.run(history.find(pick)?)?;
        Ok(Self {
            name: pick.to_string(),
            run: Some(run.id),
            uuid: Some(run.uuid),
            label: run.label,
            report: run.report,
        })
    }
}

/// What is told of a side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideSummary {
    /// How it was named.
    pub name: String,
    /// Its id, if it comes from the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// Its name in all histories, if it has been in one.
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

/// Two runs, A and B, beside each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The version of this layout.
    pub schema: u32,
    /// The earlier one, or the one that is compared with.
    pub a: SideSummary,
    /// The other one.
    pub b: SideSummary,
    /// Whether both are one and the same run, of which nothing can be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub same_run: bool,
    /// The statistic that decides the verdicts.
    pub decided_by: Statistic,
    /// What else differs from A to B.
    pub differences: Vec<Difference>,
    /// The cells of A, in their order, and those that only B has.
    pub cells: Vec<CellComparison>,
}

impl Comparison {
    /// Compares B with A. The history, if there is one, tells the host's noise.
    ///
    /// # Errors
    /// The history's.
    pub fn new(
        a: &Side,
        b: &Side,
        decided_by: Statistic,
        history: Option<&History>,
    ) -> Result<Self, HistoryError> {
        let mut known = history.map(Known::new);
        let mut cells = Vec::new();
        for one in &a.report.results {
            let other = counterpart(one, &a.report.results, &b.report.results);
            cells.push(CellComparison::new(a, b, Some(one), other, decided_by, known.as_mut())?);
        }
        for other in &b.report.results {
            if counterpart(other, &b.report.results, &a.report.results).is_none() {
                cells.push(CellComparison::new(a, b, None, Some(other), decided_by, known.as_mut())?);
            }
        }
        Ok(Self {
            schema: 1,
            a: SideSummary::of(a),
            b: SideSummary::of(b),
            same_run: a.is(b),
            decided_by,
            differences: circumstances::between(&a.report, &b.report),
            cells,
        })
    }

    /// Whether anything could be compared.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.verdict == Verdict::NotComparable)
    }
}

impl Side {
    /// Whether this is that run, whatever each was named by.
    #[must_use]
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self.uuid, other.uuid) {
            (Some(one), Some(other)) => one == other,
            // Files of reports, which have none.
            _ => self.report == other.report,
        }
    }
}

impl SideSummary {
    /// Of this side.
    #[must_use]
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

/// The cell of `there` that one of `here` is put beside: the same; or, where both have one only of its method and size, that
/// one, which says what differs.
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
    there.iter().find(|other| same_cell(cell, other)).or_else(only)
}

/// Whether two results are of one thing. Which CPUs a placement came to is the host's affair.
pub(in crate::client) fn same_cell(a: &CellReport, b: &CellReport) -> bool {
    let key = |cell: &CellReport| {
        (
            cell.method.clone(),
            cell.options.clone(),
            cell.size_bytes,
            cell.wait,
            cell.placement,
            (cell.gap_ns, cell.interval_ns, cell.parallel),
        )
    };
    key(a) == key(b)
}
