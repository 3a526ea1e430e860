//! POSIX message queues.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{io, mem, ptr};

use rustix::io::Errno;

use super::{last_errno, result};

/// One end of a POSIX message queue. Dropping it closes it; its name stays until it is [removed](Self::remove).
#[derive(Debug)]
pub struct MessageQueue(OwnedFd);

/// The direction of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Sending only.
    Send = libc::O_WRONLY as isize,
    /// Receiving only.
    Receive = libc::O_RDONLY as isize,
    /// Both.
    Both = libc::O_RDWR as isize,
}

impl MessageQueue {
    /// Creates a queue for one message of at most `size` bytes, for this user only. The name starts with a slash, and
    /// must be new.
    ///
    /// # Errors
    /// The system's.
    #[allow(clippy::cast_possible_wrap, reason = "a size that does not fit is refused by the kernel")]
    pub fn make(name: &CStr, size: usize, end: End) -> io::Result<Self> {
        let flags = end as libc::c_int | libc::O_CREAT | libc::O_EXCL;
        // SAFETY: all-zero is a valid mq_attr; both pointers are to live values, and the variadic arguments are
        // those that O_CREAT requires.
        let fd = unsafe {
            let mut attributes: libc::mq_attr = mem::zeroed();
            attributes.mq_maxmsg = 1;
            attributes.mq_msgsize = size as libc::c_long;
            libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, ptr::from_mut(&mut attributes))
        };
        Self::of(fd)
    }

    /// Opens a queue that another process has created.
    ///
    /// # Errors
    /// The system's.
    pub fn open(name: &CStr, end: End) -> io::Result<Self> {
        // SAFETY: the name is a live C string; O_CREAT alone requires further arguments.
        Self::of(unsafe { libc::mq_open(name.as_ptr(), end as libc::c_int) })
    }

    fn of(fd: libc::mqd_t) -> io::Result<Self> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: on Linux a queue's descriptor is a file descriptor (mq_overview(7)); it was just opened, and is
        // close-on-exec.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Removes the name, if it exists. The queue lives on where it is open.
    pub fn remove(name: &CStr) {
        // SAFETY: the name is a live C string.
        unsafe { libc::mq_unlink(name.as_ptr()) };
    }

    /// The same, if this user has made it.
    pub(crate) fn remove_own(name: &CStr) {
        let own = |there: rustix::fs::Stat| there.st_uid == rustix::process::geteuid().as_raw();
        if Self::open(name, End::Receive).is_ok_and(|queue| rustix::fs::fstat(&queue.0).is_ok_and(own)) {
            Self::remove(name);
        }
    }

    /// The longest message that the queue accepts, in bytes.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn message_size(&self) -> io::Result<usize> {
        // SAFETY: all-zero is a valid mq_attr, and the pointer is to a live local.
        unsafe {
            let mut attributes: libc::mq_attr = mem::zeroed();
            result(libc::mq_getattr(self.0.as_raw_fd(), &mut attributes))?;
            Ok(usize::try_from(attributes.mq_msgsize).unwrap_or(0))
        }
    }

    /// Makes calls that would block return [`Errno::AGAIN`].
    ///
    /// # Errors
    /// The system's.
    pub fn set_nonblocking(&self) -> Result<(), Errno> {
        // SAFETY: all-zero is a valid mq_attr, and the pointer is to a live local.
        unsafe {
            let mut attributes: libc::mq_attr = mem::zeroed();
            attributes.mq_flags = libc::c_long::from(libc::O_NONBLOCK);
            result(libc::mq_setattr(self.0.as_raw_fd(), &attributes, ptr::null_mut()))
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if the queue is full and does not block.
    #[inline(always)]
    pub fn send(&self, message: &[u8]) -> Result<(), Errno> {
        // SAFETY: the pointer and the length are a live slice's.
        result(unsafe { libc::mq_send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) })
    }

    /// Receives a message, and returns its length. The buffer must hold the longest message that the queue accepts.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if there is none and the queue does not block.
    #[inline(always)]
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the pointer and the length are a live slice's.
        let n = unsafe {
            let (start, len) = (buffer.as_mut_ptr(), buffer.len());
            libc::mq_receive(self.0.as_raw_fd(), start.cast(), len, ptr::null_mut())
        };
        usize::try_from(n).map_err(|_| last_errno())
    }
}

/// A queue's descriptor from another process. With any other descriptor, every call is an error.
impl From<OwnedFd> for MessageQueue {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for MessageQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
