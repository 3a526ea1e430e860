//! Memory that a client was handed as a file: it counts until it is emptied, which the client cannot prevent by keeping the
//! file open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{FallocateFlags, FileType, fallocate, fstat, ftruncate};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// By how many blocks of 512 bytes a file may seem to have grown: file systems count their own records too.
const RECORDS: i64 = 128;

/// A file that the client has as well. Dropping it empties the file.
#[derive(Debug)]
pub(super) struct Lent {
    file: OwnedFd,
    size: u64,
    blocks: i64,
}

impl Lent {
    /// Keeps a copy of a descriptor that is about to be handed over, if it is a file with contents.
    ///
    /// # Errors
    /// The system allows no more descriptors.
    pub(super) fn of(descriptor: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let stat = fstat(descriptor)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        // A message queue is a file of a fixed size, which has no blocks.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_blocks == 0 {
            return Ok(None);
        }
        Ok(Some(Self { file: fcntl_dupfd_cloexec(descriptor, 3)?, size, blocks: stat.st_blocks }))
    }

    /// Whether the client has made it larger.
    pub(super) fn has_grown(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_blocks > self.blocks + RECORDS)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Freeing what it was made for takes a millisecond; freeing what a client has added, as long as it likes.
        let copy = if self.has_grown() { fcntl_dupfd_cloexec(&self.file, 3).ok() } else { None };
        let size = self.size;
        let in_thread =
            |file: OwnedFd| thread::Builder::new().spawn(move || empty(file.as_fd(), size)).is_ok();
        // Otherwise no thread is needed, or none can be started.
        if !copy.is_some_and(in_thread) {
            empty(self.file.as_fd(), size);
        }
    }
}

/// Frees a file's blocks. It keeps its size: the client may still read from it, and would be killed if it were shorter.
fn empty(file: BorrowedFd<'_>, size: u64) {
    // A sealed one cannot have grown.
    let _ = ftruncate(file, size);
    let _ = fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, size);
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    fn blocks(file: &OwnedFd) -> i64 {
        fstat(file).unwrap().st_blocks
    }

    #[test]
    fn a_file_that_is_kept_open_is_emptied() {
        let reserve = |file: &OwnedFd, len| fallocate(file, FallocateFlags::empty(), 0, len);
        let sealed = memfd_create("ipcd-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let grown: OwnedFd = tempfile::tempfile_in("/dev/shm").unwrap().into();
        reserve(&sealed, 1 << 20).unwrap();
        reserve(&grown, 1 << 20).unwrap();
        fcntl_add_seals(&sealed, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
        for file in [sealed, grown] {
            let lent = Lent::of(file.as_fd()).unwrap().unwrap();
            assert!(!lent.has_grown());
            if reserve(&file, 2 << 20).is_ok() {
                assert!(lent.has_grown());
            }
            drop(lent);
            let start = std::time::Instant::now();
            while blocks(&file) > RECORDS {
                assert!(start.elapsed().as_secs() < 10, "{} blocks are left", blocks(&file));
                thread::yield_now();
            }
            assert_eq!(fstat(&file).unwrap().st_size, 1 << 20, "who reads from it is not killed");
        }
    }

    #[test]
    fn what_has_no_contents_is_not_kept() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Lent::of(reader.as_fd()).unwrap().is_none());
    }
}
