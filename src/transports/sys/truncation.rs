//! Memory that another process truncates, survived: where its pages were, empty ones take their place.
//!
//! Whoever may write to a file that is mapped (a segment of `shm_open`, a file) may truncate it too, and the next access
//! beyond its new end is SIGBUS. A responder dies of it, which is what a process of its own is for; a client has other
//! results to tell. In a guarded region the access is made to private, empty memory instead, and the thread that made it
//! is [told](was_truncated).

use std::cell::Cell;
use std::io;
use std::mem;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::result;

/// A guarded piece of this process's memory. Places are never freed, since the handler may be looking at them, but used
/// again.
struct Place {
    /// Address of its first byte; 0 if it is free.
    start: AtomicUsize,
    end: AtomicUsize,
    next: *const Place,
}

static PLACES: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);

thread_local! {
    /// Set by the handler, which runs in the thread that has touched the memory.
    static TRUNCATED: Cell<bool> = const { Cell::new(false) };
}

/// Guards a piece of memory as long as the value lives.
#[derive(Debug)]
pub(super) struct Guard(&'static AtomicUsize);

impl Guard {
    /// Guards `len` bytes at `start`, which are mapped by this process and stay so.
    pub(super) fn over(start: usize, len: usize) -> io::Result<Self> {
        install()?;
        Ok(Self::in_list(start, len))
    }

    /// Tells the handler of it.
    fn in_list(start: usize, len: usize) -> Self {
        let place = free_place();
        place.end.store(start + len, Ordering::Relaxed);
        place.start.store(start, Ordering::Release);
        Self(&place.start)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// A place that nobody else will get.
fn free_place() -> &'static Place {
    /// Taken, and guards nothing yet: no mapping is there.
    const TAKEN: usize = 1;
    if let Some(place) = places()
        .find(|place| place.start.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    {
        return place;
    }
    let new = Box::leak(Box::new(Place {
        start: AtomicUsize::new(TAKEN),
        end: AtomicUsize::new(0),
        next: ptr::null(),
    }));
    let mut head = PLACES.load(Ordering::Acquire);
    loop {
        new.next = head;
        match PLACES.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return new,
            Err(other) => head = other,
        }
    }
}

fn places() -> impl Iterator<Item = &'static Place> {
    let mut next: *const Place = PLACES.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a leaked box that was whole before it was put into the list and whose `next` stays.
        let place = unsafe { next.as_ref() }?;
        next = place.next;
        Some(place)
    })
}

/// Whether guarded memory was truncated and this thread has touched what is no more; asked once, it is forgotten.
#[must_use]
pub(crate) fn was_truncated() -> bool {
    TRUNCATED.with(|truncated| {
        let truncated = truncated.as_ptr();
        // SAFETY: the cell is this thread's own; volatile, since the handler writes behind the compiler's back.
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
        // SAFETY: all-zero is a valid sigaction; the handler does only what it may, see there.
        installed = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            result(libc::sigaction(libc::SIGBUS, &action, ptr::null_mut())).map_err(Into::into)
        };
    });
    installed
}

/// Takes no lock, allocates nothing, and makes one system call.
extern "C" fn on_sigbus(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over a valid siginfo_t, which has an address where the code is this one.
    let address = unsafe { ((*info).si_code == libc::BUS_ADRERR).then(|| (*info).si_addr().addr()) };
    let is_guarded = |address: &usize| {
        places().any(|place| {
            let start = place.start.load(Ordering::Acquire);
            start > 1 && (start..place.end.load(Ordering::Relaxed)).contains(address)
        })
    };
    if let Some(address) = address.filter(is_guarded) {
        let page = PAGE.load(Ordering::Relaxed);
        let start = ptr::without_provenance_mut(address - address % page);
        // SAFETY: replaces one page of a mapping that is guarded, which nobody reaches but by atomics and copies for
        // which any bytes are valid.
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
    // Somebody else's trouble: the access is made again, and ends the process.
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
    fn truncated_memory_is_empty_and_told_and_the_rest_stays() {
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
        assert!(!was_truncated(), "that page is still there");
        assert_eq!(region.word(2 * page).load(Ordering::Relaxed), 0);
        assert!(was_truncated());
        assert!(!was_truncated(), "it is told once");
        let mut bytes = [1; 8];
        region.read(page, &mut bytes);
        assert_eq!((bytes, was_truncated()), ([0; 8], true));
        region.write(page, &[9; 8]);
        assert!(!was_truncated(), "it is this process's own now");
    }

    #[test]
    fn a_place_is_used_again_and_never_by_two() {
        let guard = Guard::in_list(1 << 20, 4096);
        let first = ptr::from_ref(guard.0);
        drop(guard);
        let guards: Vec<_> = (0..100).map(|n| Guard::in_list((n + 2) << 20, 4096)).collect();
        // Other tests guard memory at the same time.
        let before = places().count();
        drop(guards);
        let guards: Vec<_> = (0..50).map(|n| Guard::in_list((n + 2) << 20, 4096)).collect();
        assert!(places().count() <= before + 8, "{} after {before}", places().count());
        assert!(places().any(|place| ptr::eq(&place.start, first)));
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
    fn what_the_handler_leaves_is_told_once() {
        TRUNCATED.set(true);
        assert!(was_truncated());
        assert!(!was_truncated());
    }
}
