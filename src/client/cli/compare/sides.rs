//! Which runs are compared or reported: out of the history, or out of files.

use std::io::Read;
use std::path::Path;

use crate::client::cli::Failure;
use crate::client::cli::history::PlaceArgs;
use crate::client::history::{History, HistoryError, Pick, read_lines};
use crate::client::judge::compare::Side;
use crate::client::report::{Report, SCHEMA};
use crate::exit::Exit;

/// The longest file that is taken for a report.
const LONGEST: u64 = 256 << 20;

/// The history, if there is one: files are compared without.
pub(in crate::client::cli) fn history(place: &PlaceArgs) -> Result<Option<History>, Failure> {
    match place.try_open() {
        Ok(history) => Ok(Some(history)),
        Err(HistoryError::NotThere(_) | HistoryError::NoPlace) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The run that is meant.
pub(in crate::client::cli) fn side(
    pick: &Pick,
    history: Option<&History>,
    place: &PlaceArgs,
) -> Result<Side, Failure> {
    if let Pick::File(path) = pick {
        return from_file(path);
    }
    // Without one, that is what there is to say.
    let opened = if history.is_none() { Some(place.open()?) } else { None };
    let Some(history) = history.or(opened.as_ref()) else {
        return Err(Failure::usage("there is no history"));
    };
    Ok(Side::recorded(pick, history)?)
}

/// A report as `bench --format json` writes it, or one exported run.
fn from_file(path: &Path) -> Result<Side, Failure> {
    let failure = |error: String| Failure {
        error: format!("{} cannot be read: {error}", path.display()).into(),
        advice: None,
        exit: Exit::Failure,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .map_err(|error| failure(error.to_string()))?;
    let side =
        |uuid, label, report| Side { name: path.display().to_string(), run: None, uuid, label, report };
    if text.trim_start().starts_with("{\"ipcd_history\"") {
        let mut runs = read_lines(text.as_bytes());
        let first = runs.next().unwrap_or_else(|| unreachable!("it begins with one"));
        let run = first.map_err(|error| failure(crate::diagnostics::error_chain(&error)))?;
        return match runs.next() {
            None => Ok(side(Some(run.uuid), run.label, run.report)),
            Some(_) => {
                Err(failure("it has several runs; import them, and name the one that is meant".to_owned()))
            }
        };
    }
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        failure(format!("it is no report of \"bench --format json\", nor an exported run: {error}"))
    })?;
    if report.schema != SCHEMA {
        return Err(failure(format!("it has schema {}; this ipc-client knows {SCHEMA}", report.schema)));
    }
    Ok(side(None, None, report))
}
