//! Versions of the history's layout, and how an older file becomes a newer one.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::HistoryError;

/// Each brings a history from the version before it (its index) to the next. A released one is never changed.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The layout's version, kept in the file's `user_version`.
pub(crate) const HISTORY_SCHEMA: i64 = MIGRATIONS.len() as i64;

/// What tells a history from other SQLite files: "ipcd".
const APPLICATION_ID: i64 = 0x6970_6364;

/// How long a writer waits for others. A writer holds the file for milliseconds, an import for some tenths of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens the file, or makes it where `create` says so, and brings it to [`HISTORY_SCHEMA`].
pub(super) fn open(path: &Path, create: bool) -> Result<Connection, HistoryError> {
    let failed = |source| HistoryError::Database { path: path.to_owned(), doing: "opened", source };
    if path.is_dir() {
        return Err(HistoryError::IsFolder(path.to_owned()));
    }
    // An absolute path: SQLite reads some relative ones, such as ":memory:", as more than a name.
    let file =
        std::path::absolute(path).map_err(|source| HistoryError::Folder { path: path.to_owned(), source })?;
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let mut db = Connection::open_with_flags(&file, flags).map_err(failed)?;
    db.busy_timeout(PATIENCE).map_err(failed)?;
    let version = match identify(&db) {
        Ok(version) => version,
        // A file that is no database at all.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => None,
        Err(error) => return Err(failed(error)),
    };
    match version.ok_or_else(|| HistoryError::Foreign(path.to_owned()))? {
        // Before anything is changed.
        found if found > HISTORY_SCHEMA => Err(newer(path, found)),
        found => {
            // Room can be given back; to be said before there is anything in the file.
            if found == 0 {
                db.pragma_update(None, "auto_vacuum", "incremental").map_err(failed)?;
            }
            prepare(&db).map_err(failed)?;
            if found < HISTORY_SCHEMA {
                migrate(&mut db).map_err(failed)?.map_or(Ok(()), |found| Err(newer(path, found)))?;
            }
            Ok(db)
        }
    }
}

/// Whether a history that is only read is one of [`HISTORY_SCHEMA`].
pub(super) fn check_version(db: &Connection, path: &Path) -> Result<(), HistoryError> {
    let failed = |source| HistoryError::Database { path: path.to_owned(), doing: "opened", source };
    match identify(db).map_err(failed)? {
        None => Err(HistoryError::Foreign(path.to_owned())),
        Some(HISTORY_SCHEMA) => Ok(()),
        Some(found) if found > HISTORY_SCHEMA => Err(newer(path, found)),
        Some(found) => Err(HistoryError::Older { path: path.to_owned(), found, known: HISTORY_SCHEMA }),
    }
}

fn newer(path: &Path, found: i64) -> HistoryError {
    HistoryError::Newer { path: path.to_owned(), found, known: HISTORY_SCHEMA }
}

/// The version, 0 for a file without anything in it; `None` if it is not ours.
fn identify(db: &Connection) -> rusqlite::Result<Option<i64>> {
    // All three as of one moment: another process may just be making the history.
    let reading = db.unchecked_transaction()?;
    let number = |pragma: &str| reading.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? == APPLICATION_ID {
        return number("user_version").map(Some);
    }
    let things: i64 = reading.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((things == 0).then_some(0))
}

/// What every connection needs.
fn prepare(db: &Connection) -> rusqlite::Result<()> {
    // Readers and a writer do not hinder each other. While another process turns it on, SQLite says at once that it
    // is busy, whatever the timeout.
    let start = Instant::now();
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => break other?,
        }
    }
    // A recorded run is on the disk when it is said to be.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // An import's log does not stay as large as it was.
    db.pragma_update(None, "journal_size_limit", 1 << 20)?;
    // Nothing in the file's own schema may call functions.
    db.pragma_update(None, "trusted_schema", false)
}

/// Brings the file to the newest layout, whole or not at all. Another process may have done so meanwhile, and even be a
/// newer program: then its version is returned.
fn migrate(db: &mut Connection) -> rusqlite::Result<Option<i64>> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = usize::try_from(version).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Ok(Some(version));
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", HISTORY_SCHEMA)?;
    transaction.commit()?;
    Ok(None)
}
