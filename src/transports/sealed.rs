//! Memory without a name: a memfd, which is handed over by its descriptor, and sealed so that neither side can take it
//! away from the other by truncating it.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::Errno;

use super::contract::While;
use super::place::{PAGE, reserve};
use super::sys::Region;
use super::{CallError, ConnectError, Endpoint};
use crate::shortage::explain_sandbox;

/// What an endpoint of such memory says; all that counts is the descriptor that comes with it.
pub(super) const ADDRESS: &str = "sealed memfd";

/// The size stays, and so do the seals.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes `len` bytes of it, all of which are there: too little memory is an error here, and not a SIGBUS when it is
/// first written to.
pub(super) fn make(name: &str, len: usize) -> Result<(Region, OwnedFd), CallError> {
    let file = create(name).map_err(explain_sandbox).while_doing("making a memfd")?;
    reserve(&file, len).while_doing("reserving memory for the memfd")?;
    fcntl_add_seals(&file, SEALS).while_doing("sealing the memfd")?;
    let memory = Region::of_file(&file, len).while_doing("mapping the memfd")?;
    Ok((memory, file))
}

/// The memory that the responder has made: at least `len` bytes, which stay.
pub(super) fn open(endpoint: Endpoint, len: usize) -> Result<Region, ConnectError> {
    let [file]: [OwnedFd; 1] =
        endpoint.descriptors.try_into().map_err(|_| ConnectError::Endpoint(endpoint.address))?;
    let seals = fcntl_get_seals(&file).while_doing("looking at the memfd's seals")?;
    let size = fstat(&file).while_doing("looking at the memfd's size")?.st_size;
    if !seals.contains(SEALS) || usize::try_from(size).is_ok_and(|size| size < len) {
        return Err(ConnectError::Endpoint(format!("a memfd of {size} bytes with the seals {seals:?}")));
    }
    Ok(Region::of_file(&file, len).while_doing("mapping the memfd")?)
}

/// Whether this host has it.
pub(super) fn probe() -> Result<(), CallError> {
    make("ipcd-probe", PAGE).map(drop)
}

fn create(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Without it, hosts with vm.memfd_noexec=2 refuse; before Linux 6.3, it is what is refused.
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(descriptors: Vec<OwnedFd>) -> Endpoint {
        Endpoint { address: ADDRESS.to_owned(), descriptors }
    }

    #[test]
    fn both_sides_see_the_same_memory_and_nobody_can_truncate_it() {
        let (ours, file) = make("ipcd-test", 10_000).unwrap();
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 20_000), Err(Errno::PERM));
        let theirs = open(endpoint(vec![file]), 10_000).unwrap();
        ours.write(9_990, b"0123456789");
        let mut seen = [0; 10];
        theirs.read(9_990, &mut seen);
        assert_eq!(&seen, b"0123456789");
    }

    #[test]
    fn memory_that_could_be_truncated_or_is_too_small_is_refused() {
        let unsealed = create("ipcd-test").unwrap();
        reserve(&unsealed, 4096).unwrap();
        let (_, small) = make("ipcd-test", 4096).unwrap();
        for descriptors in [vec![unsealed], vec![small], vec![]] {
            assert!(matches!(open(endpoint(descriptors), 4097), Err(ConnectError::Endpoint(_))));
        }
    }
}
