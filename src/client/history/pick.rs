//! How a run is named: by its id, its position from the end, a baseline, a label, its UUID, or a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rusqlite::types::Value;
use uuid::Uuid;

use super::{History, HistoryError};

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The run with this id.
    Id(i64),
    /// The run with results that was recorded here last, or the one this many before it: `last`, `last~1`.
    Last(u32),
    /// The baseline of this name, else the newest run with this label and with results, or the one this many before it:
    /// `NAME`, `NAME~1`. [`History::find_all`] finds all runs of a baseline, [`History::find`] the newest of them.
    Named(Label, u32),
    /// The run with this name in every history.
    Uuid(Uuid),
    /// A report or an exported run in a file.
    File(PathBuf),
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Last(0) => f.write_str("last"),
            Self::Last(back) => write!(f, "last~{back}"),
            Self::Named(name, 0) => write!(f, "{name}"),
            Self::Named(name, back) => write!(f, "{name}~{back}"),
            Self::Uuid(uuid) => write!(f, "{uuid}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A text that does not name a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not name a run; give an id, last, last~1, a baseline, a label, LABEL~1, a UUID, or a file (.json, \
     .ndjson, or a path with a slash)"
)]
pub(crate) struct PickError(String);

impl FromStr for Pick {
    type Err = PickError;

    fn from_str(text: &str) -> Result<Self, PickError> {
        let wrong = || PickError(beginning(text));
        if is_file(text) {
            return Ok(Self::File(text.into()));
        }
        if let Ok(id) = text.parse::<i64>() {
            return if id > 0 { Ok(Self::Id(id)) } else { Err(wrong()) };
        }
        if let Ok(uuid) = text.parse::<Uuid>() {
            return Ok(Self::Uuid(uuid));
        }
        let (name, back) = match text.split_once('~') {
            Some((name, back)) => (name, back.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        match name {
            "last" => Ok(Self::Last(back)),
            name => name.parse().map(|name| Self::Named(name, back)).map_err(|_| wrong()),
        }
    }
}

impl History {
    /// The id of the run that is meant.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find(&self, pick: &Pick) -> Result<i64, HistoryError> {
        // A run that failed as a whole is nothing to compare with.
        let newest = |condition| {
            format!(
                "SELECT id FROM run
                 WHERE {condition} AND EXISTS (SELECT 1 FROM result WHERE run = run.id AND samples > 0)
                 ORDER BY ordinal DESC, id DESC LIMIT 1 OFFSET ?2"
            )
        };
        let (sql, values): (_, Vec<Value>) = match pick {
            Pick::Id(id) => ("SELECT id FROM run WHERE id = ?1".to_owned(), vec![(*id).into()]),
            Pick::Uuid(uuid) => {
                ("SELECT id FROM run WHERE uuid = ?1".to_owned(), vec![uuid.to_string().into()])
            }
            Pick::Last(back) => (newest("?1 IS NULL"), vec![Value::Null, (*back).into()]),
            Pick::Named(name, back) => (
                format!(
                    "SELECT coalesce(
                        (SELECT run FROM baseline JOIN run ON id = run WHERE name = ?1 AND ?2 = 0
                         ORDER BY ordinal DESC LIMIT 1),
                        ({}))",
                    newest("label = ?1")
                ),
                vec![name.to_string().into(), (*back).into()],
            ),
            Pick::File(path) => return Err(HistoryError::File(path.clone())),
        };
        let found = self.rows(&sql, &values, |row| row.get::<_, Option<i64>>(0))?;
        found.into_iter().flatten().next().ok_or_else(|| match pick {
            Pick::Id(id) => self.absent(HistoryError::NoRun(*id)),
            pick => self.absent(HistoryError::NoSuchRun { pick: pick.to_string() }),
        })
    }

    /// The ids of all runs that are meant, the newest first: several, if it is a baseline of several.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find_all(&self, pick: &Pick) -> Result<Vec<i64>, HistoryError> {
        if let Pick::Named(name, 0) = pick {
            let sql = "SELECT run FROM baseline JOIN run ON id = run WHERE name = ?1 ORDER BY ordinal DESC";
            let runs = self.rows(sql, &[name.to_string().into()], |row| row.get(0))?;
            if !runs.is_empty() {
                return Ok(runs);
            }
        }
        Ok(vec![self.find(pick)?])
    }

    /// Why a run was not found: `absence`, unless the file is damaged where it would be. SQLite itself checks no more of
    /// a page than it needs, and one that is overwritten can look like one without rows.
    pub(super) fn absent(&self, absence: HistoryError) -> HistoryError {
        // The tables that identify runs have few pages; those of results and histograms are not checked.
        for table in ["run", "environment", "baseline"] {
            let check = format!("PRAGMA quick_check({table})");
            match self.db.query_row(&check, [], |row| row.get::<_, String>(0)) {
                Ok(found) if found == "ok" => {}
                Ok(found) => {
                    let found = found.lines().collect::<Vec<_>>().join(" ");
                    return HistoryError::Corrupt { path: self.path.clone(), found };
                }
                Err(error) => return self.failed("read")(error),
            }
        }
        absence
    }
}

/// The longest.
const MAX_LEN: usize = 64;

/// A name that cannot be taken for an id, `last`, or a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// The name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid name; a long one is truncated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name: a name has up to {MAX_LEN} letters, digits and . _ - +, at least one of them a letter; \
     it is not `last` and does not end in .json, .jsonl or .ndjson"
)]
pub struct LabelError(String);

/// Whether a text is meant as a file: by a slash, or by the end of its name.
pub(crate) fn is_file(text: &str) -> bool {
    text.contains('/') || [".json", ".jsonl", ".ndjson"].iter().any(|end| text.ends_with(end))
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let allowed = |c: char| c.is_alphanumeric() || "._-+".contains(c);
        let fits = (1..=MAX_LEN).contains(&text.len()) && text.chars().all(allowed);
        let named = text.chars().any(char::is_alphabetic) && text != "last" && !is_file(text);
        if fits && named { Ok(Self(text.to_owned())) } else { Err(LabelError(beginning(text))) }
    }
}

/// As much of a text as a name may have.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(MAX_LEN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_run_is_unambiguous() {
        let name = |text: &str| text.parse::<Label>().unwrap();
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        for (text, pick) in [
            ("12", Pick::Id(12)),
            ("last", Pick::Last(0)),
            ("last~3", Pick::Last(3)),
            ("stable", Pick::Named(name("stable"), 0)),
            ("kernel-6.8~1", Pick::Named(name("kernel-6.8"), 1)),
            (uuid, Pick::Uuid(uuid.parse().unwrap())),
            ("run.json", Pick::File("run.json".into())),
            ("./12", Pick::File("./12".into())),
        ] {
            assert_eq!(text.parse::<Pick>().unwrap(), pick);
            assert_eq!(pick.to_string(), text);
        }
        for text in ["", "0", "-1", "last~", "last~-1", "last~x", "a b", "~1", "99999999999999999999"] {
            let error = text.parse::<Pick>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn names_differ_from_everything_else_that_identifies_a_run() {
        for text in ["before", "kernel-6.8", "v1.2.3", "6.8-rc1", "größer", "a"] {
            assert_eq!(text.parse::<Label>().unwrap().as_str(), text);
        }
        let long = "x".repeat(100_000).parse::<Label>().unwrap_err().to_string();
        assert!(
            long.starts_with(&format!("`{}…` is not a valid name", "x".repeat(MAX_LEN))) && long.len() < 400,
            "{long}"
        );
        for text in ["", "12", "6.8", "last", "last~1", "a b", "a/b", "run.json", "-", "a\n", "a,b"] {
            let error = text.parse::<Label>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
