//! How a run is named: by its id, its place from the end, a baseline, a label, its UUID, or a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::label::{beginning, is_file};
use super::{History, HistoryError, Label};

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The run with this id.
    Id(i64),
    /// The one so many before the newest of those that have results: `last`, `last~1`.
    Last(u32),
    /// The baseline of this name, else the run with this label that is so many before the newest such with results:
    /// `NAME`, `NAME~1`.
    Named(Label, u32),
    /// The run with this name in all histories.
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

/// A text that names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no run: an id, last, last~1, a baseline, a label, LABEL~1, a UUID, or a file (.json, .ndjson, or a \
     path with a slash) does"
)]
pub struct PickError(String);

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

/// Whether anything was measured in a run: one that failed as a whole is nothing to compare with.
const HAS_RESULTS: &str = "EXISTS (SELECT 1 FROM result WHERE result.run = run.id AND result.samples > 0)";
const NEWEST_FIRST: &str = "ORDER BY started_unix_s DESC, id DESC";

impl History {
    /// The id of the run that is meant.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, pick: &Pick) -> Result<i64, HistoryError> {
        let found = self.try_find(pick).map_err(self.failed("read"))?;
        self.check_still()?;
        found.ok_or_else(|| match pick {
            Pick::Id(id) => self.absent(HistoryError::NoRun(*id)),
            Pick::File(path) => HistoryError::File(path.clone()),
            other => self.absent(HistoryError::NoSuchRun { pick: other.to_string() }),
        })
    }

    fn try_find(&self, pick: &Pick) -> rusqlite::Result<Option<i64>> {
        let one = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            self.db.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()
        };
        match pick {
            Pick::Id(id) => one("SELECT id FROM run WHERE id = ?1", params![id]),
            Pick::Last(back) => one(
                &format!("SELECT id FROM run WHERE {HAS_RESULTS} {NEWEST_FIRST} LIMIT 1 OFFSET ?1"),
                params![back],
            ),
            Pick::Uuid(uuid) => one("SELECT id FROM run WHERE uuid = ?1", params![uuid.to_string()]),
            Pick::Named(name, back) => {
                let baseline = one("SELECT run FROM baseline WHERE name = ?1", params![name.as_str()])?;
                match baseline.filter(|_| *back == 0) {
                    Some(run) => Ok(Some(run)),
                    None => one(
                        &format!(
                            "SELECT id FROM run WHERE label = ?1 AND {HAS_RESULTS} {NEWEST_FIRST} LIMIT 1 OFFSET ?2"
                        ),
                        params![name.as_str(), back],
                    ),
                }
            }
            Pick::File(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_run_is_told_from_the_others() {
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
}
