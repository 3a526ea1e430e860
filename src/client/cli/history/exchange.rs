//! `history export` and `history import`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use super::select::{CellArgs, RunsArgs};
use super::{PlaceArgs, say_nothing};
use crate::client::cli::Failure;
use crate::client::history::{Filter, History, ImportError, Imported, LineError, Pick, write_line};
use crate::client::report::file;
use crate::diagnostics::{error_chain, print_line};
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The runs: ids, last, last~1, baselines, labels; without any, all that the filters let through.
    #[arg(value_name = "RUN")]
    picks: Vec<Pick>,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Where they go: written whole, or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The files; - is stdin.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Pass over lines that are no runs, and tell of them.
    #[arg(long)]
    skip_damaged: bool,
}

/// So many lines that are passed over are told one by one; more are counted.
const TOLD: u64 = 20;

pub(super) fn export(place: &PlaceArgs, args: &ExportArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    if !args.picks.is_empty() && filter != Filter::default() {
        return Err(Failure::usage("runs and a filter are two ways to say which: name one of them"));
    }
    let history = place.open()?;
    let mut ids = Vec::new();
    for pick in &args.picks {
        ids.push(history.find(pick)?);
    }
    if args.picks.is_empty() {
        history.runs(&filter, None, &mut |run| {
            ids.push(run.id);
            ControlFlow::Continue(())
        })?;
        // As they happened.
        ids.reverse();
    }
    if ids.is_empty() {
        say_nothing(&history)?;
        return Ok(Exit::Nothing);
    }
    let mut failure = None;
    let mut write = |out: &mut dyn Write| {
        ids.iter().try_for_each(|id| match history.run(*id) {
            Ok(run) => write_line(&run, out),
            Err(error) => {
                failure = Some(error);
                Err(io::Error::other("a run cannot be read"))
            }
        })
    };
    let written: Result<(), Failure> = if args.output == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        write(&mut out).and_then(|()| out.flush()).map_err(Failure::from)
    } else {
        file::write_whole(&args.output, |out| write(out)).map_err(Failure::from)
    };
    match failure {
        Some(failure) => return Err(failure.into()),
        None => written?,
    }
    print_line(format_args!("ipc-client: {} exported", runs(u64::try_from(ids.len()).unwrap_or(u64::MAX))));
    Ok(Exit::Success)
}

pub(super) fn import(place: &PlaceArgs, args: &ImportArgs) -> Result<Exit, Failure> {
    // Before a history is made for it.
    for path in args.files.iter().filter(|path| path.as_path() != Path::new("-")) {
        open(path).map_err(|error| Failure {
            error: Box::new(FileFailure { path: path.clone(), source: ImportError::Read(error) }),
            advice: None,
            exit: Exit::Failure,
        })?;
    }
    let mut history = place.create()?;
    let mut runs = 0;
    for path in &args.files {
        let mut imported = Imported::default();
        let result = if path == Path::new("-") {
            import_one(&mut history, args, path, io::stdin().lock(), &mut imported)
        } else {
            open(path)
                .map_err(ImportError::Read)
                .and_then(|file| import_one(&mut history, args, path, file, &mut imported))
        };
        if result.is_ok() || imported != Imported::default() {
            tell(path, &history, imported);
        }
        result.map_err(|error| failure(path, error, imported))?;
        if imported.damaged > 0 && imported.new + imported.known == 0 {
            let error = format!("{} has no run", path.display());
            return Err(Failure { error: error.into(), advice: None, exit: Exit::Failure });
        }
        runs += imported.new + imported.known;
    }
    // One of several hosts may have had none.
    if runs == 0 {
        let advice = Some("\"ipc-client history export\" writes what this reads".to_owned());
        let error = "there was nothing to import: no run came".into();
        return Err(Failure { error, advice, exit: Exit::Failure });
    }
    Ok(Exit::Success)
}

fn import_one(
    history: &mut History,
    args: &ImportArgs,
    path: &Path,
    lines: impl BufRead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    if !args.skip_damaged {
        return history.import(lines, imported);
    }
    let mut passed_over = 0;
    history.import_undamaged(lines, imported, &mut |error| {
        passed_over += 1;
        if passed_over <= TOLD {
            print_line(format_args!("ipc-client: {}: passed over: {}", path.display(), error_chain(error)));
        }
    })
}

fn failure(path: &Path, error: ImportError, imported: Imported) -> Failure {
    let stays = (imported != Imported::default())
        .then(|| "what was imported stays; the same import again goes on from there".to_owned());
    let advice = match &error {
        ImportError::Line(LineError { number, .. }) => {
            let way = format!("cut line {number} out, or pass over all such with --skip-damaged");
            Some(stays.map_or(way.clone(), |stays| format!("{way}; {stays}")))
        }
        _ => stays,
    };
    match error {
        ImportError::History(error) => error.into(),
        error => Failure {
            error: Box::new(FileFailure { path: path.to_owned(), source: error }),
            advice,
            exit: Exit::Failure,
        },
    }
}

fn open(path: &Path) -> io::Result<impl BufRead> {
    Ok(BufReader::with_capacity(1 << 16, File::open(path)?))
}

fn tell(path: &Path, history: &History, imported: Imported) {
    let Imported { new, known, damaged } = imported;
    let (from, into) = (path.display(), history.path().display());
    let damaged = match damaged {
        0 => String::new(),
        1 => ", 1 line passed over that is no run".to_owned(),
        damaged => format!(", {damaged} lines passed over that are no runs"),
    };
    let (new, were) = (runs(new), if known == 1 { "was" } else { "were" });
    print_line(format_args!(
        "ipc-client: {from}: {new} imported into {into}, {known} {were} there already{damaged}"
    ));
}

/// So many runs.
fn runs(number: u64) -> String {
    format!("{number} {}", if number == 1 { "run" } else { "runs" })
}

/// What is wrong with a file that is imported.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be imported", path.display())]
struct FileFailure {
    path: PathBuf,
    source: ImportError,
}
