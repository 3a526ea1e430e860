//! Whether what is not found was never there, or is lost.

use super::{History, HistoryError};

/// Where a run is found, by whatever name. Their pages are few; those of results and histograms are not looked at.
const TABLES: [&str; 3] = ["run", "environment", "baseline"];

impl History {
    /// What there is to say of a run that was not found: `absence`, unless the file is damaged where it would be.
    pub(super) fn absent(&self, absence: HistoryError) -> HistoryError {
        match self.first_damage() {
            Ok(None) => absence,
            Ok(Some(found)) => HistoryError::Corrupt { path: self.path.clone(), found },
            Err(error) => self.failed("read")(error),
        }
    }

    /// The first thing that is wrong with the tables in which a run is found. SQLite itself does not look at more of a page
    /// than it needs, and one that is overwritten can look like one without rows.
    fn first_damage(&self) -> rusqlite::Result<Option<String>> {
        for table in TABLES {
            let mut check = self.db.prepare(&format!("PRAGMA quick_check({table})"))?;
            let mut rows = check.query([])?;
            while let Some(row) = rows.next()? {
                let found: String = row.get(0)?;
                if found != "ok" {
                    return Ok(Some(found.lines().collect::<Vec<_>>().join(" ")));
                }
            }
        }
        Ok(None)
    }
}
