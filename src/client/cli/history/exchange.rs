//! Recorded runs out of and into files: `history export`, `history import`, and `export` for Prometheus.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::select::{CellArgs, LocationArgs, RunsArgs, report_empty};
use crate::client::Failure;
use crate::client::export::prometheus;
use crate::client::history::{Filter, HistoryError, ImportError, Imported, LineError, Pick, write_line};
use crate::client::report::file;
use crate::diagnostics::{error_chain, print_line, to_stdout};
use crate::exit::Exit;
use crate::units::counted;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The runs: ids, last, last~1, baselines, labels; without any, all that match the filters.
    #[arg(value_name = "RUN")]
    picks: Vec<Pick>,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Write them to this file, completely or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

pub(super) fn export(location: &LocationArgs, args: &ExportArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    if !args.picks.is_empty() && filter != Filter::default() {
        return Err(Failure::usage("name runs or give a filter, not both"));
    }
    let history = location.open()?;
    let mut ids = args.picks.iter().map(|pick| history.find(pick)).collect::<Result<Vec<_>, _>>()?;
    if args.picks.is_empty() {
        history.runs(&filter, None, |row| {
            ids.push(row.id);
            Ok::<_, HistoryError>(())
        })?;
        // In the order in which they happened.
        ids.reverse();
    }
    if ids.is_empty() {
        return report_empty(&history);
    }
    let mut unreadable = None;
    let mut write = |out: &mut dyn Write| {
        ids.iter().try_for_each(|id| match history.run(*id) {
            Ok(run) => write_line(&run, out),
            Err(error) => {
                unreadable = Some(error);
                Err(io::Error::other("a run cannot be read"))
            }
        })
    };
    let written = if args.output == Path::new("-") {
        to_stdout(&mut write).map_err(file::FileError::stdout)
    } else {
        file::write_whole(&args.output, &mut write)
    };
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    written?;
    print_line(format_args!("ipc-client: {} exported", counted(ids.len() as u64, "run")));
    Ok(Exit::Success)
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exports the latest result of each cell that matches the filters. \"ipcd start --metrics\" serves such a file beside its own \
counters, and the textfile collector of Prometheus' node exporter reads it. docs/metrics.md describes the metrics.\n\n\
Exit code 14: there is no history, or no matching run in it; FILE is left unchanged.")]
pub(crate) struct PrometheusArgs {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Write the metrics, in Prometheus' text format, to this file, completely or not at all, and readable for every user;
    /// - is stdout.
    #[arg(long, value_name = "FILE", required = true)]
    prometheus: PathBuf,
}

pub(crate) fn export_prometheus(args: &PrometheusArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = args.location.open()?;
    let exported = prometheus(&history, &filter)?;
    if exported.results == 0 {
        return report_empty(&history);
    }
    if args.prometheus == Path::new("-") {
        to_stdout(|out| out.write_all(exported.text.as_bytes()))?;
    } else {
        file::write_for_all(&args.prometheus, |out| out.write_all(exported.text.as_bytes()))?;
        let (results, path) = (exported.results, args.prometheus.display());
        print_line(format_args!("ipc-client: {results} results exported to {path}"));
    }
    Ok(Exit::Success)
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The files; - is stdin.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Skip lines that are not runs, and report them.
    #[arg(long)]
    skip_damaged: bool,
}

/// Skipped lines that are reported one by one; more are counted.
const REPORTED: u64 = 20;

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be imported", path.display())]
struct FileError {
    path: PathBuf,
    source: ImportError,
}

pub(super) fn import(location: &LocationArgs, args: &ImportArgs) -> Result<Exit, Failure> {
    // Before a history is created for them.
    for path in &args.files {
        open(path).map_err(|error| failure(path, ImportError::Read(error), Imported::default()))?;
    }
    let mut history = location.create()?;
    let mut all = 0;
    for path in &args.files {
        let mut imported = Imported::default();
        let mut skipped = 0;
        let skip = |error: LineError| {
            if !args.skip_damaged {
                return Err(error);
            }
            skipped += 1;
            if skipped <= REPORTED {
                print_line(format_args!("ipc-client: {}: skipped: {}", path.display(), error_chain(&error)));
            }
            Ok(())
        };
        let result = open(path)
            .map_err(ImportError::Read)
            .and_then(|lines| history.import(lines, &mut imported, skip));
        let Imported { new, known, damaged } = imported;
        if result.is_ok() || imported != Imported::default() {
            let (from, into) = (path.display(), history.path().display());
            let skipped = match damaged {
                0 => String::new(),
                1 => ", 1 line skipped that is not a run".to_owned(),
                damaged => format!(", {damaged} lines skipped that are not runs"),
            };
            let (new, were) = (counted(new, "run"), if known == 1 { "was" } else { "were" });
            print_line(format_args!(
                "ipc-client: {from}: {new} imported into {into}, {known} {were} there already{skipped}"
            ));
        }
        result.map_err(|error| failure(path, error, imported))?;
        if damaged > 0 && new + known == 0 {
            return Err(Failure::new(Exit::Failure, format!("{} has no run", path.display())));
        }
        all += new + known;
    }
    // One of several files may be empty.
    if all == 0 {
        let advice = Some("\"ipc-client history export\" writes the format that import reads".to_owned());
        return Err(Failure { advice, ..Failure::new(Exit::Failure, "the input has no run") });
    }
    Ok(Exit::Success)
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 16, File::open(path)?)))
}

fn failure(path: &Path, error: ImportError, imported: Imported) -> Failure {
    let kept = (imported != Imported::default())
        .then_some("imported runs are kept; repeating the import continues after them");
    let skip = match &error {
        ImportError::Line(LineError { number, .. }) => {
            Some(format!("remove line {number}, or skip all such lines with --skip-damaged"))
        }
        _ => None,
    };
    let advice: Vec<String> = skip.into_iter().chain(kept.map(str::to_owned)).collect();
    match error {
        ImportError::History(error) => error.into(),
        source => Failure {
            advice: (!advice.is_empty()).then(|| advice.join("; ")),
            ..Failure::new(Exit::Failure, FileError { path: path.to_owned(), source })
        },
    }
}
