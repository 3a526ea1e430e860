//! A connected stream socket driven through io_uring, behind an interface that cannot leave the kernel a buffer that is
//! no more.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{Shutdown, shutdown};

use super::super::stream::adaptive_spin;
use super::super::{Alive, RoundError};
use crate::protocol::Wait;

/// Entries of the queues: a send and a receive are all that is ever in flight.
const ENTRIES: u32 = 4;

/// How long the kernel's submission thread looks for work before it sleeps.
const SQPOLL_IDLE_MS: u32 = 100;

/// io_uring_enter(2): complete what can be.
const GETEVENTS: u32 = 1;

/// What identifies a completion.
const SEND: u64 = 1;
const RECEIVE: u64 = 2;

/// How a ring is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingOptions {
    /// A thread of the kernel takes submissions, so that none costs a system call.
    pub sqpoll: bool,
    /// Whether a wait is for the kernel, or is looking at the completion queue again and again.
    pub wait: Wait,
}

/// A connected stream socket and the ring that drives it.
pub(crate) struct Ring {
    ring: IoUring,
    socket: OwnedFd,
    sqpoll: bool,
    wait: Wait,
    /// The longest send that the socket takes whole when nothing is queued, so that what is linked to it may follow.
    linked_max: usize,
    /// An operation was given up. What could not be submitted points to memory that is gone: nothing is ever submitted
    /// behind it.
    given_up: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({:?}, {})", self.socket, self.wait)
    }
}

/// A piece of memory that the kernel works on.
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
    /// The kernel has no io_uring, or forbids it to this process: to make one, or to use it.
    pub(crate) fn new(socket: OwnedFd, options: RingOptions) -> io::Result<Self> {
        let ring = working(options)?;
        let linked_max = socket_send_buffer_size(&socket)? / 4;
        Ok(Self { ring, socket, sqpoll: options.sqpoll, wait: options.wait, linked_max, given_up: false })
    }

    /// Whether a ring can be made and used.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub(crate) fn probe(options: RingOptions) -> io::Result<()> {
        working(options).map(drop)
    }

    /// Receives until `buffer` is full.
    ///
    /// # Errors
    /// The peer has closed, `alive` gives up, or the system's. The socket is then shut down.
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

    /// Sends all of `buffer`, and then receives until it is full of what comes next.
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

    /// Sends `out`, then fills `into`: with one submission where the send is short enough to be taken whole.
    ///
    /// Both pieces are borrowed by the caller for the length of this call, and no longer in the kernel's hands when it
    /// returns or unwinds: [`Flight`] sees to that.
    #[inline]
    fn transfer(
        &mut self,
        mut out: Piece,
        mut into: Piece,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        // A look at the queue would not tell: the kernel's thread takes what it has completed off it a moment later.
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
                // The send that it was linked to was cut short: the rest is sent, and it is tried again.
                Some(Err(Errno::CANCELED)) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Piece {
    /// What is left of it behind the first `done` bytes.
    fn without(self, done: usize) -> Self {
        let done = done.min(self.len);
        Self { start: self.start.wrapping_add(done), len: self.len - done }
    }

    /// Its length, as far as one operation can carry it.
    fn operation_len(self) -> u32 {
        u32::try_from(self.len).unwrap_or(u32::MAX)
    }
}

/// Results of the operations of one submission; `None` of one that was not part of it.
#[derive(Default)]
struct Done {
    sent: Option<Result<usize, Errno>>,
    received: Option<Result<usize, Errno>>,
}

/// Operations that the kernel has, with pointers into the caller's memory. Its end waits for theirs.
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
        // SAFETY: the entry's memory is borrowed by the caller of `transfer`, and its socket belongs to the ring. Both
        // outlive this value, which ends only once the kernel has completed the operation.
        let pushed = unsafe { self.ring.ring.submission().push(entry) };
        pushed.map_err(io::Error::other)?;
        self.pending += 1;
        Ok(())
    }

    /// Submits, and waits until all is completed, for which the other side has `size` bytes to move.
    #[inline]
    fn land(mut self, size: usize, alive: &mut impl Alive, round: u64) -> Result<Done, RoundError> {
        let mut done = Done::default();
        if self.ring.wait != Wait::Block && self.look_again(&mut done, size, alive, round)? {
            return Ok(done);
        }
        loop {
            self.submit(self.pending)?;
            self.collect(&mut done);
            if self.pending == 0 {
                return Ok(done);
            }
            // Interrupted; if by a tick, a look around is due.
            alive.check(round)?;
        }
    }

    /// Submits, and looks again and again: until all is completed, or an adaptive wait has looked long enough. Tells
    /// whether all is completed.
    #[inline]
    fn look_again(
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
                // The kernel's thread completes what has arrived.
                std::hint::spin_loop();
            } else {
                self.look()?;
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

    /// Submits what was pushed, and completes what has arrived, without waiting for more.
    #[inline]
    fn look(&mut self) -> Result<(), io::Error> {
        let pushed = u32::try_from(self.ring.ring.submission().len()).expect("the queue has few entries");
        // SAFETY: the flag is one that the kernel knows, and there is no argument.
        let looked =
            unsafe { self.ring.ring.submitter().enter::<libc::sigset_t>(pushed, 0, GETEVENTS, None) };
        interruptible(looked)
    }

    /// Submits what was pushed, and waits for `want` completions or a signal.
    fn submit(&self, want: usize) -> Result<(), io::Error> {
        interruptible(self.ring.ring.submit_and_wait(want))
    }

    /// How many operations the kernel works on, or may yet. What it has not taken stays here: it takes it in a call, and
    /// [`Ring::transfer`] makes none behind what was left. Its own thread takes it when it comes to it.
    fn in_flight(&mut self) -> usize {
        let here = if self.ring.sqpoll { 0 } else { self.ring.ring.submission().len() };
        self.pending.saturating_sub(here)
    }

    /// Takes the completions that are there.
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
        // Somebody gave up. The channel is broken in any case, and a shut-down socket completes whatever waits on it.
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
                    // The kernel may still write to memory that the caller is about to have back.
                    std::process::abort();
                }
                _ => {}
            }
        }
    }
}

/// A ring that has done something. A sandbox may let one be made, and forbid every use of it.
fn working(options: RingOptions) -> io::Result<IoUring> {
    let mut ring = make(options)?;
    let nothing = opcode::Nop::new().build();
    // SAFETY: it has no memory.
    unsafe { ring.submission().push(&nothing) }.map_err(io::Error::other)?;
    while ring.completion().next().is_none() {
        interruptible(ring.submit_and_wait(1))?;
    }
    Ok(ring)
}

/// What a call has come to that a signal may end, after which it is made again.
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
    // What has arrived is worked on in this side's calls, and interrupts it nowhere else: what a program of today asks for.
    // Who spins calls as well, and does not look at the completion queue alone: the kernel would have to interrupt the
    // CPU that spins, which takes ten times as long as a round (37 µs for 5 on a KVM guest). Looking at the flag by which the
    // kernel can ask for the call (IORING_SETUP_TASKRUN_FLAG) is slower than calling (4.9 µs for 4.6).
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

/// Whether the kernel does not know what it was asked for.
fn is_unknown(made: &io::Result<IoUring>) -> bool {
    matches!(made, Err(error) if error.raw_os_error() == Some(libc::EINVAL))
}

#[cfg(test)]
mod tests;
