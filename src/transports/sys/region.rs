//! Memory that two processes share, accessed through atomics, copies and semaphores only.

use std::hint::black_box;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::result;
use super::truncation::Guard;

/// Memory that another process also maps, and its owner, which keeps it mapped.
///
/// The other process is not trusted: it may write anything at any time. So no reference to plain data is ever made,
/// only to atomics, and bytes are copied out before they are examined. A peer that truncates the memory kills this
/// process by SIGBUS. A responder is a separate process for that reason; a client [survives](Self::outliving_truncation)
/// it.
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Dropped before the mapping.
    _guard: Option<Guard>,
    /// Keeps the mapping alive; dropped with the region.
    _owner: Box<dyn std::any::Any>,
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Region({} bytes)", self.len)
    }
}

impl Region {
    /// The memory of a `shared_memory` segment.
    #[must_use]
    pub(crate) fn of_shmem(shmem: shared_memory::Shmem) -> Self {
        let base = NonNull::new(shmem.as_ptr()).expect("a mapping is never at address 0");
        Self { base, len: shmem.len(), _guard: None, _owner: Box::new(shmem) }
    }

    /// The first `len` bytes of a file that is at least this long: an access beyond its end raises SIGBUS.
    ///
    /// # Errors
    /// The system's.
    pub fn of_file(file: impl AsFd, len: usize) -> std::io::Result<Self> {
        let mapping = Mapping::of(file, len)?;
        Ok(Self { base: mapping.base, len, _guard: None, _owner: Box::new(mapping) })
    }

    /// `len` bytes on the heap, a multiple of 8, for two threads instead of two processes: each gets its own region over
    /// them. Miri, which cannot map files, then sees every access.
    #[cfg(test)]
    pub(in crate::transports) fn between_threads(len: usize) -> [impl FnOnce() -> Self + Send; 2] {
        use std::sync::Arc;
        let words: Arc<[AtomicU64]> = std::iter::repeat_with(AtomicU64::default).take(len / 8).collect();
        let side = |words: Arc<[AtomicU64]>| {
            move || Self { base: NonNull::from(&*words).cast(), len, _guard: None, _owner: Box::new(words) }
        };
        [side(Arc::clone(&words)), side(words)]
    }

    /// The same memory, where an access beyond its end, if another process truncates it, does not kill this process:
    /// [`was_truncated`](super::was_truncated) reports it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn outliving_truncation(self) -> std::io::Result<Self> {
        let guard = Guard::over(self.base.as_ptr().addr(), self.len)?;
        Ok(Self { _guard: Some(guard), ..self })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.len
    }

    /// The word at `offset` bytes.
    ///
    /// # Panics
    /// If it is unaligned or outside.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4) && offset <= self.len && 4 <= self.len - offset,
            "the layout is inside the region"
        );
        // SAFETY: inside the mapping, which lives as long as `self`; page-aligned base plus a multiple of 4 is
        // aligned; an atomic may be shared with another process.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The address of a `T` at `offset` bytes.
    ///
    /// # Panics
    /// If it is unaligned or outside.
    #[inline(always)]
    fn address<T>(&self, offset: usize) -> *mut T {
        let fits = offset <= self.len && size_of::<T>() <= self.len - offset;
        assert!(fits && offset.is_multiple_of(align_of::<T>()), "the layout is inside the region");
        self.base.as_ptr().wrapping_add(offset).cast()
    }

    /// Copies `bytes` into the region at `offset`.
    ///
    /// # Panics
    /// If they do not fit.
    #[inline(always)]
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.len && bytes.len() <= self.len - offset, "the layout is inside the region");
        // SAFETY: the destination is inside the mapping and cannot overlap `bytes`, which is this process's own
        // memory. The words around it order this copy with the peer's; a peer that breaks that order only reads
        // other bytes, and any bytes are valid.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(self.base.as_ptr().add(offset), bytes.len()) };
    }

    /// Copies bytes out of the region at `offset`.
    ///
    /// # Panics
    /// If they are outside.
    #[inline(always)]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset <= self.len && bytes.len() <= self.len - offset, "the layout is inside the region");
        // SAFETY: as in `write`.
        unsafe { self.base.as_ptr().add(offset).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        // A receiver ends up with the bytes in its own memory. Otherwise, a compiler that sees a whole echo would copy
        // from region to region, and omit this copy.
        black_box(bytes);
    }

    /// Copies a few bytes into the region at `offset`, in stores of 8 bytes, which is fastest and cannot be optimised away.
    ///
    /// # Panics
    /// If they do not fit, or are not a multiple of 8 at a multiple of 8.
    #[inline(always)]
    pub(crate) fn store<const LEN: usize>(&self, offset: usize, bytes: &[u8; LEN]) {
        for (index, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
            self.eight::<LEN>(offset, index).store(u64::from_ne_bytes(*eight), Ordering::Relaxed);
        }
    }

    /// The inverse of [`store`](Self::store).
    ///
    /// # Panics
    /// As for `store`.
    #[inline(always)]
    pub(crate) fn load<const LEN: usize>(&self, offset: usize, bytes: &mut [u8; LEN]) {
        for (index, eight) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *eight = self.eight::<LEN>(offset, index).load(Ordering::Relaxed).to_ne_bytes();
        }
    }

    /// The 8 bytes at `index` of the `LEN` bytes at `offset`.
    #[inline(always)]
    fn eight<const LEN: usize>(&self, offset: usize, index: usize) -> &AtomicU64 {
        const { assert!(LEN.is_multiple_of(8)) };
        assert!(
            offset.is_multiple_of(8) && offset <= self.len && LEN <= self.len - offset && index < LEN / 8,
            "the layout is inside the region"
        );
        // SAFETY: inside the mapping, which lives as long as `self`; page-aligned base plus a multiple of 8 is
        // aligned; an atomic may be shared with another process.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset + 8 * index).cast()) }
    }
}

/// A shared mapping of a file's first bytes. Dropping it unmaps them.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes, to read and to write.
    fn of(file: impl AsFd, len: usize) -> std::io::Result<Self> {
        // SAFETY: a new mapping, at an address of the kernel's choice: no memory in use changes.
        let base = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0)?
        };
        Ok(Self { base: NonNull::new(base.cast()).expect("a mapping is never at address 0"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and every access to it borrows the region that owns the value.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A semaphore in shared memory.
///
/// The other process may overwrite it, like the rest of the memory. It holds numbers only, so that the worst effect is a wait
/// that is too long or too short.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore<'a> {
    semaphore: *mut libc::sem_t,
    region: PhantomData<&'a Region>,
}

impl<'a> Semaphore<'a> {
    /// The semaphore at `offset` bytes. One side [makes](Self::make) it before the other accesses it.
    ///
    /// # Panics
    /// If it is unaligned or outside.
    #[inline(always)]
    #[must_use]
    pub fn at(region: &'a Region, offset: usize) -> Self {
        Self { semaphore: region.address(offset), region: PhantomData }
    }

    /// Initialises it to 0.
    ///
    /// # Errors
    /// The system's: it does not support semaphores between processes.
    pub fn make(self) -> Result<(), Errno> {
        // SAFETY: aligned, inside the mapping, and used for nothing else.
        result(unsafe { libc::sem_init(self.semaphore, 1, 0) })
    }

    /// Increments it, and wakes a waiter.
    ///
    /// # Errors
    /// The system's: the count overflows.
    #[inline(always)]
    pub fn post(self) -> Result<(), Errno> {
        // SAFETY: as in `make`, which one side has called.
        result(unsafe { libc::sem_post(self.semaphore) })
    }

    /// Decrements it.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if it is 0 and `wait` is false; [`Errno::INTR`] if a signal handler has run.
    #[inline(always)]
    pub fn take(self, wait: bool) -> Result<(), Errno> {
        // SAFETY: as in `make`, which one side has called.
        result(unsafe {
            if wait { libc::sem_wait(self.semaphore) } else { libc::sem_trywait(self.semaphore) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const LEN: usize = 64;

    fn region() -> Region {
        let [side, _] = Region::between_threads(LEN);
        side()
    }

    #[test]
    fn bytes_are_read_back_from_every_offset() {
        let region = region();
        for len in [0, 1, 7, 8, 9, LEN] {
            for offset in 0..=LEN - len {
                let bytes: Vec<u8> = (1..).map(|n: usize| (n + offset) as u8).take(len).collect();
                let mut back = vec![0; len];
                region.write(offset, &bytes);
                region.read(offset, &mut back);
                assert_eq!(back, bytes, "{len} at {offset}");
            }
        }
    }

    #[test]
    fn copies_and_words_access_the_same_memory() {
        let [this, other] = Region::between_threads(LEN);
        let (this, other) = (this(), other());
        for offset in (0..=LEN - 24).step_by(8) {
            let piece: [u8; 24] = std::array::from_fn(|at| (at + offset) as u8);
            let mut back = ([0; 24], [0; 24]);
            this.store(offset, &piece);
            other.load(offset, &mut back.0);
            other.read(offset, &mut back.1);
            assert_eq!(back, (piece, piece), "at {offset}");
        }
        for offset in (0..LEN).step_by(4) {
            let value = 0x0102_0304 * (offset as u32 / 4 + 1);
            let mut back = [0; 4];
            this.word(offset).store(value, Ordering::Release);
            other.read(offset, &mut back);
            assert_eq!(back, value.to_ne_bytes(), "at {offset}");
            assert_eq!(this.address::<u32>(offset), other.address(offset));
        }
    }

    #[test]
    fn memory_outlives_the_other_side() {
        let [this, other] = Region::between_threads(LEN);
        let this = this();
        other().word(LEN - 4).store(7, Ordering::Relaxed);
        assert_eq!(this.word(LEN - 4).load(Ordering::Relaxed), 7);
    }

    /// Even if the sum of offset and length overflows.
    #[test]
    fn an_access_outside_panics() {
        let region = region();
        let refused = |what: &str, access: &dyn Fn(usize), offset: usize| {
            let panic = catch_unwind(AssertUnwindSafe(|| access(offset))).expect_err(what);
            let message = panic.downcast_ref::<&str>().copied();
            assert_eq!(message, Some("the layout is inside the region"), "{what} at {offset}");
        };
        for offset in [LEN + 4, usize::MAX - 3, usize::MAX - 7, usize::MAX] {
            refused("write", &|at| region.write(at, &[1; 4]), offset);
            refused("read", &|at| region.read(at, &mut [1; 4]), offset);
        }
        for offset in [2, LEN - 2, LEN, LEN + 4, usize::MAX - 3, usize::MAX - 7] {
            refused("word", &|at| _ = region.word(at), offset);
            refused("address", &|at| _ = region.address::<u32>(at), offset);
        }
        for offset in [4, LEN - 8, LEN, LEN + 8, usize::MAX - 7, usize::MAX - 15] {
            refused("store", &|at| region.store(at, &[1; 16]), offset);
            refused("load", &|at| region.load(at, &mut [1; 16]), offset);
        }
        refused("write", &|at| region.write(at, &[1; LEN]), 1);
        refused("read", &|at| region.read(at, &mut [1; LEN]), 1);
    }
}
