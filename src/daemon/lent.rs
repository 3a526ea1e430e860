//! Memory and message queues that a client was handed as files. Memory is emptied at the channel's end, which the client
//! cannot prevent by keeping the file open; what belongs to this user alone counts until the client has closed it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, ftruncate, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::transports::sys::is_open_elsewhere;

/// By how many blocks of 512 bytes a file may seem to have grown: file systems count their own records too.
const RECORDS: i64 = 128;

/// A file that the client has as well. Dropping it empties the file.
#[derive(Debug)]
pub(super) struct Lent {
    file: OwnedFd,
    size: u64,
    /// Zero for a message queue, whose size is fixed.
    blocks: i64,
    /// Whether the kernel can report that the client has closed it.
    is_own: bool,
}

impl Lent {
    /// Keeps a copy of a descriptor that is about to be handed over, if it is a file.
    ///
    /// # Errors
    /// The system allows no more descriptors.
    pub(super) fn of(descriptor: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let stat = fstat(descriptor)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // Another user who may open it could break the lease that shows it, and a lease that is broken is a signal.
        let is_own = stat.st_mode & 0o077 == 0;
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let again = openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let (file, is_own) = match again {
            Ok(file) => (file, is_own),
            Err(error @ (Errno::MFILE | Errno::NFILE)) => return Err(error),
            Err(_) => (fcntl_dupfd_cloexec(descriptor, 3)?, false),
        };
        Ok(Some(Self { file, size, blocks: stat.st_blocks, is_own }))
    }

    /// Whether the client still has it, as far as the kernel can say.
    pub(super) fn is_held(&self) -> bool {
        self.is_own && is_open_elsewhere(self.file.as_fd())
    }

    /// Whether the client has made it larger.
    pub(super) fn has_grown(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_blocks > self.blocks + RECORDS)
    }

    /// Empties it.
    pub(super) fn revoke(&self) {
        if self.blocks == 0 {
            return;
        }
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

impl Drop for Lent {
    fn drop(&mut self) {
        self.revoke();
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
    fn what_the_client_has_not_closed_is_held() {
        let memory = rustix::shm::open(
            "/ipcd-test-lent",
            rustix::shm::OFlags::RDWR | rustix::shm::OFlags::CREATE,
            Mode::RUSR | Mode::WUSR,
        )
        .unwrap();
        rustix::shm::unlink("/ipcd-test-lent").unwrap();
        fallocate(&memory, FallocateFlags::empty(), 0, 4096).unwrap();
        let lent = Lent::of(memory.as_fd()).unwrap().unwrap();
        let copy = memory.try_clone().unwrap();
        drop(memory);
        assert!(lent.is_held());
        drop(copy);
        assert!(!lent.is_held());
    }

    #[test]
    fn what_has_no_contents_is_not_kept() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Lent::of(reader.as_fd()).unwrap().is_none());
    }
}
