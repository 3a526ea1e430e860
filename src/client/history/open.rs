//! The history's file: where it is, how it is opened, and how an older layout becomes the newest one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{History, HistoryError, MOST_STEPS, STEP};

/// Each brings a history from the version before it (its index) to the next. A released one is never changed.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The layout's version, kept in the file's `user_version`.
pub(super) const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// What distinguishes a history from other SQLite files: "ipcd".
const APPLICATION_ID: i64 = 0x6970_6364;

/// How long a writer waits for others. A writer holds the file for milliseconds, an import for some tenths of a second.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The file's name in a state directory.
const NAME: &str = "history.sqlite";

/// The history's path: `named` (by `--history`), else `$IPCD_HISTORY`, else `history.sqlite` in the service's state
/// directory (`$STATE_DIRECTORY`, which systemd sets), else `ipcd/history.sqlite` in `$XDG_STATE_HOME`, by default
/// `~/.local/state`.
///
/// # Errors
/// [`HistoryError::NoPlace`]: none of these is set.
pub(crate) fn history_path(named: Option<&Path>) -> Result<PathBuf, HistoryError> {
    path_from(named, |name| std::env::var_os(name)).ok_or(HistoryError::NoPlace)
}

fn path_from(named: Option<&Path>, var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    // systemd separates several directories with colons.
    let state = || std::env::split_paths(&var("STATE_DIRECTORY")?).next();
    // The XDG specification: relative paths must be ignored.
    let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    named
        .map(Path::to_owned)
        .or_else(|| var("IPCD_HISTORY").map(PathBuf::from))
        .or_else(|| Some(state()?.join(NAME)))
        .or_else(|| Some(user()?.join("ipcd").join(NAME)))
}

impl History {
    /// Opens the history; creates it, and its directory, if there is none. An older schema is brought up to date.
    ///
    /// # Errors
    /// It cannot be created or opened, is not a history, or has a newer schema.
    pub fn create(path: &Path) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // Private to the user, as the XDG rules have it.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| HistoryError::Folder { path: folder.to_owned(), source })?;
        }
        Self::open_locked(path, OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens an existing history. One that this user may only read is read without locks.
    ///
    /// # Errors
    /// As [`create`](Self::create); there is none; or it is only to be read and is being written.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let owner = match fs::metadata(path) {
            Ok(meta) => meta.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HistoryError::NotThere(path.to_owned()));
            }
            // Opening it reports that.
            Err(_) => rustix::process::geteuid().as_raw(),
        };
        if owner != rustix::process::geteuid().as_raw() {
            // Without locks, SQLite heeds no file beside it: a journal can have it remove another file. A log cannot.
            match Self::open_unlocked(path, HistoryError::Unreadable(path.to_owned())) {
                Err(HistoryError::Moves(_)) if fs::symlink_metadata(beside(path, "-journal")).is_err() => {}
                opened => return opened,
            }
        }
        match Self::open_locked(path, OpenFlags::empty()) {
            Err(error) if error.is_permission() => Self::open_unlocked(path, error),
            opened => opened,
        }
    }

    fn open_locked(path: &Path, create: OpenFlags) -> Result<Self, HistoryError> {
        check_files(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let db = Connection::open_with_flags(absolute(path)?, flags);
        let mut history = Self::over(path, db, None)?;
        let failed = history.failed("opened");
        history.db.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
        let found = history.version()?;
        if found == 0 {
            // Has to be set before anything is in the file; `prune` relies on it to shrink it.
            history.db.pragma_update(None, "auto_vacuum", "incremental").map_err(&failed)?;
        }
        configure(&history.db).map_err(&failed)?;
        if found < SCHEMA {
            history.lift_budget();
            migrate(&mut history.db).map_err(&failed)?;
            // Another process may have done so meanwhile, and be a newer program.
            history.version()?;
        }
        Ok(history)
    }

    /// Opens a history that this user may not write, or returns `refused` if it is not readable either. SQLite writes
    /// files next to a database in WAL mode even to read it, unless it is opened as immutable.
    fn open_unlocked(path: &Path, refused: HistoryError) -> Result<Self, HistoryError> {
        check_files(path)?;
        let unlocked = match unchanging(path) {
            Ok(Some(stamp)) => stamp,
            Ok(None) => return Err(HistoryError::Moves(path.to_owned())),
            Err(_) => return Err(refused),
        };
        // A URI, in which these three characters of a name would mean something.
        let mut uri = b"file://".to_vec();
        for byte in absolute(path)?.as_os_str().as_bytes() {
            match byte {
                b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
                _ => uri.push(*byte),
            }
        }
        uri.extend(b"?immutable=1");
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let Ok(db) = Connection::open_with_flags(OsString::from_vec(uri), flags) else { return Err(refused) };
        let history = Self::over(path, Ok(db), Some(unlocked))?;
        match history.version()? {
            SCHEMA => Ok(history),
            found => Err(HistoryError::Older { path: path.to_owned(), found, known: SCHEMA }),
        }
    }

    fn over(
        path: &Path,
        db: rusqlite::Result<Connection>,
        unlocked: Option<(u64, i64, i64)>,
    ) -> Result<Self, HistoryError> {
        let (path, budget) = (path.to_owned(), Arc::new(AtomicU32::new(MOST_STEPS)));
        let opened = db.and_then(|mut db| {
            // The file may come from anyone: what it holds is data, and nothing in it is run.
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
            let left = Arc::clone(&budget);
            let is_over = move || {
                let left =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                left == Ok(1)
            };
            db.progress_handler(STEP, Some(is_over))?;
            Ok(db)
        });
        match opened {
            Ok(db) => Ok(Self { db, path, unlocked, budget }),
            Err(source) => Err(HistoryError::Database { path, doing: "opened", source }),
        }
    }

    /// Fails if what was just read without locks may be wrong.
    pub(super) fn check_unchanged(&self) -> Result<(), HistoryError> {
        match self.unlocked {
            Some(was) if unchanging(&self.path).ok().flatten() != Some(was) => {
                Err(HistoryError::Moves(self.path.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The layout's version, 0 for an empty file; an error if this program cannot use it.
    fn version(&self) -> Result<i64, HistoryError> {
        match identify(&self.db) {
            Ok(Some(found)) if found > SCHEMA => {
                Err(HistoryError::Newer { path: self.path.clone(), found, known: SCHEMA })
            }
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(HistoryError::Foreign(self.path.clone())),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Err(HistoryError::Foreign(self.path.clone()))
            }
            Err(error) => Err(self.failed("opened")(error)),
        }
    }
}

/// An absolute path: SQLite gives some relative ones, such as ":memory:", another meaning.
fn absolute(path: &Path) -> Result<PathBuf, HistoryError> {
    std::path::absolute(path).map_err(|source| HistoryError::Folder { path: path.to_owned(), source })
}

/// Refuses a file that is not a database, and one beside which another file has the name of one of SQLite's own, which it would
/// follow or write to.
fn check_files(path: &Path) -> Result<(), HistoryError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Err(HistoryError::IsFolder(path.to_owned())),
        Ok(meta) if !meta.is_file() => return Err(HistoryError::Foreign(path.to_owned())),
        _ => {}
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = beside(path, suffix);
        let own = |meta: fs::Metadata| meta.is_file() && meta.nlink() == 1;
        if fs::symlink_metadata(&path).is_ok_and(|meta| !own(meta)) {
            return Err(HistoryError::Planted(path));
        }
    }
    Ok(())
}

/// One of SQLite's own files.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file's size, and the seconds and nanoseconds of its last change; `None` while a writer's log is beside it.
fn unchanging(file: &Path) -> io::Result<Option<(u64, i64, i64)>> {
    let is_written = fs::metadata(beside(file, "-wal")).is_ok_and(|log| log.len() > 0);
    let file = fs::metadata(file)?;
    Ok((!is_written).then(|| (file.len(), file.mtime(), file.mtime_nsec())))
}

/// The version, 0 for an empty file; `None` if it is not a history.
fn identify(db: &Connection) -> rusqlite::Result<Option<i64>> {
    // All three in one transaction: another process may be creating the history.
    let reading = db.unchecked_transaction()?;
    let number = |pragma: &str| reading.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? == APPLICATION_ID {
        return number("user_version").map(Some);
    }
    let things: i64 = reading.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((things == 0).then_some(0))
}

/// What every connection needs.
fn configure(db: &Connection) -> rusqlite::Result<()> {
    // Readers and a writer do not block each other. While another process switches it on, SQLite reports at once that
    // it is busy, whatever the timeout.
    let start = Instant::now();
    while let Err(error) = db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
        let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
        if !busy || start.elapsed() >= BUSY_TIMEOUT {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // A run that is reported as recorded is on the disk.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // An import's log does not keep its size.
    db.pragma_update(None, "journal_size_limit", 1 << 20)
}

/// Brings the file to the newest layout in one transaction, unless it has that or a newer one by now.
fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < SCHEMA {
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(named: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let var = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.into());
        path_from(named.map(Path::new), var).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_first_rule_that_applies_decides_the_path() {
        let all = [
            ("IPCD_HISTORY", "/own"),
            ("STATE_DIRECTORY", "/var/lib/ipcd:/var/lib/other"),
            ("XDG_STATE_HOME", "/state"),
            ("HOME", "/home/one"),
        ];
        for (named, variables, expected) in [
            (Some("named"), &all[..], "named"),
            (None, &all[..], "/own"),
            (None, &all[1..], "/var/lib/ipcd/history.sqlite"),
            (None, &all[2..], "/state/ipcd/history.sqlite"),
            (None, &all[3..], "/home/one/.local/state/ipcd/history.sqlite"),
        ] {
            assert_eq!(path(named, variables).as_deref(), Some(expected));
        }
        assert_eq!(
            path(None, &[("XDG_STATE_HOME", "here"), ("HOME", "/h")]).unwrap(),
            "/h/.local/state/ipcd/history.sqlite"
        );
        assert_eq!(path(None, &[("HOME", "")]), None);
    }

    #[test]
    fn a_writer_is_noticed_while_reading_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        // A name that a URI would take apart.
        let path = folder.path().join("history ?a=b#c%20é");
        let open = || History::open_unlocked(&path, HistoryError::NoPlace);
        assert!(matches!(open(), Err(HistoryError::NoPlace)), "there is nothing to read");
        let writer = History::create(&path).unwrap();
        writer.db.execute_batch("INSERT INTO environment (json) VALUES ('1')").unwrap();
        assert!(matches!(open(), Err(HistoryError::Moves(_))), "its log is not in the file yet");
        drop(writer);
        let reader = open().unwrap();
        let count = || reader.rows("SELECT count(*) FROM environment", &[], |row| row.get::<_, i64>(0));
        assert_eq!(count().unwrap(), [1]);
        let writer = History::create(&path).unwrap();
        writer.db.execute_batch("INSERT INTO environment (json) VALUES ('2')").unwrap();
        assert!(matches!(count(), Err(HistoryError::Moves(_))));
        drop(writer);
        assert!(matches!(count(), Err(HistoryError::Moves(_))), "the file has changed since it was opened");
    }
}
