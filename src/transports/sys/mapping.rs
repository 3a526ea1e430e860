//! A file's pages in this process's memory, and whether there is room for more.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// The first bytes of a file, shared with whoever maps it too. Unmapped with the value.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes, to read and to write.
    pub(super) fn of(file: impl AsFd, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, where the kernel likes: no memory that is in use changes.
        let base = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0)?
        };
        Ok(Self { base: NonNull::new(base.cast()).expect("a mapping is never at address 0"), len })
    }
}

/// Whether this process may map so many bytes more (`RLIMIT_AS`). What is only allocated ends the process where it may
/// not, without a word to anybody.
///
/// # Errors
/// The system's.
pub(crate) fn find_room(bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
    // SAFETY: a new mapping, where the kernel likes, which nobody but this function knows of.
    unsafe {
        let base =
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        munmap(base, len)?;
    }
    Ok(())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whoever reaches into it holds the value.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_found_where_there_is_some() {
        find_room(1 << 20).unwrap();
        if cfg!(miri) {
            // Miri calls so much an invalid argument.
            return;
        }
        let error = find_room(u64::MAX / 2).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOMEM));
    }
}
