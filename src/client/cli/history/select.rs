//! Which history, and which of its runs and results, a command is about.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::client::Failure;
use crate::client::history::{Filter, History, HistoryError, Label, Pick, history_path, read_lines};
use crate::client::host::placement::Placement;
use crate::client::judge::compare::Side;
use crate::client::plan::selection::{Meaning, UnknownName, meaning};
use crate::client::report::{Report, SCHEMA};
use crate::diagnostics::{error_chain, print_line};
use crate::exit::Exit;
use crate::protocol::Wait;
use crate::units;

/// The longest file that is read as a report.
const MAX_REPORT: u64 = 256 << 20;

/// Which history.
#[derive(Debug, Args)]
pub(crate) struct LocationArgs {
    /// The history [default: $IPCD_HISTORY, else history.sqlite in $STATE_DIRECTORY or $XDG_STATE_HOME/ipcd].
    #[arg(long, value_name = "FILE", global = true)]
    history: Option<PathBuf>,
}

impl LocationArgs {
    /// The existing history.
    pub(crate) fn open(&self) -> Result<History, HistoryError> {
        History::open(&history_path(self.history.as_deref())?)
    }

    /// The history, created if it does not exist.
    pub(super) fn create(&self) -> Result<History, HistoryError> {
        History::create(&history_path(self.history.as_deref())?)
    }

    /// The history, if it exists: files can be compared without one.
    pub(crate) fn open_if_any(&self) -> Result<Option<History>, Failure> {
        match self.open() {
            Ok(history) => Ok(Some(history)),
            Err(HistoryError::NotThere(_) | HistoryError::NoPlace) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, or all runs of a baseline; the newest first.
    pub(crate) fn runs(
        &self,
        pick: &Pick,
        history: Option<&History>,
        filter: &Filter,
    ) -> Result<Vec<Side>, Failure> {
        match (pick, history) {
            (Pick::Named(..), Some(history)) => {
                let mut runs = Side::all_recorded(pick, history)?;
                runs.iter_mut().for_each(|run| run.report.results.retain(|cell| filter.matches(cell)));
                Ok(runs)
            }
            _ => Ok(vec![self.run(pick, history, filter)?]),
        }
    }

    /// A run of the history or a file, with the cells that the filter matches.
    pub(crate) fn run(
        &self,
        pick: &Pick,
        history: Option<&History>,
        filter: &Filter,
    ) -> Result<Side, Failure> {
        let mut run = match (pick, history) {
            (Pick::File(path), _) => read_file(path)?,
            (_, Some(history)) => Side::recorded(pick, history)?,
            // Fails with the reason why there is none.
            (_, None) => Side::recorded(pick, &self.open()?)?,
        };
        run.report.results.retain(|cell| filter.matches(cell));
        Ok(run)
    }
}

/// Reads a file of at most this size.
pub(crate) fn read_text(path: &Path, max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(max).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a report that `bench --format json` wrote, or one exported run.
fn read_file(path: &Path) -> Result<Side, Failure> {
    let failure =
        |error: String| Failure::new(Exit::Failure, format!("{} cannot be read: {error}", path.display()));
    let text = read_text(path, MAX_REPORT).map_err(|error| failure(error.to_string()))?;
    let side =
        |uuid, label, report| Side { name: path.display().to_string(), run: None, uuid, label, report };
    if text.trim_start().starts_with("{\"ipcd_history\"") {
        let mut runs = read_lines(text.as_bytes());
        let first = runs.next().unwrap_or_else(|| unreachable!("the text starts with one"));
        let run = first.map_err(|error| failure(error_chain(&error)))?;
        return match runs.next() {
            None => Ok(side(Some(run.uuid), run.label, run.report)),
            Some(_) => Err(failure("it has several runs: import them, and name one of them".to_owned())),
        };
    }
    let mut report: Report = serde_json::from_str(&text).map_err(|error| {
        failure(format!("neither a report of \"bench --format json\" nor an exported run: {error}"))
    })?;
    if report.schema != SCHEMA {
        return Err(failure(format!("it has schema {}; this ipc-client reads {SCHEMA}", report.schema)));
    }
    report.results.iter_mut().for_each(|cell| cell.complete());
    Ok(side(None, None, report))
}

/// Reports that a filter matches nothing, or that the history is empty.
pub(crate) fn report_empty(history: &History) -> Result<Exit, Failure> {
    if history.is_empty()? {
        let path = history.path().display();
        print_line(format_args!(
            "ipc-client: the history {path} is empty: \"ipc-client bench --record\" and \"history import\" add runs"
        ));
    } else {
        print_line(format_args!("ipc-client: no matching runs"));
    }
    Ok(Exit::Nothing)
}

/// A filter of cells.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct CellArgs {
    /// Methods or groups, separated by commas.
    #[arg(short, long = "method", value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
    /// Payload bytes each way, separated by commas.
    #[arg(long = "size", value_name = "BYTES,...", value_delimiter = ',', value_parser = units::parse_size)]
    sizes: Vec<u32>,
    /// How both sides waited: block, spin, adaptive.
    #[arg(long = "wait", value_name = "WAIT,...", value_delimiter = ',')]
    waits: Vec<Wait>,
    /// Where the two sides ran: unpinned, same-core, smt, cross-core, cross-socket.
    #[arg(long = "placement", value_name = "PLACEMENT,...", value_delimiter = ',')]
    placements: Vec<Placement>,
}

impl CellArgs {
    /// The filter, without conditions on runs.
    pub(crate) fn filter(&self) -> Result<Filter, Failure> {
        let mut methods = Vec::new();
        for name in self.methods.iter().filter(|name| !name.trim().is_empty()) {
            match meaning(name) {
                Ok(Meaning::One(mechanism)) => methods.push(mechanism.info().name.to_owned()),
                Ok(Meaning::Several(group)) => {
                    methods.extend(group.iter().map(|mechanism| mechanism.info().name.to_owned()));
                }
                // This build lacks it; the history may have it.
                Err(UnknownName::Feature { name }) => methods.push(name),
                Err(error) => return Err(Failure::usage(error)),
            }
        }
        let (sizes, waits, placements) = (self.sizes.clone(), self.waits.clone(), self.placements.clone());
        Ok(Filter { methods, sizes, waits, placements, ..Filter::default() })
    }
}

/// A filter of runs.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct RunsArgs {
    /// Runs since then: an age such as 7d, or a time such as 2026-03-01 or 2026-03-01T12:30:00Z (UTC).
    #[arg(long, value_name = "WHEN", value_parser = units::parse_date)]
    since: Option<u64>,
    /// Runs that began before then: an age or a time.
    #[arg(long, value_name = "WHEN", value_parser = units::parse_date)]
    until: Option<u64>,
    /// Runs of these hosts, separated by commas.
    #[arg(long = "host", value_name = "NAME,...", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Runs with this label.
    #[arg(long, value_name = "NAME")]
    label: Option<Label>,
}

impl RunsArgs {
    /// Adds these conditions to a filter.
    pub(crate) fn narrow(&self, filter: Filter) -> Filter {
        Filter {
            hosts: self.hosts.clone(),
            label: self.label.clone(),
            since_unix_s: self.since,
            until_unix_s: self.until,
            ..filter
        }
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self { advice: error.advice().map(str::to_owned), exit: error.exit(), error: error.into() }
    }
}
