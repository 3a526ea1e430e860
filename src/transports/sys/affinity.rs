//! The CPUs that a thread may run on, on hosts of any size: the C library's type ends at CPU 1023.

use rustix::io::Errno;

use super::last_errno;

const WORD_BITS: u32 = u64::BITS;

/// The first size tried for a mask, in words: 1024 CPUs.
const FIRST_WORDS: usize = 16;

/// The largest size tried: 65,536 CPUs, eight times as many as Linux supports.
const MOST_WORDS: usize = 1024;

/// A set of CPUs in the kernel's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Affinity(Vec<u64>);

impl Affinity {
    /// The CPUs that the calling thread may run on.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_thread() -> Result<Self, Errno> {
        Self::read(|mask| {
            // SAFETY: the kernel writes no more than the length of the buffer, which is valid.
            let written = unsafe {
                libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(mask), mask.as_mut_ptr())
            };
            if written < 0 { Err(last_errno()) } else { Ok(()) }
        })
    }

    /// The mask that `read` fills in. As the kernel, it refuses one that is shorter than its own.
    fn read(mut read: impl FnMut(&mut [u64]) -> Result<(), Errno>) -> Result<Self, Errno> {
        let mut mask = vec![0; FIRST_WORDS];
        loop {
            match read(&mut mask) {
                Ok(()) => return Ok(Self(mask)),
                Err(Errno::INVAL) if mask.len() < MOST_WORDS => mask = vec![0; mask.len() * 2],
                Err(error) => return Err(error),
            }
        }
    }

    /// One CPU.
    pub(crate) fn only(cpu: u32) -> Self {
        let word = usize::try_from(cpu / WORD_BITS).expect("a u32 fits in a usize");
        let mut mask = vec![0; FIRST_WORDS.max(word + 1)];
        mask[word] = 1 << (cpu % WORD_BITS);
        Self(mask)
    }

    /// Has the calling thread run on these CPUs alone.
    ///
    /// # Errors
    /// The system's; [`Errno::INVAL`] if it may not run on any of them.
    pub(crate) fn apply(&self) -> Result<(), Errno> {
        let mask = &self.0[..];
        // SAFETY: the kernel reads no more than the length of the buffer, which is valid.
        let status =
            unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
        if status == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// The CPUs, in ascending order.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = u32> + '_ {
        let words = (0_u32..).step_by(64).zip(&self.0);
        words.flat_map(|(first, word)| {
            (0..WORD_BITS).filter(move |bit| word & (1 << bit) != 0).map(move |bit| first + bit)
        })
    }

    /// The only CPU, if there is only one.
    pub(crate) fn single(&self) -> Option<u32> {
        let mut cpus = self.cpus();
        cpus.next().filter(|_| cpus.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel for this many CPUs, which allows these.
    fn host(cpus: usize, allowed: &[u32]) -> Result<Affinity, Errno> {
        Affinity::read(|mask| {
            if mask.len() * 64 < cpus {
                return Err(Errno::INVAL);
            }
            for cpu in allowed {
                mask[*cpu as usize / 64] |= 1 << (cpu % 64);
            }
            Ok(())
        })
    }

    #[test]
    fn hosts_of_any_size_are_read() {
        for (cpus, allowed) in
            [(2, vec![0, 1]), (1024, vec![3, 1023]), (1025, vec![1024]), (8192, vec![0, 1500, 8191])]
        {
            let affinity = host(cpus, &allowed).unwrap();
            assert_eq!(affinity.cpus().collect::<Vec<_>>(), allowed);
            assert_eq!(affinity.single(), (allowed.len() == 1).then_some(allowed[0]));
        }
        assert_eq!(host(1 << 20, &[0]), Err(Errno::INVAL), "it ends");
        assert_eq!(Affinity::read(|_| Err(Errno::PERM)), Err(Errno::PERM));
    }

    #[test]
    fn one_cpu_of_a_large_host_is_named() {
        for cpu in [0, 63, 64, 1023, 1024, 8191] {
            assert_eq!(Affinity::only(cpu).single(), Some(cpu));
        }
    }

    #[test]
    fn a_thread_is_confined_and_released() {
        std::thread::spawn(|| {
            let before = Affinity::of_thread().unwrap();
            let cpu = before.cpus().last().unwrap();
            Affinity::only(cpu).apply().unwrap();
            assert_eq!(Affinity::of_thread().unwrap().single(), Some(cpu));
            before.apply().unwrap();
            assert_eq!(Affinity::of_thread().unwrap(), before);
            // This host has no such CPU, and the kernel accepts a mask for more than it has.
            assert_eq!(Affinity::only(60_000).apply(), Err(Errno::INVAL));
        })
        .join()
        .unwrap();
    }
}
