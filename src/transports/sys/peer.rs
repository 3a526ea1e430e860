//! Who is at the other end of a unix socket, by the kernel's word.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use super::result;
use crate::transports::Owner;

/// Who has connected this unix socket. Its process is 0 where it is not to be seen from here: it lives outside of this
/// process's PID namespace. (rustix takes that number for one that cannot be 0.)
///
/// # Errors
/// The system's.
pub fn peer(socket: impl AsFd) -> Result<Owner, Errno> {
    let mut told = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = libc::socklen_t::try_from(mem::size_of_val(&told)).expect("12 bytes");
    // SAFETY: the kernel writes a ucred, and no more than `len` bytes, into one; any bytes are a valid one.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut told).cast(),
            &raw mut len,
        )
    };
    result(status)?;
    // A kernel that tells of fewer bytes is none that is known.
    if usize::try_from(len) != Ok(mem::size_of_val(&told)) {
        return Err(Errno::PROTO);
    }
    Ok(Owner { pid: told.pid.cast_unsigned(), uid: told.uid, gid: told.gid })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer(&one).unwrap(), Owner::this());
        assert_eq!(peer(std::fs::File::open("/dev/null").unwrap()), Err(Errno::NOTSOCK));
    }
}
