//! Sockets, as far as std and rustix do not cover them: a peer's credentials, refusing descriptors, AF_VSOCK, and inherited
//! listeners.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, sockopt};

use super::{last_errno, result};
use crate::transports::Owner;

/// The peer of this unix socket at the time it connected. The process is 0 if it is outside of this process's PID namespace,
/// which rustix's type cannot express.
///
/// # Errors
/// The system's.
pub(crate) fn peer(socket: impl AsFd) -> Result<Owner, Errno> {
    let mut peer = [libc::ucred { pid: 0, uid: 0, gid: 0 }];
    match socket_option(socket, libc::SO_PEERCRED, &mut peer) {
        (Ok(()), 1) => {
            let [peer] = peer;
            Ok(Owner { pid: peer.pid.cast_unsigned(), uid: peer.uid, gid: peer.gid })
        }
        // No known kernel returns fewer bytes.
        (Ok(()), _) => Err(Errno::PROTO),
        (Err(error), _) => Err(error),
    }
}

/// Makes the kernel attach the sender's credentials to what this unix socket receives, until [`sender`] reads them. No other
/// receive may come before that: it would have no room for both credentials and descriptors.
///
/// # Errors
/// The system's.
pub fn reveal_sender(socket: impl AsFd) -> Result<(), Errno> {
    rustix::net::sockopt::set_socket_passcred(socket, true)
}

/// The process that has sent what is received next: it may not be the one that listened or that made the socket. Waits
/// until something has arrived.
///
/// # Errors
/// The system's; [`Errno::PIPE`] if the peer has closed.
pub fn sender(socket: impl AsFd) -> Result<Owner, Errno> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        sender: libc::ucred,
    }
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all-zero is a valid value of both; every pointer is to a live local of the length that is beside it. There is no
    // room for descriptors, which stay with the message.
    let (received, control) = unsafe {
        let mut control: Control = mem::zeroed();
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        (libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_PEEK), control)
    };
    let Control { header, sender } = control;
    let found = match (received, header.cmsg_level, header.cmsg_type) {
        (..=-1, ..) => Err(last_errno()),
        (1.., libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
            Ok(Owner { pid: sender.pid.cast_unsigned(), uid: sender.uid, gid: sender.gid })
        }
        _ => Err(Errno::PIPE),
    };
    rustix::net::sockopt::set_socket_passcred(&socket, false)?;
    found
}

/// The supplementary groups of this unix socket's peer.
///
/// # Errors
/// The system's.
pub(crate) fn peer_groups(socket: impl AsFd) -> Result<Vec<u32>, Errno> {
    // Enough for most users.
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        match socket_option(&socket, libc::SO_PEERGROUPS, &mut groups) {
            (Ok(()), count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            (Err(Errno::RANGE), count) if count > groups.len() => groups.resize(count, 0),
            (Err(error), _) => return Err(error),
        }
    }
}

/// Whether a unix socket receives descriptors (Linux 6.16), which libc does not name yet.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Has the kernel refuse descriptors that peers send to this unix socket, or to one that connects to it from now on, where it
/// can (from Linux 6.16).
pub(crate) fn refuse_descriptors(socket: impl AsFd) {
    let off: libc::c_int = 0;
    // SAFETY: the kernel reads one integer.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            libc::socklen_t::try_from(size_of_val(&off)).expect("four bytes"),
        )
    };
}

/// Whether this socket may have descriptors in it, now or later: a unix socket that does not refuse them.
pub(crate) fn may_hold_descriptors(socket: impl AsFd) -> bool {
    let mut passes: [libc::c_int; 1] = [1];
    let refused = matches!(socket_option(&socket, SO_PASSRIGHTS, &mut passes), (Ok(()), 1)) && passes == [0];
    !refused && sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX)
}

/// What this unix socket's peer has yet to read of what it was sent, in the kernel's bytes, which include its own records.
///
/// # Errors
/// The system's.
pub(crate) fn unread_by_peer(socket: impl AsFd) -> Result<libc::c_int, Errno> {
    let mut unread: libc::c_int = 0;
    // SAFETY: the kernel writes one integer. TIOCOUTQ is another name of SIOCOUTQ.
    let status = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    result(status).map(|()| unread)
}

/// Reads a socket option of the level SOL_SOCKET into `values`. Also returns how many values there are, which the kernel
/// reports with `ERANGE` as well.
fn socket_option<T: Integers>(
    socket: impl AsFd,
    option: libc::c_int,
    values: &mut [T],
) -> (Result<(), Errno>, usize) {
    let mut len = libc::socklen_t::try_from(mem::size_of_val(values)).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most `len` bytes, which is at most the slice's size; any bytes are valid integers.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    (result(status), len as usize / size_of::<T>())
}

/// A type for which any bit pattern is a valid value.
///
/// # Safety
/// Every bit pattern must be a valid value.
unsafe trait Integers {}
// SAFETY: it consists of integers.
unsafe impl Integers for libc::ucred {}
// SAFETY: it is an integer.
unsafe impl Integers for libc::gid_t {}
// SAFETY: it is an integer.
unsafe impl Integers for libc::c_int {}

/// An AF_VSOCK address, which rustix lacks: a context (a machine) and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockAddress {
    /// The context.
    pub cid: u32,
    /// The port.
    pub port: u32,
}

impl VsockAddress {
    /// This machine's own context, over loopback.
    pub const LOCAL: u32 = libc::VMADDR_CID_LOCAL;
    /// Any free port.
    pub const ANY_PORT: u32 = libc::VMADDR_PORT_ANY;

    /// The address that `socket` is bound to.
    ///
    /// # Errors
    /// The system's; `AFNOSUPPORT` if the socket has another family.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let address = rustix::net::getsockname(socket)?;
        let len = usize::try_from(address.addr_len()).unwrap_or(0);
        if i32::from(address.address_family().as_raw()) != libc::AF_VSOCK
            || len < mem::size_of::<libc::sockaddr_vm>()
        {
            return Err(Errno::AFNOSUPPORT.into());
        }
        // SAFETY: the storage's length is at least that of a sockaddr_vm, and any bytes are a valid one.
        let address: libc::sockaddr_vm =
            unsafe { address.as_ptr().cast::<libc::sockaddr_vm>().read_unaligned() };
        Ok(Self { cid: address.svm_cid, port: address.svm_port })
    }
}

// SAFETY: `f` gets a pointer to a live, initialised sockaddr_vm, and its length.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        // SAFETY: all-zero is a valid sockaddr_vm.
        let mut address: libc::sockaddr_vm = unsafe { mem::zeroed() };
        address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).expect("a family is a small number");
        address.svm_cid = self.cid;
        address.svm_port = self.port;
        let len = SocketAddrLen::try_from(mem::size_of::<libc::sockaddr_vm>()).expect("16 bytes");
        f((&raw const address).cast(), len)
    }
}

/// The descriptors that the service manager has passed to this process (`LISTEN_FDS`), with their names; none from the
/// second call on. Call this before the process opens any descriptor.
///
/// # Errors
/// The variables are invalid, or name descriptors that are not open.
pub(crate) fn inherited_listeners() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let numbers = sd_notify::listen_fds_with_names()?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // SAFETY: `listen_fds` has just checked that they are open. The process was started with them, since it has opened none
    // yet; `LISTEN_PID` says that they are this process's; and only the first call takes them.
    Ok(numbers.map(|(number, name)| (unsafe { OwnedFd::from_raw_fd(number) }, name)).collect())
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer(&one).unwrap(), Owner::this());
        let own: Vec<_> =
            rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        assert_eq!(peer_groups(&one).unwrap(), own);
        assert_eq!(peer(std::fs::File::open("/dev/null").unwrap()), Err(Errno::NOTSOCK));
    }

    #[test]
    fn a_vsock_address_is_passed_whole() {
        let address = VsockAddress { cid: VsockAddress::LOCAL, port: 1234 };
        let show = |at: *const SocketAddrOpaque, len: SocketAddrLen| {
            assert_eq!(len as usize, mem::size_of::<libc::sockaddr_vm>());
            // SAFETY: initialised, and as long as `len`, which was just checked.
            let shown = unsafe { at.cast::<libc::sockaddr_vm>().read_unaligned() };
            assert_eq!(i32::from(shown.svm_family), libc::AF_VSOCK);
            VsockAddress { cid: shown.svm_cid, port: shown.svm_port }
        };
        // SAFETY: reads no more than the address.
        assert_eq!(unsafe { address.with_sockaddr(show) }, address);
    }
}
