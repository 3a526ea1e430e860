//! A connected stream socket driven through io_uring, behind an interface that cannot leave the kernel a dangling buffer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{Shutdown, shutdown};

use super::super::families::stream::adaptive_spin;
use super::super::{Alive, RoundError};
use crate::protocol::Wait;

/// Entries of the queues: at most a send and a receive are in flight.
const ENTRIES: u32 = 4;

/// How long the kernel's submission thread polls for work before it sleeps.
const SQPOLL_IDLE_MS: u32 = 100;

/// io_uring_enter(2): process completions.
const GETEVENTS: u32 = 1;

/// What a completion belongs to.
const SEND: u64 = 1;
const RECEIVE: u64 = 2;

/// How a ring is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingOptions {
    /// A kernel thread polls for submissions, which saves the system call.
    pub sqpoll: bool,
    /// Whether to wait in the kernel, or to poll the completion queue.
    pub wait: Wait,
}

/// A connected stream socket and the ring that drives it.
pub(crate) struct Ring {
    ring: IoUring,
    socket: OwnedFd,
    sqpoll: bool,
    wait: Wait,
    /// The longest send that an empty socket buffer takes whole, so that a linked receive may follow.
    linked_max: usize,
    /// An operation was abandoned. Entries that could not be submitted may point to freed memory: nothing is ever submitted
    /// after them.
    given_up: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({:?}, {})", self.socket, self.wait)
    }
}

/// A buffer that the kernel works on.
#[derive(Clone, Copy)]
struct Piece {
    start: *mut u8,
    len: usize,
}

impl Piece {
    const NONE: Self = Self { start: std::ptr::null_mut(), len: 0 };

    fn of(bytes: &mut [u8]) -> Self {
        Self { start: bytes.as_mut_ptr(), len: bytes.len() }
    }
}

impl Ring {
    /// A ring for `socket`, a connected stream socket in blocking mode.
    ///
    /// # Errors
    /// The kernel has no io_uring, or forbids this process to create or to use one.
    pub(crate) fn new(socket: OwnedFd, options: RingOptions) -> io::Result<Self> {
        let ring = working(options)?;
        let linked_max = socket_send_buffer_size(&socket)? / 4;
        Ok(Self { ring, socket, sqpoll: options.sqpoll, wait: options.wait, linked_max, given_up: false })
    }

    /// Whether a ring can be created and used.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub(crate) fn probe(options: RingOptions) -> io::Result<()> {
        working(options).map(drop)
    }

    /// Receives until `buffer` is full.
    ///
    /// # Errors
    /// The peer has closed, `alive` gives up, or the system's. The socket is shut down.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        self.transfer(Piece::NONE, Piece::of(buffer), alive, round)
    }

    /// Sends all of `out`, and receives until `into` is full.
    ///
    /// # Errors
    /// As [`Ring::receive`].
    #[inline]
    pub(crate) fn send_and_receive(
        &mut self,
        out: &[u8],
        into: &mut [u8],
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        // The kernel only reads what is sent.
        let out = Piece { start: out.as_ptr().cast_mut(), len: out.len() };
        self.transfer(out, Piece::of(into), alive, round)
    }

    /// Sends all of `buffer`, and receives until it is full again.
    ///
    /// # Errors
    /// As [`Ring::receive`].
    #[inline]
    pub(crate) fn send_and_refill(
        &mut self,
        buffer: &mut [u8],
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        let piece = Piece::of(buffer);
        self.transfer(piece, piece, alive, round)
    }

    /// Sends `out`, then fills `into`: with one submission if the send is short enough to be taken whole.
    ///
    /// The caller borrows both buffers for the duration of this call. [`Flight`] ensures that the kernel no longer uses
    /// them when it returns or unwinds.
    #[inline]
    fn transfer(
        &mut self,
        mut out: Piece,
        mut into: Piece,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        // The submission queue does not show it: the kernel's thread removes completed entries a moment later.
        if self.given_up {
            return Err(RoundError::PeerClosed);
        }
        while into.len > 0 {
            let linked = out.len <= self.linked_max;
            let mut flight = Flight { ring: self, pending: 0 };
            if out.len > 0 {
                flight.begin_send(out, linked)?;
            }
            if linked {
                flight.begin_receive(into)?;
            }
            let done = flight.land(into.len, alive, round)?;
            if let Some(sent) = done.sent {
                out = out.without(sent?);
            }
            match done.received {
                Some(Ok(0)) => return Err(RoundError::PeerClosed),
                Some(Ok(received)) => into = into.without(received),
                // The linked send was cut short: the rest is sent, and the receive is tried again.
                Some(Err(Errno::CANCELED)) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Piece {
    /// The rest after the first `done` bytes.
    fn without(self, done: usize) -> Self {
        let done = done.min(self.len);
        Self { start: self.start.wrapping_add(done), len: self.len - done }
    }

    /// Its length, limited to what one operation can carry.
    fn operation_len(self) -> u32 {
        u32::try_from(self.len).unwrap_or(u32::MAX)
    }
}

/// Results of one submission's operations; `None` for one that was not part of it.
#[derive(Default)]
struct Done {
    sent: Option<Result<usize, Errno>>,
    received: Option<Result<usize, Errno>>,
}

/// Operations in flight, with pointers into the caller's memory. Dropping it waits for them to end.
struct Flight<'a> {
    ring: &'a mut Ring,
    pending: usize,
}

impl Flight<'_> {
    fn begin_send(&mut self, piece: Piece, linked: bool) -> Result<(), RoundError> {
        let socket = types::Fd(self.ring.socket.as_raw_fd());
        let send = opcode::Send::new(socket, piece.start, piece.operation_len())
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(SEND);
        self.push(&if linked { send.flags(Flags::IO_LINK) } else { send })
    }

    fn begin_receive(&mut self, piece: Piece) -> Result<(), RoundError> {
        let socket = types::Fd(self.ring.socket.as_raw_fd());
        let receive = opcode::Recv::new(socket, piece.start, piece.operation_len()).flags(libc::MSG_WAITALL);
        self.push(&receive.build().user_data(RECEIVE))
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) -> Result<(), RoundError> {
        // SAFETY: the caller of `transfer` borrows the entry's memory, and the ring owns its socket. Both outlive this
        // value, which is dropped only once the kernel has completed the operation.
        let pushed = unsafe { self.ring.ring.submission().push(entry) };
        pushed.map_err(io::Error::other)?;
        self.pending += 1;
        Ok(())
    }

    /// Submits, and waits until all operations are completed. The other side has `size` bytes to move.
    #[inline]
    fn land(mut self, size: usize, alive: &mut impl Alive, round: u64) -> Result<Done, RoundError> {
        let mut done = Done::default();
        if self.ring.wait != Wait::Block && self.poll(&mut done, size, alive, round)? {
            return Ok(done);
        }
        loop {
            self.submit(self.pending)?;
            self.collect(&mut done);
            if self.pending == 0 {
                return Ok(done);
            }
            // Interrupted; if by a tick, a check is due.
            alive.check(round)?;
        }
    }

    /// Submits, and polls until all operations are completed, or an adaptive wait has polled long enough. Returns whether
    /// all are completed.
    #[inline]
    fn poll(
        &mut self,
        done: &mut Done,
        size: usize,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<bool, RoundError> {
        let mut since = None;
        if self.ring.sqpoll {
            self.submit(0)?;
        }
        loop {
            if self.ring.sqpoll {
                // The kernel's thread processes completions.
                std::hint::spin_loop();
            } else {
                self.enter()?;
            }
            self.collect(done);
            if self.pending == 0 {
                return Ok(true);
            }
            if alive.due() {
                alive.check(round)?;
            }
            if self.ring.wait == Wait::Adaptive
                && since.get_or_insert_with(Instant::now).elapsed() >= adaptive_spin(size)
            {
                return Ok(false);
            }
        }
    }

    /// Submits what was pushed, and processes completions, without waiting for more.
    #[inline]
    fn enter(&mut self) -> Result<(), io::Error> {
        let pushed = u32::try_from(self.ring.ring.submission().len()).expect("the queue has few entries");
        // SAFETY: the kernel knows the flag, which takes no argument.
        let entered =
            unsafe { self.ring.ring.submitter().enter::<libc::sigset_t>(pushed, 0, GETEVENTS, None) };
        interruptible(entered)
    }

    /// Submits what was pushed, and waits for `want` completions or a signal.
    fn submit(&self, want: usize) -> Result<(), io::Error> {
        interruptible(self.ring.ring.submit_and_wait(want))
    }

    /// How many operations the kernel works on, or still may. Entries that it has not taken stay in the queue: it takes
    /// them during a call, and [`Ring::transfer`] makes no more calls. With sqpoll, its thread may take them at any time.
    fn in_flight(&mut self) -> usize {
        let here = if self.ring.sqpoll { 0 } else { self.ring.ring.submission().len() };
        self.pending.saturating_sub(here)
    }

    /// Collects the completions so far.
    fn collect(&mut self, done: &mut Done) {
        for completion in self.ring.ring.completion() {
            self.pending = self.pending.saturating_sub(1);
            let result = completion.result();
            let result = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
            match completion.user_data() {
                SEND => done.sent = Some(result),
                _ => done.received = Some(result),
            }
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.pending == 0 {
            return;
        }
        // An operation was abandoned. The channel is unusable in any case, and shutting down the socket completes all that
        // wait for it.
        self.ring.given_up = true;
        let _ = shutdown(&self.ring.socket, Shutdown::Both);
        while self.pending > 0 {
            let submitted = self.submit(1);
            self.collect(&mut Done::default());
            match submitted {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    if self.in_flight() == 0 {
                        return;
                    }
                    // The kernel may still write to memory that the caller is about to reuse.
                    std::process::abort();
                }
                _ => {}
            }
        }
    }
}

/// A ring that has completed an operation. A sandbox may allow creating a ring, and forbid every use.
fn working(options: RingOptions) -> io::Result<IoUring> {
    let mut ring = make(options)?;
    let nothing = opcode::Nop::new().build();
    // SAFETY: the operation uses no memory.
    unsafe { ring.submission().push(&nothing) }.map_err(io::Error::other)?;
    while ring.completion().next().is_none() {
        interruptible(ring.submit_and_wait(1))?;
    }
    Ok(ring)
}

/// The result of a call that is repeated if a signal interrupts it.
fn interruptible(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(drop),
    }
}

fn make(options: RingOptions) -> io::Result<IoUring> {
    if options.sqpoll {
        return IoUring::builder().setup_sqpoll(SQPOLL_IDLE_MS).build(ENTRIES);
    }
    // Completions are processed in this side's calls, and interrupt it nowhere else, as io_uring's authors recommend. A
    // spinning wait makes calls as well, instead of polling the completion queue alone: the kernel would have to interrupt
    // the spinning CPU, which costs ten rounds (37 µs against 5 on a KVM guest). Polling the flag that the
    // kernel sets to request a call (IORING_SETUP_TASKRUN_FLAG) is slower than calling (4.9 µs against 4.6).
    let deferred = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES);
    if !is_unknown(&deferred) {
        return deferred;
    }
    // Before Linux 6.1.
    let cooperative = IoUring::builder().setup_coop_taskrun().build(ENTRIES);
    if !is_unknown(&cooperative) {
        return cooperative;
    }
    // Before Linux 5.19.
    IoUring::new(ENTRIES)
}

/// Whether the kernel does not know the requested flags.
fn is_unknown(made: &io::Result<IoUring>) -> bool {
    matches!(made, Err(error) if error.raw_os_error() == Some(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::super::super::Unwatched;
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn all() -> impl Iterator<Item = RingOptions> {
        let waits = |sqpoll| Wait::ALL.into_iter().map(move |wait| RingOptions { sqpoll, wait });
        [false, true].into_iter().flat_map(waits)
    }

    fn pair(options: RingOptions) -> Option<(Ring, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        match Ring::new(ours, options) {
            Ok(ring) => Some((ring, theirs)),
            Err(error) => {
                eprintln!("not tested: no ring with {options:?} here: {error}");
                None
            }
        }
    }

    /// Gives up at the first check.
    struct Hopeless;

    impl Alive for Hopeless {
        fn due(&self) -> bool {
            true
        }

        fn check(&mut self, _: u64) -> Result<(), RoundError> {
            Err(RoundError::Ended)
        }
    }

    #[test]
    fn messages_arrive_and_a_closed_peer_is_an_error() {
        for (mut ring, theirs) in all().filter_map(pair) {
            rustix::io::write(&theirs, b"pong").unwrap();
            let mut pong = [0; 4];
            ring.send_and_receive(b"ping", &mut pong, &mut Unwatched, 1).unwrap();
            assert_eq!(&pong, b"pong");
            let mut ping = [0; 8];
            assert_eq!(rustix::io::read(&theirs, &mut ping), Ok(4));
            assert_eq!(&ping[..4], b"ping");
            drop(theirs);
            let end = ring.receive(&mut pong, &mut Unwatched, 2);
            assert!(matches!(end, Err(RoundError::PeerClosed)), "{end:?}");
        }
    }

    #[test]
    fn messages_beyond_the_socket_buffers_are_carried_both_ways() {
        const LEN: usize = 1 << 20;
        for (mut ring, theirs) in all().filter_map(pair) {
            let peer = std::thread::spawn(move || {
                let mut theirs = std::fs::File::from(theirs);
                let mut bytes = vec![0; LEN];
                io::Read::read_exact(&mut theirs, &mut bytes).unwrap();
                io::Write::write_all(&mut theirs, &bytes).unwrap();
            });
            let out: Vec<u8> = (0..LEN).map(|index| (index % 251) as u8).collect();
            let mut back = vec![0; LEN];
            ring.send_and_receive(&out, &mut back, &mut Unwatched, 1).unwrap();
            assert!(out == back);
            peer.join().unwrap();
        }
    }

    #[test]
    fn an_entry_that_was_never_submitted_never_runs_later() {
        let options = RingOptions { sqpoll: false, wait: Wait::Block };
        let Some((mut ring, theirs)) = pair(options) else { return };
        // Forbids every use of the ring, like a sandbox that was entered after the ring was created.
        let Ok(disabled) = IoUring::builder().setup_r_disabled().build(ENTRIES) else {
            return eprintln!("not tested, since rings cannot be disabled before Linux 5.10");
        };
        ring.ring = disabled;
        let mut buffer = [0; 4];
        let end = ring.receive(&mut buffer, &mut Unwatched, 1);
        assert!(matches!(end, Err(RoundError::System(_))), "{end:?}");
        // Nor later, when its memory may have another use.
        ring.ring.submitter().register_enable_rings().unwrap();
        let end = ring.receive(&mut [0; 4], &mut Unwatched, 2);
        assert!(matches!(end, Err(RoundError::PeerClosed)), "{end:?}");
        assert_eq!(rustix::io::write(&theirs, b"late"), Err(Errno::PIPE));
        assert_eq!(buffer, [0; 4]);
    }

    #[test]
    fn the_kernel_does_not_write_to_the_buffer_of_an_abandoned_receive() {
        for options in all().filter(|options| options.wait != Wait::Block) {
            let Some((mut ring, theirs)) = pair(options) else { continue };
            let mut buffer = [0; 8];
            let end = ring.receive(&mut buffer, &mut Hopeless, 1);
            assert!(matches!(end, Err(RoundError::Ended)), "{end:?}");
            assert_eq!(rustix::io::write(&theirs, b"too late"), Err(Errno::PIPE));
            assert_eq!(buffer, [0; 8]);
        }
    }

    #[test]
    fn entries_that_the_kernels_thread_leaves_queued_for_a_while_do_no_harm() {
        use std::sync::atomic::{AtomicBool, Ordering};

        /// About one in a thousand is affected on a busy host, and none on an idle one.
        const TRANSFERS: usize = 3000;
        let Some((mut ring, theirs)) = pair(RingOptions { sqpoll: true, wait: Wait::Spin }) else { return };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // They take the CPU from the kernel's thread between completion and removal.
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let end = (0..TRANSFERS).try_for_each(|_| {
                let mut word = [0; 4];
                rustix::io::write(&theirs, b"pong")?;
                ring.send_and_receive(b"ping", &mut word, &mut Unwatched, 1)?;
                rustix::io::read(&theirs, &mut word)?;
                Ok::<_, RoundError>(())
            });
            over.store(true, Ordering::Relaxed);
            assert!(end.is_ok(), "{end:?}");
        });
    }
}
