//! The file of results: read when it has changed, and told as it is.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use log::{info, warn};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::exposition;

/// The largest file: thousands of cells.
const LARGEST: u64 = 8 << 20;

/// Names of the daemon's own metrics, which a file cannot tell again.
const OWN: &str = "ipcd_service_";

/// A file of results, and what it held when it was read last.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    read: Stamp,
    held: Held,
}

/// What a file held; `None` if there was none. Or why it cannot be told.
type Held = Result<Option<Rc<str>>, String>;

/// What tells a file from the one before: device, number, size, and time of the last change; `None` if there is none.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Results {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None, held: Ok(None) }
    }

    /// What the file holds now; `None` if there is none, or none that can be told.
    pub(super) fn read(&mut self) -> Option<Rc<str>> {
        let Some((stamp, held)) = self.look() else {
            return self.held.as_ref().ok()?.clone();
        };
        // Told once, not at each scrape.
        let path = self.path.display();
        match (&held, &self.held) {
            (Err(new), Err(old)) if new == old => {}
            (Err(why), _) => warn!("the results in {path} are not told with the metrics: {why}"),
            (Ok(Some(_)), Err(_)) => info!("the results in {path} are told with the metrics again"),
            _ => {}
        }
        self.read = stamp;
        self.held = held;
        self.held.as_ref().ok()?.clone()
    }

    /// The file, if it is another one than was read last.
    fn look(&self) -> Option<(Stamp, Held)> {
        // A FIFO that stands there must not hold the daemon.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open(&self.path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Some((None, Ok(None))),
            Err(error) => return Some((None, Err(error.to_string()))),
        };
        let meta = match file.metadata() {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Some((None, Err("it is no regular file".to_owned()))),
            Err(error) => return Some((None, Err(error.to_string()))),
        };
        let stamp = Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if stamp == self.read {
            return None;
        }
        let mut text = String::new();
        let read = file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string());
        Some((stamp, read.and_then(|_| check(&text)).map(|()| Some(text.into()))))
    }
}

/// Whether a text can be told beside the daemon's own: one line that Prometheus cannot read spoils all.
fn check(text: &str) -> Result<(), String> {
    if text.len() as u64 > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    exposition::check(text, |name| name.starts_with("ipcd_") && !name.starts_with(OWN))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str = "# HELP ipcd_a A.\n# TYPE ipcd_a gauge\nipcd_a{b=\"} 1\"} 2\n";

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.prom");
        let mut results = Results::new(path.clone());
        assert_eq!(results.read(), None);
        fs::write(&path, TEXT).unwrap();
        let first = results.read().unwrap();
        assert_eq!(&*first, TEXT);
        assert!(Rc::ptr_eq(&first, &results.read().unwrap()), "it was not read again");
        let next = folder.path().join("next");
        fs::write(&next, TEXT.replace('2', "3")).unwrap();
        fs::rename(&next, &path).unwrap();
        assert_eq!(*results.read().unwrap(), TEXT.replace('2', "3"));
        fs::remove_file(&path).unwrap();
        assert_eq!(results.read(), None);
    }

    #[test]
    fn what_cannot_be_told_is_not_and_never_holds_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.prom");
        let mut results = Results::new(path.clone());
        for text in ["ipcd_service_a 1\n", "node_a 1\n", "ipcd_a one\n", "ipcd_a 1", "ipcd_a{b=\"c\" 1\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(results.read(), None, "{text:?}");
            assert!(results.held.is_err());
        }
        fs::write(&path, b"ipcd_a{b=\"\xff\"} 1\n").unwrap();
        assert_eq!(results.read(), None);
        fs::write(&path, "#".repeat(usize::try_from(LARGEST).unwrap() + 1)).unwrap();
        assert_eq!(results.read(), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(results.read(), None);
        fs::remove_dir(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(results.read(), None);
        fs::remove_file(&path).unwrap();
        fs::write(&path, TEXT).unwrap();
        assert_eq!(results.read().as_deref(), Some(TEXT));
    }
}
