//! A history that this user may read and not write: another user's, such as the service's.
//!
//! SQLite needs to write beside a file in WAL mode even to read it. Where that is not allowed, the file is read as it
//! lies there, without any lock, which is right as long as nobody changes it: that is looked at before and after each
//! answer.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// What the file was when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Still {
    file: PathBuf,
    /// Size, and time of the last change.
    was: (u64, i64, i64),
}

impl Still {
    /// Opens the file if nobody is writing to it; `None` if somebody is.
    pub(super) fn open(file: &Path) -> io::Result<Option<(Connection, Self)>> {
        let still = Self { file: file.to_owned(), was: stamp(file)? };
        if !still.is_still() {
            return Ok(None);
        }
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(uri(file), flags).map_err(io::Error::other)?;
        Ok(Some((db, still)))
    }

    /// Whether it still is what it was, and no writer has left or is making a log.
    pub(super) fn is_still(&self) -> bool {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        let no_log = fs::metadata(&log).map_or(true, |log| log.len() == 0);
        no_log && stamp(&self.file).is_ok_and(|is| is == self.was)
    }
}

fn stamp(file: &Path) -> io::Result<(u64, i64, i64)> {
    let is = fs::metadata(file)?;
    Ok((is.len(), is.mtime(), is.mtime_nsec()))
}

/// The file's name as SQLite reads names with settings.
fn uri(file: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Text is written to memory, which cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_setting() {
        assert_eq!(uri(Path::new("/a b?c#d%/é")), "file:/a%20b%3Fc%23d%25/%C3%A9?immutable=1");
    }

    #[test]
    fn a_writer_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history ?");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE a (b); INSERT INTO a VALUES (1)")
            .unwrap();
        assert!(Still::open(&path).unwrap().is_none(), "its log is not in the file yet");
        drop(writer);
        let (db, still) = Still::open(&path).unwrap().unwrap();
        assert_eq!(db.query_row("SELECT b FROM a", [], |row| row.get::<_, i64>(0)), Ok(1));
        assert!(still.is_still());
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("INSERT INTO a VALUES (2)").unwrap();
        assert!(!still.is_still());
        drop(writer);
        assert!(!still.is_still(), "and that it has been there");
    }
}
