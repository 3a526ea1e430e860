//! Surviving a peer that truncates shared memory: pages that are gone are replaced by empty ones.
//!
//! A process that may write to a mapped file (a segment of `shm_open`, a file) may also truncate it, and the next access
//! beyond its new end raises SIGBUS. A responder dies of that, which is why it is a process; a client has other results to
//! report. In a guarded region the access goes to private, empty memory instead, and the thread that made it [can find
//! out](was_truncated).

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::{io, ptr};

use super::signal;

/// An entry for a guarded range of memory. Entries are reused but never freed, since the handler may be reading them.
struct Entry {
    /// Address of the range's first byte; 0 if the entry is free.
    start: AtomicUsize,
    end: AtomicUsize,
    next: *const Entry,
}

static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);

thread_local! {
    /// Set by the handler, which runs in the thread that has accessed the memory.
    static TRUNCATED: Cell<bool> = const { Cell::new(false) };
}

/// Guards a range of memory for as long as the value lives.
#[derive(Debug)]
pub(super) struct Guard(&'static AtomicUsize);

impl Guard {
    /// Guards `len` bytes at `start`, which this process keeps mapped.
    pub(super) fn over(start: usize, len: usize) -> io::Result<Self> {
        install()?;
        Ok(Self::in_list(start, len))
    }

    /// Makes the range known to the handler.
    fn in_list(start: usize, len: usize) -> Self {
        let entry = free_entry();
        entry.end.store(start + len, Ordering::Relaxed);
        entry.start.store(start, Ordering::Release);
        Self(&entry.start)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Reserves an entry.
fn free_entry() -> &'static Entry {
    /// Reserved, without a range: never an address of a mapping.
    const TAKEN: usize = 1;
    if let Some(entry) = entries()
        .find(|entry| entry.start.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    {
        return entry;
    }
    let new = Box::leak(Box::new(Entry {
        start: AtomicUsize::new(TAKEN),
        end: AtomicUsize::new(0),
        next: ptr::null(),
    }));
    let mut head = ENTRIES.load(Ordering::Acquire);
    loop {
        new.next = head;
        match ENTRIES.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return new,
            Err(other) => head = other,
        }
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    let mut next: *const Entry = ENTRIES.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a leaked box that was whole before it was put into the list and whose `next` stays.
        let entry = unsafe { next.as_ref() }?;
        next = entry.next;
        Some(entry)
    })
}

/// Whether this thread has accessed guarded memory that was truncated; asking resets the answer.
#[must_use]
pub(crate) fn was_truncated() -> bool {
    TRUNCATED.with(|truncated| {
        let truncated = truncated.as_ptr();
        // SAFETY: the cell is this thread's; volatile, since the handler writes behind the compiler's back.
        unsafe {
            let was = truncated.read_volatile();
            truncated.write_volatile(false);
            was
        }
    })
}

fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut installed = Ok(());
    ONCE.call_once(|| {
        PAGE.store(rustix::param::page_size(), Ordering::Relaxed);
        // SAFETY: the handler takes no lock, allocates nothing, and makes async-signal-safe calls only.
        installed = unsafe { signal::install(libc::SIGBUS, on_sigbus, libc::SA_ONSTACK) }.map_err(Into::into);
    });
    installed
}

/// Replaces the page if it is guarded; otherwise restores the default action.
extern "C" fn on_sigbus(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo_t, which has an address if it has this code.
    let address = unsafe { ((*info).si_code == libc::BUS_ADRERR).then(|| (*info).si_addr().addr()) };
    let is_guarded = |address: &usize| {
        entries().any(|entry| {
            let start = entry.start.load(Ordering::Acquire);
            start > 1 && (start..entry.end.load(Ordering::Relaxed)).contains(address)
        })
    };
    if let Some(address) = address.filter(is_guarded) {
        let page = PAGE.load(Ordering::Relaxed);
        let start = ptr::without_provenance_mut(address - address % page);
        // SAFETY: replaces one page of a guarded mapping, which is accessed only by atomics and copies for which any
        // bytes are valid.
        let mapped = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            libc::mmap(start, page, access, kind, -1, 0)
        };
        if mapped != libc::MAP_FAILED {
            // SAFETY: as in `was_truncated`.
            TRUNCATED.with(|truncated| unsafe { truncated.as_ptr().write_volatile(true) });
            return;
        }
    }
    // Not a guarded access: it is made again, and ends the process.
    // SAFETY: takes a number only.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::super::Region;
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no file and delivers no signal")]
    fn truncated_memory_is_empty_and_reported_and_the_rest_is_kept() {
        let file = memfd_create("ipcd-test", MemfdFlags::CLOEXEC).unwrap();
        let page = rustix::param::page_size();
        ftruncate(&file, 3 * page as u64).unwrap();
        let region = Region::of_file(&file, 3 * page).unwrap().outliving_truncation().unwrap();
        for at in [0, page, 2 * page] {
            region.word(at).store(7, Ordering::Relaxed);
        }
        assert!(!was_truncated());
        ftruncate(&file, page as u64).unwrap();
        assert_eq!(region.word(0).load(Ordering::Relaxed), 7);
        assert!(!was_truncated(), "that page still exists");
        assert_eq!(region.word(2 * page).load(Ordering::Relaxed), 0);
        assert!(was_truncated());
        assert!(!was_truncated(), "it is reported once");
        let mut bytes = [1; 8];
        region.read(page, &mut bytes);
        assert_eq!((bytes, was_truncated()), ([0; 8], true));
        region.write(page, &[9; 8]);
        assert!(!was_truncated(), "the page is private now");
    }

    #[test]
    fn an_entry_is_reused_and_never_shared() {
        let guard = Guard::in_list(1 << 20, 4096);
        let first = ptr::from_ref(guard.0);
        drop(guard);
        let guards: Vec<_> = (0..100).map(|n| Guard::in_list((n + 2) << 20, 4096)).collect();
        // Other tests guard memory at the same time.
        let before = entries().count();
        drop(guards);
        let guards: Vec<_> = (0..50).map(|n| Guard::in_list((n + 2) << 20, 4096)).collect();
        assert!(entries().count() <= before + 8, "{} after {before}", entries().count());
        assert!(entries().any(|entry| ptr::eq(&entry.start, first)));
        drop(guards);

        let hold = |thread: usize| {
            let starts = || (1..=8).map(|n| (100 * thread + n) << 20);
            let guards: Vec<_> = starts().map(|start| Guard::in_list(start, 4096)).collect();
            thread::yield_now();
            assert!(guards.iter().map(|guard| guard.0.load(Ordering::Relaxed)).eq(starts()));
        };
        thread::scope(|scope| {
            for thread in 2..=4 {
                scope.spawn(move || (0..8).for_each(|_| hold(thread)));
            }
        });
    }

    #[test]
    fn a_truncation_is_reported_once() {
        TRUNCATED.set(true);
        assert!(was_truncated());
        assert!(!was_truncated());
    }
}
