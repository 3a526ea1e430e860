//! Real-time signals that carry a word, from one thread to another.

use std::io;
use std::mem;
use std::ptr;

use rustix::io::Errno;

use super::{last_errno, result};

/// The signal: a real-time one, next to that of the [ticks](super::Ticker).
fn number() -> libc::c_int {
    libc::SIGRTMIN() + 12
}

/// A thread's end of words that are sent by signals.
#[derive(Debug)]
pub struct Words {
    set: libc::sigset_t,
    /// This process.
    pid: libc::pid_t,
}

/// What the kernel takes as a `siginfo_t` of `SI_QUEUE`, on 64-bit Linux.
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
    /// Blocks the signal in this thread for good: it waits until it is received here, and a late one does no harm.
    ///
    /// # Errors
    /// The system's.
    pub fn of_this_thread() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigset_t, and both pointers are to a live local.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, number());
            match libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) {
                0 => Ok(Self { set, pid: std::process::id().cast_signed() }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Sends a word to thread `tid` of process `pid`, as `sigqueue` would to any thread of it.
    ///
    /// # Errors
    /// The system's; [`Errno::NOBUFS`] if as many signals as the receiver's `RLIMIT_SIGPENDING` allows are waiting: none of
    /// them need be of this channel, so that waiting is in vain; [`Errno::PIPE`] if the thread is gone.
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

    /// Whether a word can be sent to this thread now.
    ///
    /// # Errors
    /// As for [`send`](Self::send), but [`Errno::AGAIN`] if there is no room.
    pub(crate) fn try_out(&self) -> Result<(), Errno> {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        self.send(self.pid, tid, 0)
            .map_err(|error| if error == Errno::NOBUFS { Errno::AGAIN } else { error })?;
        self.receive(self.pid, false).map(drop)
    }

    /// Receives a word that process `pid` has sent.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if there is none and it may not `wait`; [`Errno::INTR`] if a signal handler has
    /// run, or if another process has sent the signal.
    #[inline(always)]
    pub(crate) fn receive(&self, pid: i32, wait: bool) -> Result<u64, Errno> {
        // SAFETY: all-zero is a valid siginfo_t and timespec; every pointer is to a live value. The kernel fills in
        // the fields that are read, as the code says; any bytes are valid for them.
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

/// Whether a word can be sent and received here. This thread blocks the signal afterwards if it did before.
///
/// # Errors
/// As [`Words::try_out`]; the signal then stays blocked, since one that is left would end the process.
pub(crate) fn probe() -> Result<(), Errno> {
    // SAFETY: all-zero is a valid sigset_t, and every pointer is to a live local.
    let (before, status) = unsafe {
        let mut before: libc::sigset_t = mem::zeroed();
        let status = libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut before);
        (before, status)
    };
    if status != 0 {
        return Err(Errno::from_raw_os_error(status));
    }
    let words = Words::of_this_thread().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    words.try_out()?;
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    Ok(())
}

/// How many signals may wait to be received, of this user.
#[must_use]
pub(crate) fn pending_limit() -> u64 {
    // SAFETY: all-zero is a valid rlimit, and the pointer is to a live local.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        match result(libc::getrlimit(libc::RLIMIT_SIGPENDING, &mut limit)) {
            Ok(()) => limit.rlim_cur,
            Err(_) => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (i32, i32) {
        (std::process::id().cast_signed(), rustix::thread::gettid().as_raw_nonzero().get())
    }

    #[test]
    fn a_word_comes_whole_and_from_whom_it_should() {
        let words = Words::of_this_thread().unwrap();
        let (pid, tid) = ids();
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN));
        words.send(pid, tid, 0xfedc_ba98_7654_3210).unwrap();
        words.send(pid, tid, 2).unwrap();
        assert_eq!(words.receive(pid, true), Ok(0xfedc_ba98_7654_3210));
        assert_eq!(words.receive(pid + 1, true), Err(Errno::INTR), "a stranger's");
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN), "it is not kept");
        words.try_out().unwrap();
        assert_eq!(words.receive(pid, false), Err(Errno::AGAIN), "nothing is left of trying");
    }

    #[test]
    fn a_look_at_the_host_leaves_the_signal_as_it_was() {
        // SAFETY: all-zero is a valid sigset_t, and every pointer is to a live local or null.
        let blocked = || {
            // SAFETY: the set is the caller's own, all zeros are one, and no mask is changed without another set.
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
    fn a_thread_that_is_gone_is_told() {
        let words = Words::of_this_thread().unwrap();
        let tid = std::thread::spawn(|| ids().1).join().unwrap();
        assert_eq!(words.send(ids().0, tid, 1), Err(Errno::PIPE));
    }
}
