//! Both sides of any mechanism over shared memory: how the memory is handed over, the proof, and the rounds.
//!
//! Most is in a memfd, which has no name, is handed over by its descriptor, and is sealed so that neither side can truncate
//! it. The layout and what happens in it are in [`protocol`].

pub(crate) mod messages;
pub(crate) mod protocol;

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::Errno;

use self::protocol::{
    Apart, Beside, Echo, Facts, Form, MAX_INLINE, PAGE, ask, check_peer, pong_offset, prove,
};
use super::turn::{Adaptive, Barrier, Block, Spin, Strategy};
use crate::protocol::Wait;
use crate::shortage::explain_sandbox;
use crate::transports::contract::{
    CallError, ConnectError, Connected, Endpoint, RoundError, ServeError, While, echo_ended,
};
use crate::transports::payload::Payload;
use crate::transports::place::reserve;
use crate::transports::sys::Region;
use crate::transports::{Round, Rounds, Settings, Supervisor, Unwatched, Watch};

/// The address of a memfd; what counts is the descriptor that comes with it.
pub(crate) const ADDRESS: &str = "sealed memfd";

/// The size is fixed, and so are the seals.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes a sealed memfd of `len` bytes, all of them reserved: a lack of memory is an error here instead of a SIGBUS on the
/// first write.
pub(crate) fn make_sealed(name: &str, len: usize) -> Result<(Region, OwnedFd), CallError> {
    let file = create_memfd(name).map_err(explain_sandbox).while_doing("making a memfd")?;
    reserve(&file, len).while_doing("reserving memory for the memfd")?;
    fcntl_add_seals(&file, SEALS).while_doing("sealing the memfd")?;
    let memory = Region::of_file(&file, len).while_doing("mapping the memfd")?;
    Ok((memory, file))
}

/// Maps the responder's memfd: at least `len` bytes, which cannot be truncated.
pub(crate) fn open_sealed(endpoint: Endpoint, len: usize) -> Result<Region, ConnectError> {
    let [file] = endpoint.handed()?;
    let seals = fcntl_get_seals(&file).while_doing("reading the memfd's seals")?;
    let size = fstat(&file).while_doing("reading the memfd's size")?.st_size;
    if !seals.contains(SEALS) || usize::try_from(size).is_ok_and(|size| size < len) {
        return Err(ConnectError::Endpoint(format!("a memfd of {size} bytes with the seals {seals:?}")));
    }
    Ok(Region::of_file(&file, len).while_doing("mapping the memfd")?)
}

/// Whether this host supports sealed memfds.
pub(crate) fn probe_sealed() -> Result<(), CallError> {
    make_sealed("ipcd-probe", PAGE).map(drop)
}

fn create_memfd(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Hosts with vm.memfd_noexec=2 require NOEXEC_SEAL; before Linux 6.3 it is unknown.
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// Bytes of memory that a channel needs.
pub(crate) fn len(settings: &Settings) -> usize {
    let size = settings.size;
    if size <= MAX_INLINE { PAGE } else { pong_offset(size) + size }
}

/// Maps a file that was handed over: at least `len` bytes, which another process may truncate.
pub(crate) fn open_file(endpoint: Endpoint, len: usize) -> Result<Region, ConnectError> {
    let address = endpoint.address.clone();
    let [file] = endpoint.handed()?;
    let there = fstat(&file).while_doing("reading the file's size")?;
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    if !is_file || usize::try_from(there.st_size).is_ok_and(|size| size < len) {
        return Err(ConnectError::Endpoint(address));
    }
    Ok(Region::of_file(&file, len).while_doing("mapping the file")?)
}

/// The responder's side.
pub(crate) fn serve(
    memory: &Region,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    let ours = Facts::ours(settings);
    let theirs = check_peer(memory, &settings.token, ours, supervisor)?.ok_or(ServeError::WrongToken)?;
    supervisor.proven()?;
    echo_ended(choose(Respond { memory }, settings, ours, theirs))
}

/// The client's side.
pub(crate) fn connect(memory: Region, settings: &Settings, watch: &mut Watch) -> Connected {
    let memory = memory.outliving_truncation().while_doing("preparing for the memory's truncation")?;
    let ours = Facts::ours(settings);
    watch.restart();
    let theirs = prove(&memory, &settings.token, ours, watch)?.ok_or(ConnectError::WrongToken)?;
    let payload = Payload::new(settings.size, &settings.token);
    Ok(choose(MakeClient { memory, payload }, settings, ours, theirs))
}

/// Something that is compiled once for each form and wait strategy.
trait Job {
    type Result;
    fn with(self, form: impl Form, strategy: impl Strategy) -> Self::Result;
}

/// Does the job with the form for this size, and with a strategy.
fn with_form<J: Job>(job: J, size: usize, strategy: impl Strategy) -> J::Result {
    match size {
        0..=8 => job.with(Beside::<8>, strategy),
        9..=MAX_INLINE => job.with(Beside::<MAX_INLINE>, strategy),
        _ => job.with(Apart { size }, strategy),
    }
}

/// Does the job as the settings and what both sides reported call for.
fn choose<J: Job>(job: J, settings: &Settings, ours: Facts, theirs: Facts) -> J::Result {
    let barrier = if ours.registered && theirs.registered { Barrier::Asymmetric } else { Barrier::Fences };
    match settings.wait {
        Wait::Spin => with_form(job, settings.size, Spin),
        Wait::Adaptive => with_form(job, settings.size, Adaptive::new(barrier, settings.size)),
        Wait::Block => with_form(job, settings.size, Block),
    }
}

impl Facts {
    fn ours(settings: &Settings) -> Self {
        Self { registered: settings.wait == Wait::Adaptive && Barrier::register() }
    }
}

/// The client's side.
struct Client<F, S> {
    memory: Region,
    payload: Payload,
    form: F,
    strategy: S,
}

/// Makes the client's side.
struct MakeClient {
    memory: Region,
    payload: Payload,
}

impl Job for MakeClient {
    type Result = Box<dyn Rounds>;

    fn with(self, form: impl Form, strategy: impl Strategy) -> Box<dyn Rounds> {
        Box::new(Client { memory: self.memory, payload: self.payload, form, strategy })
    }
}

impl<F: Form, S: Strategy> Round for Client<F, S> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        ask(&self.memory, &mut self.payload, self.form, self.strategy, watch, round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until it is ended, since memory does not show that the client has left.
struct Respond<'a> {
    memory: &'a Region,
}

impl Job for Respond<'_> {
    type Result = RoundError;

    fn with(self, form: impl Form, strategy: impl Strategy) -> RoundError {
        let mut echo = Echo::new(self.memory, form, strategy);
        for round in 1.. {
            if let Err(error) = echo.answer(&mut Unwatched, round) {
                return error;
            }
        }
        unreachable!("rounds do not run out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::Owner;

    fn endpoint(descriptors: Vec<OwnedFd>) -> Endpoint {
        Endpoint { address: ADDRESS.to_owned(), descriptors, daemon: Owner::this() }
    }

    #[test]
    fn both_sides_see_the_same_memory_and_no_process_can_truncate_it() {
        let (ours, file) = make_sealed("ipcd-test", 10_000).unwrap();
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 20_000), Err(Errno::PERM));
        let theirs = open_sealed(endpoint(vec![file]), 10_000).unwrap();
        ours.write(9_990, b"0123456789");
        let mut seen = [0; 10];
        theirs.read(9_990, &mut seen);
        assert_eq!(&seen, b"0123456789");
    }

    #[test]
    fn memory_that_could_be_truncated_or_is_too_small_is_refused() {
        let unsealed = create_memfd("ipcd-test").unwrap();
        reserve(&unsealed, 4096).unwrap();
        let (_, small) = make_sealed("ipcd-test", 4096).unwrap();
        for descriptors in [vec![unsealed], vec![small], vec![]] {
            assert!(matches!(open_sealed(endpoint(descriptors), 4097), Err(ConnectError::Endpoint(_))));
        }
    }
}
