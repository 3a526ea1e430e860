//! The file of results that is exported with the metrics: read when it has changed, and checked.

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

/// The daemon's own metrics, whose names a file may not use.
const OWN: &str = "ipcd_service_";

/// A file of results, and its content when it was read last.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    stamp: Stamp,
    content: Content,
}

/// The content of a file; `None` if there was none. Or why it is unusable.
type Content = Result<Option<Rc<str>>, String>;

/// Identifies a version of a file: device, inode, size, and time of the last change; `None` if there is none.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Results {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, content: Ok(None) }
    }

    /// The present content; `None` if the file is missing or unusable.
    pub(super) fn read(&mut self) -> Option<Rc<str>> {
        if let Some((stamp, content)) = self.read_if_changed().unwrap_or_else(|why| Some((None, Err(why)))) {
            // Logged once, not at each scrape.
            let path = self.path.display();
            match (&content, &self.content) {
                (Err(new), Err(old)) if new == old => {}
                (Err(why), _) => warn!("the results in {path} are not exported: {why}"),
                (Ok(Some(_)), Err(_)) => info!("the results in {path} are exported again"),
                _ => {}
            }
            (self.stamp, self.content) = (stamp, content);
        }
        self.content.as_ref().ok()?.clone()
    }

    /// The content, unless it is the version that was read last.
    fn read_if_changed(&self) -> Result<Option<(Stamp, Content)>, String> {
        // Opening a FIFO must not block the daemon.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open(&self.path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Some((None, Ok(None)))),
            Err(error) => return Err(error.to_string()),
        };
        let meta = file.metadata().map_err(|error| error.to_string())?;
        if !meta.is_file() {
            return Err("it is not a regular file".to_owned());
        }
        let stamp = Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if stamp == self.stamp {
            return Ok(None);
        }
        let mut text = String::new();
        let read = file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string());
        Ok(Some((stamp, read.and_then(|_| check(&text)).map(|()| Some(text.into())))))
    }
}

/// Whether a text can be exported beside the daemon's own metrics: one line that Prometheus cannot parse spoils all.
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
    fn a_file_is_read_again_only_when_it_has_changed() {
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
    fn an_unusable_file_is_not_exported_and_never_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.prom");
        let mut results = Results::new(path.clone());
        for text in ["ipcd_service_a 1\n", "node_a 1\n", "ipcd_a one\n", "ipcd_a 1", "ipcd_a{b=\"c\" 1\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(results.read(), None, "{text:?}");
            assert!(results.content.is_err());
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
