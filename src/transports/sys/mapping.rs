//! A file's pages in this process's memory.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whoever reaches into it holds the value.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
