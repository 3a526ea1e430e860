//! Replaces `src/transports/sys/process_vm.rs`: the memory that a process lets others read.

use std::cell::RefCell;

use rustix::io::Errno;

use super::Region;
use crate::model::Side;

thread_local! {
    /// Of each side: where its bytes are, and what loom knows of them.
    static PROCESSES: RefCell<[Option<(u64, Region)>; 2]> = const { RefCell::new([const { None }; 2]) };
}

/// The process that a side is.
pub(crate) fn pid(side: Side) -> i32 {
    side as i32
}

/// Records that a side has written these bytes of its memory.
pub(crate) fn written(side: Side, bytes: &[u8]) {
    let address = bytes.as_ptr().expose_provenance() as u64;
    let region = PROCESSES.with_borrow_mut(|processes| {
        let process = &mut processes[side as usize];
        match process {
            Some((at, region)) if *at == address => region.clone(),
            _ => process.insert((address, Region::new(&[], &[(0, bytes.len())]))).1.clone(),
        }
    });
    region.write(0, bytes);
}

/// Begins anew.
pub(crate) fn forget() {
    PROCESSES.set([const { None }; 2]);
}

pub(crate) fn read(pid: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let process =
        PROCESSES.with_borrow(|processes| processes[usize::try_from(pid).expect("a side's")].clone());
    let (at, region) = process.ok_or(Errno::SRCH)?;
    let offset = address.checked_sub(at).ok_or(Errno::FAULT)?;
    region.read(usize::try_from(offset).map_err(|_| Errno::FAULT)?, buffer);
    Ok(())
}
