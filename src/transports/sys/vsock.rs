//! Addresses of the AF_VSOCK family, which rustix does not have.

use std::os::fd::AsFd;
use std::{io, mem};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

/// An address of AF_VSOCK: a context (a machine) and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockAddress {
    /// The context.
    pub cid: u32,
    /// The port.
    pub port: u32,
}

impl VsockAddress {
    /// The context that is this machine itself, reached over loopback.
    pub const LOCAL: u32 = libc::VMADDR_CID_LOCAL;
    /// Any free port.
    pub const ANY_PORT: u32 = libc::VMADDR_PORT_ANY;

    /// The address that `socket` is bound to.
    ///
    /// # Errors
    /// The system's; `AFNOSUPPORT` if the socket is of another family.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let address = rustix::net::getsockname(socket)?;
        let len = usize::try_from(address.addr_len()).unwrap_or(0);
        if i32::from(address.address_family().as_raw()) != libc::AF_VSOCK
            || len < mem::size_of::<libc::sockaddr_vm>()
        {
            return Err(Errno::AFNOSUPPORT.into());
        }
        // SAFETY: the storage holds at least a sockaddr_vm, as its length says, and any bytes are a valid one.
        let address: libc::sockaddr_vm =
            unsafe { address.as_ptr().cast::<libc::sockaddr_vm>().read_unaligned() };
        Ok(Self { cid: address.svm_cid, port: address.svm_port })
    }
}

// SAFETY: the pointer given to `f` is to a live, initialised sockaddr_vm of the length given.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_shown_the_whole_address() {
        let address = VsockAddress { cid: VsockAddress::LOCAL, port: 1234 };
        let show = |at: *const SocketAddrOpaque, len: SocketAddrLen| {
            assert_eq!(len as usize, mem::size_of::<libc::sockaddr_vm>());
            // SAFETY: initialised and as long as it says, which is what is tested.
            let shown = unsafe { at.cast::<libc::sockaddr_vm>().read_unaligned() };
            assert_eq!(i32::from(shown.svm_family), libc::AF_VSOCK);
            VsockAddress { cid: shown.svm_cid, port: shown.svm_port }
        };
        // SAFETY: reads what it is shown, and no more.
        assert_eq!(unsafe { address.with_sockaddr(show) }, address);
    }
}
