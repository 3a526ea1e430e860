//! System V message queues, which exist until they are removed, whichever process dies.

use std::ffi::CString;
use std::sync::OnceLock;
use std::{io, mem};

use rustix::io::Errno;

use super::{last_errno, result, signal};

/// A System V message queue. Dropping the value does not [remove](Self::remove) it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    id: libc::c_int,
}

/// A message buffer: the number that the kernel expects before the bytes, and the bytes.
#[derive(Debug, Clone)]
pub struct Message(Vec<u8>);

/// Length of the number: a C `long`.
const HEAD: usize = size_of::<libc::c_long>();

impl Message {
    /// A buffer for `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(vec![0; HEAD + size])
    }

    /// The bytes, without the number.
    #[inline(always)]
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.0[HEAD..]
    }
}

impl Queue {
    /// Creates a queue under a new key, for this user only.
    ///
    /// # Errors
    /// The system's.
    pub fn make(key: i32) -> io::Result<Self> {
        Self::get(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)
    }

    /// Opens the queue with this key, to send and to receive.
    ///
    /// # Errors
    /// The system's: no such queue, or no permission.
    pub fn open(key: i32) -> io::Result<Self> {
        Self::get(key, 0o600)
    }

    /// The queue with this key, if this user has created it.
    #[must_use]
    pub(crate) fn find_own(key: i32) -> Option<Self> {
        let queue = Self::get(key, 0).ok()?;
        (queue.creator().ok()? == rustix::process::geteuid().as_raw()).then_some(queue)
    }

    /// The user who has created the queue.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn creator(self) -> Result<u32, Errno> {
        Ok(self.status()?.msg_perm.cuid)
    }

    fn get(key: i32, flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let id = unsafe { libc::msgget(key, flags) };
        if id < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { id }) }
    }

    fn status(self) -> Result<libc::msqid_ds, Errno> {
        // SAFETY: all-zero is a valid msqid_ds, and the pointer is to a live local.
        unsafe {
            let mut status: libc::msqid_ds = mem::zeroed();
            result(libc::msgctl(self.id, libc::IPC_STAT, &mut status))?;
            Ok(status)
        }
    }

    /// Gives the queue to another user. Its creator keeps the owner's permissions.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn give_to(self, uid: u32, gid: u32) -> Result<(), Errno> {
        let mut status = self.status()?;
        status.msg_perm.uid = uid;
        status.msg_perm.gid = gid;
        // SAFETY: the pointer is to a live value, which the kernel has filled in.
        result(unsafe { libc::msgctl(self.id, libc::IPC_SET, &mut status) })
    }

    /// Removes the queue, if it exists and this user may. Waiting calls return an error.
    pub fn remove(self) {
        // SAFETY: IPC_RMID uses no buffer.
        unsafe { libc::msgctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }

    /// Sends the first `len` bytes of a message under the number `kind`, which is positive.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if the queue is full and `wait` is false; [`Errno::PIPE`] if the queue is gone.
    #[inline(always)]
    pub fn send(
        self,
        kind: libc::c_long,
        message: &mut Message,
        len: usize,
        wait: bool,
    ) -> Result<(), Errno> {
        assert!(len <= message.0.len() - HEAD, "it has that many bytes");
        message.0[..HEAD].copy_from_slice(&kind.to_ne_bytes());
        let flags = if wait { 0 } else { libc::IPC_NOWAIT };
        // SAFETY: the number and `len` bytes are inside the vector; the kernel copies them, however they are aligned.
        result(unsafe { libc::msgsnd(self.id, message.0.as_ptr().cast(), len, flags) }).map_err(gone)
    }

    /// Receives the first message that has the number `kind`, and returns its length.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if there is none and `wait` is false; [`Errno::PIPE`] if the queue is gone.
    #[inline(always)]
    pub fn receive(self, kind: libc::c_long, message: &mut Message, wait: bool) -> Result<usize, Errno> {
        let flags = if wait { 0 } else { libc::IPC_NOWAIT };
        // SAFETY: the number and `room` bytes are inside the vector.
        let n = unsafe {
            let room = message.0.len() - HEAD;
            libc::msgrcv(self.id, message.0.as_mut_ptr().cast(), room, kind, flags)
        };
        usize::try_from(n).map_err(|_| gone(last_errno()))
    }

    /// Makes SIGTERM remove this queue and the file at `marker`, and end the process.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// If the process has done this for another queue.
    pub(crate) fn remove_on_sigterm(self, marker: CString) -> io::Result<()> {
        LAST.set((self, marker)).expect("a responder has one queue");
        // SAFETY: the handler makes async-signal-safe calls only, and ends the process.
        unsafe { signal::install(libc::SIGTERM, on_sigterm, 0) }?;
        // The parent process may have blocked the signal.
        signal::mask(libc::SIG_UNBLOCK, libc::SIGTERM)?;
        Ok(())
    }
}

/// What SIGTERM removes.
static LAST: OnceLock<(Queue, CString)> = OnceLock::new();

/// Makes system calls only, and reads without a lock what was written before it was installed.
extern "C" fn on_sigterm(_: libc::c_int, _: *const libc::siginfo_t, _: *const libc::c_void) {
    if let Some((queue, marker)) = LAST.get() {
        queue.remove();
        // SAFETY: a live C string.
        unsafe { libc::unlink(marker.as_ptr()) };
    }
    // SAFETY: ends the process without running any more of its code.
    unsafe { libc::_exit(0) };
}

/// Maps the errors of a removed queue to [`Errno::PIPE`], and "no message" to [`Errno::AGAIN`].
#[cold]
fn gone(error: Errno) -> Errno {
    match error {
        Errno::NOMSG => Errno::AGAIN,
        Errno::IDRM | Errno::INVAL => Errno::PIPE,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key for this test process alone.
    fn key() -> i32 {
        std::process::id().cast_signed() | 0x4000_0000
    }

    #[test]
    fn messages_are_received_by_number_and_a_removed_queue_is_an_error() {
        let queue = Queue::make(key()).unwrap();
        assert!(Queue::make(key()).is_err(), "the key is taken");
        assert_eq!(Queue::open(key()).unwrap(), queue);
        assert_eq!(Queue::find_own(key()), Some(queue));
        let mut message = Message::new(16);
        message.bytes().fill(7);
        queue.send(1, &mut message, 9, true).unwrap();
        let mut received = Message::new(16);
        assert_eq!(queue.receive(2, &mut received, false), Err(Errno::AGAIN));
        assert_eq!(queue.receive(1, &mut received, true), Ok(9));
        assert_eq!(received.bytes()[..10], [7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
        queue.remove();
        assert_eq!(queue.send(1, &mut message, 9, true), Err(Errno::PIPE));
        assert_eq!(queue.receive(1, &mut message, true), Err(Errno::PIPE));
        assert_eq!(Queue::find_own(key()), None);
    }
}
