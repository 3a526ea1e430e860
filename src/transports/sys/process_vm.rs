//! Reading another process's memory, in a single copy.

use rustix::io::Errno;

use super::{last_errno, result};

/// Fills `buffer` from `address` of process `pid`.
///
/// # Errors
/// The system's: [`Errno::PERM`] without the permission that a debugger needs; [`Errno::FAULT`] if the bytes are not mapped;
/// [`Errno::PIPE`] if the process is gone.
#[inline(always)]
pub fn read(pid: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: buffer.len() };
    // SAFETY: the kernel writes to `buffer` only, within its length; `remote` is an address in the other process, which
    // the kernel checks.
    let n = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    match usize::try_from(n) {
        Ok(n) if n == buffer.len() => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => match last_errno() {
            Errno::SRCH => Err(Errno::PIPE),
            other => Err(other),
        },
    }
}

/// Whether this process may read from process `pid`.
///
/// # Errors
/// As [`read`].
pub(crate) fn may_read(pid: i32) -> Result<(), Errno> {
    // Nothing is mapped at 0, which the kernel finds after checking the permission.
    match read(pid, 0, &mut [0]) {
        Err(Errno::FAULT) => Ok(()),
        other => other,
    }
}

/// Lets process `pid` and its children read from this one, where Yama would allow only its ancestors.
pub fn let_in(pid: i32) {
    let pid = libc::c_ulong::from(pid.cast_unsigned());
    // SAFETY: takes numbers only. Without Yama the call fails, and is not needed.
    let _ = result(unsafe { libc::prctl(libc::PR_SET_PTRACER, pid, 0, 0, 0) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_bytes_are_read_and_others_are_an_error() {
        let pid = std::process::id().cast_signed();
        let bytes = [1_u8, 2, 3];
        let mut read_back = [0; 3];
        read(pid, bytes.as_ptr().expose_provenance() as u64, &mut read_back).unwrap();
        assert_eq!(read_back, bytes);
        assert_eq!(read(pid, 16, &mut read_back), Err(Errno::FAULT));
        assert_eq!(may_read(pid), Ok(()));
    }
}
