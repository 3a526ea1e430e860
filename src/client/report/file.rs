//! Files that are written whole or not at all, and open descriptors that a path names.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use tempfile::{Builder, NamedTempFile};

use crate::transports::sys::duplicate;

/// A file or standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct FileError {
    /// The file that was named; `standard output` for that.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl FileError {
    /// Standard output cannot be written.
    #[must_use]
    pub(crate) fn stdout(source: io::Error) -> Self {
        Self { path: "standard output".into(), source }
    }
}

/// Checks, before a long run, that `path` can be written. An existing file is unchanged.
///
/// # Errors
/// It cannot.
pub(crate) fn check(path: &Path) -> Result<(), FileError> {
    let checked = match Place::of(path) {
        Ok(Place::Beside { folder, .. }) => temporary(&folder).map(drop),
        Ok(Place::Descriptor(number)) => duplicate(number).map(drop),
        Ok(Place::Into) => Ok(()),
        Err(error) => Err(error),
    };
    checked.map_err(|source| FileError { path: path.to_owned(), source })
}

/// Writes a file atomically: a temporary file beside it is renamed once all of it is on the disk. Readers of `path` see
/// the old file or the new one, never a part. A device or a pipe is written into, and so is an open descriptor
/// (`/dev/stderr`, `/dev/fd/3`), after what is already written to it.
///
/// # Errors
/// The file system's, or those of `fill`; the old file is still there.
pub(crate) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    write(path, None, fill)
}

/// The same for a file that every user may read, regardless of the umask: for files that another service collects.
///
/// # Errors
/// As [`write_whole`].
pub(crate) fn write_for_all(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    write(path, Some(Permissions::from_mode(0o644)), fill)
}

fn write(
    path: &Path,
    wanted: Option<Permissions>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let written = match Place::of(path) {
        Ok(Place::Descriptor(number)) => {
            duplicate(number).and_then(|descriptor| fill_file(&descriptor.into(), fill))
        }
        Ok(Place::Into) => File::options().write(true).open(path).and_then(|file| fill_file(&file, fill)),
        Ok(Place::Beside { folder, target, mode }) => replace(&folder, &target, wanted.or(mode), fill),
        Err(error) => Err(error),
    };
    match written {
        // The reader of a pipe has seen enough.
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| FileError { path: path.to_owned(), source }),
    }
}

/// The descriptor of this process that a path names, directly or through symbolic links: `/dev/stdout`, `/proc/self/fd/1`.
pub(crate) fn descriptor(path: &Path) -> Option<i32> {
    let mut path = path.to_owned();
    // As many links as the kernel follows.
    for _ in 0..40 {
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        if let (Some(number), Some(folder)) = (number, &folder)
            && ["/proc/self/fd", "/proc/thread-self/fd"]
                .iter()
                .any(|own| Path::new(own).canonicalize().is_ok_and(|own| own == *folder))
        {
            return Some(number);
        }
        path = folder?.join(fs::read_link(&path).ok()?);
    }
    None
}

/// How a path is written.
enum Place {
    /// To a descriptor that is open already.
    Descriptor(i32),
    /// Directly, since a device or a pipe cannot be replaced.
    Into,
    /// Through a temporary file in `folder`.
    Beside { folder: PathBuf, target: PathBuf, mode: Option<Permissions> },
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        if let Some(number) = descriptor(path) {
            return Ok(Self::Descriptor(number));
        }
        let mode = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(rustix::io::Errno::ISDIR.into()),
            Ok(there) if !there.is_file() => return Ok(Self::Into),
            Ok(there) => Some(there.permissions()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A symbolic link is kept and its target replaced.
        let target = if mode.is_some() { path.canonicalize()? } else { path.to_owned() };
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self::Beside { folder, target, mode })
    }
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    // A new file's usual permissions, less the umask, instead of a temporary file's.
    let made =
        Builder::new().prefix(".ipc-client-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
    // The error's text has the temporary file's name, which means nothing to the user; checking the folder usually gives
    // the cause.
    made.map_err(|error| match rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Err(folders) => folders.into(),
        Ok(()) => error.kind().into(),
    })
}

fn replace(
    folder: &Path,
    target: &Path,
    mode: Option<Permissions>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = temporary(folder)?;
    if let Some(mode) = mode {
        file.as_file().set_permissions(mode)?;
    }
    fill_file(file.as_file(), fill)?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    // Sync the new name too, where the file system supports it.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn fill_file(file: &File, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        check(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "a check changes nothing");
        write_whole(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(entries(folder.path()), ["report"]);
    }

    #[test]
    fn a_file_for_all_is_readable_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics");
        for before in [None, Some(0o600)] {
            if let Some(mode) = before {
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            write_for_all(&path, |out| out.write_all(b"new")).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        fs::write(&path, "old").unwrap();
        let error = write_whole(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("planted"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("report"), "the error names the file: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(entries(folder.path()), ["report"]);
    }

    #[test]
    fn a_symbolic_link_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_whole(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_check_finds_what_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path()).is_err(), "a folder");
        let error = check(&folder.path().join("missing/report")).unwrap_err();
        assert_eq!(
            error.source.to_string(),
            "No such file or directory (os error 2)",
            "and nothing of a temporary file"
        );
        assert!(check(Path::new("/proc/report")).is_err(), "no place for files");
    }

    #[test]
    fn a_device_is_written_into_and_never_replaced() {
        write_whole(Path::new("/dev/null"), |out| out.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
