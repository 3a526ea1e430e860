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
pub(crate) fn peer(socket: impl AsFd) -> Result<Owner, Errno> {
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

/// The further groups of who has connected this unix socket, besides its user's own.
///
/// # Errors
/// The system's.
pub(crate) fn peer_groups(socket: impl AsFd) -> Result<Vec<u32>, Errno> {
    // Most users have a few.
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut len =
            libc::socklen_t::try_from(mem::size_of_val(&groups[..])).map_err(|_| Errno::OVERFLOW)?;
        // SAFETY: the kernel writes no more than `len` bytes, which is the vector's size; any bytes are group ids.
        let status = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let told = usize::try_from(len).map_err(|_| Errno::OVERFLOW)? / mem::size_of::<libc::gid_t>();
        match result(status) {
            // It tells how many there are.
            Err(Errno::RANGE) if told > groups.len() => groups.resize(told, 0),
            Err(error) => return Err(error),
            Ok(_) => {
                groups.truncate(told);
                return Ok(groups);
            }
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer(&one).unwrap(), Owner::this());
        let own: Vec<_> =
            rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        assert_eq!(peer_groups(&one).unwrap(), own);
        assert_eq!(peer(std::fs::File::open("/dev/null").unwrap()), Err(Errno::NOTSOCK));
    }
}
