//! Signals: their handlers and masks, and real-time ones that carry a word from one thread to another.

use std::{io, mem, ptr};

use rustix::io::Errno;

use super::{last_errno, result};

/// A handler that the kernel calls with the signal's number and origin.
pub(super) type Handler = extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void);

/// Installs a handler for the whole process, without `SA_RESTART`: it interrupts blocking calls.
///
/// # Safety
/// The handler calls only functions that are async-signal-safe, and survives interrupting any code of the process.
pub(super) unsafe fn install(signal: libc::c_int, handler: Handler, flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid sigaction with an empty mask; the caller vouches for the handler.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        result(libc::sigaction(signal, &action, ptr::null_mut()))
    }
}

/// Blocks (`SIG_BLOCK`) or unblocks (`SIG_UNBLOCK`) a signal in this thread. Returns the set of this one signal, and the
/// mask before.
pub(super) fn mask(how: libc::c_int, signal: libc::c_int) -> Result<(libc::sigset_t, libc::sigset_t), Errno> {
    // SAFETY: all-zero is a valid, empty sigset_t, and every pointer is to a live local.
    unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = mem::zeroed();
        libc::sigaddset(&mut set, signal);
        match libc::pthread_sigmask(how, &set, &mut before) {
            0 => Ok((set, before)),
            error => Err(Errno::from_raw_os_error(error)),
        }
    }
}

/// The signal that carries words: a real-time one, next to that of the [ticks](super::Ticker).
fn number() -> libc::c_int {
    libc::SIGRTMIN() + 12
}

/// A thread's endpoint for words sent by signals.
#[derive(Debug)]
pub struct Words {
    set: libc::sigset_t,
    /// This process.
    pid: libc::pid_t,
}

/// The kernel's layout of a `siginfo_t` of `SI_QUEUE`, on 64-bit Linux.
#[repr(C)]
struct Queued {
    number: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    _gap: libc::c_int,
    pid: libc::pid_t,
    uid: libc::uid_t,
    word: u64,
    _rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

impl Words {
    /// Blocks the signal in this thread for good: it stays pending until it is received here, and a late one does no harm.
    ///
    /// # Errors
    /// The system's.
    pub fn of_this_thread() -> io::Result<Self> {
        let (set, _) = mask(libc::SIG_BLOCK, number())?;
        Ok(Self { set, pid: std::process::id().cast_signed() })
    }

    /// Sends a word to thread `tid` of process `pid`, as `sigqueue` would to any thread of it.
    ///
    /// # Errors
    /// The system's; [`Errno::NOBUFS`] if the receiver's `RLIMIT_SIGPENDING` is reached: waiting need not help, since the
    /// pending signals may belong to other programs; [`Errno::PIPE`] if the thread is gone.
    #[inline(always)]
    pub fn send(&self, pid: i32, tid: i32, word: u64) -> Result<(), Errno> {
        let info = Queued {
            number: number(),
            errno: 0,
            code: libc::SI_QUEUE,
            _gap: 0,
            pid: self.pid,
            uid: 0,
            word,
            _rest: [0; 12],
        };
        // SAFETY: the pointer is to a live local of the size and layout that the kernel copies.
        let status =
            unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, info.number, &raw const info) };
        if status == 0 {
            return Ok(());
        }
        match last_errno() {
            Errno::SRCH => Err(Errno::PIPE),
            Errno::AGAIN => Err(Errno::NOBUFS),
            other => Err(other),
        }
    }

    /// Sends a word to this thread and receives it, to see whether that works.
    ///
    /// # Errors
    /// As for [`send`](Self::send), but [`Errno::AGAIN`] if the limit is reached.
    pub(crate) fn try_out(&self) -> Result<(), Errno> {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        self.send(self.pid, tid, 0)
            .map_err(|error| if error == Errno::NOBUFS { Errno::AGAIN } else { error })?;
        self.receive(self.pid, false).map(drop)
    }

    /// Receives a word from process `pid`.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if there is none and `wait` is false; [`Errno::INTR`] if a signal handler has run, or
    /// if another process has sent the signal.
    #[inline(always)]
    pub(crate) fn receive(&self, pid: i32, wait: bool) -> Result<u64, Errno> {
        // SAFETY: all-zero is a valid siginfo_t and timespec; every pointer is to a live value. With this code, the kernel
        // has filled in the fields that are read; any bytes are valid for them.
        unsafe {
            let mut info: libc::siginfo_t = mem::zeroed();
            let number = if wait {
                libc::sigwaitinfo(&self.set, &mut info)
            } else {
                let now: libc::timespec = mem::zeroed();
                libc::sigtimedwait(&self.set, &mut info, &now)
            };
            if number < 0 {
                return Err(last_errno());
            }
            if info.si_code != libc::SI_QUEUE || info.si_pid() != pid {
                return Err(Errno::INTR);
            }
            Ok(info.si_value().sival_ptr.addr() as u64)
        }
    }
}

/// Whether a word can be sent and received here. Restores this thread's mask.
///
/// # Errors
/// As [`Words::try_out`]; the signal then stays blocked, since a pending one would kill the process.
pub(crate) fn probe() -> Result<(), Errno> {
    let (set, before) = mask(libc::SIG_BLOCK, number())?;
    Words { set, pid: std::process::id().cast_signed() }.try_out()?;
    // SAFETY: the pointer is to a live local.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (i32, i32) {
        (std::process::id().cast_signed(), rustix::thread::gettid().as_raw_nonzero().get())
    }

    #[test]
    fn a_word_arrives_whole_and_only_from_the_named_process() {
        let words = Words::of_this_thread().unwrap();
        let (pid, tid) = ids();
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN));
        words.send(pid, tid, 0xfedc_ba98_7654_3210).unwrap();
        words.send(pid, tid, 2).unwrap();
        assert_eq!(words.receive(pid, true), Ok(0xfedc_ba98_7654_3210));
        assert_eq!(words.receive(pid + 1, true), Err(Errno::INTR), "another process's");
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN), "it was dropped");
        words.try_out().unwrap();
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN), "trying leaves nothing behind");
    }

    #[test]
    fn probing_restores_the_signal_mask() {
        let blocked = || {
            // SAFETY: all-zero is a valid sigset_t; without a new set, the mask is only read.
            unsafe {
                let mut set: libc::sigset_t = mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut set);
                libc::sigismember(&set, number()) == 1
            }
        };
        let before = blocked();
        probe().unwrap();
        assert_eq!(blocked(), before);
        Words::of_this_thread().unwrap();
        probe().unwrap();
        assert!(blocked());
    }

    #[test]
    fn sending_to_a_thread_that_has_ended_is_an_error() {
        let words = Words::of_this_thread().unwrap();
        let tid = std::thread::spawn(|| ids().1).join().unwrap();
        assert_eq!(words.send(ids().0, tid, 1), Err(Errno::PIPE));
    }
}
