//! Both sides of any mechanism over memory that both sides see: the layout, the proof, and the rounds.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | proof: word, flag of the responder, flag of the client |
//! | 16, 32 | the halves of the token |
//! | 48, 52 | what client and responder tell of themselves |
//! | 128 | a payload of up to 48 bytes: word, the flags, payload: one cache line for both directions |
//! | 256, 384 | a larger payload: word of the ping, of the pong |
//! | 512, 640 | and the flags of those who wait for them |
//! | 4096 | the ping, then (on a page of its own) the pong |
//!
//! Round `r` is published as the word `2r - 1` by the client and as `2r` by the responder.

mod exchange;
mod form;
mod proof;

use std::os::fd::OwnedFd;

use rustix::fs::fstat;

use self::exchange::{Echo, ask};
use self::form::{Apart, Beside, Form, MAX_INLINE, PAGE, pong_offset};
use self::proof::Facts;
use super::contract::While;
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::sys::Region;
use super::turn::{Adaptive, Barrier, Block, Spin, Strategy};
use super::{
    ConnectError, Endpoint, Round, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Unwatched,
    Watch,
};
use crate::protocol::Wait;

/// Bytes of memory that a channel needs.
pub(super) fn len(settings: &Settings) -> usize {
    let size = settings.size;
    if size <= MAX_INLINE { PAGE } else { pong_offset(size) + size }
}

/// The memory below a descriptor that was handed over: at least `len` bytes, whose end can be taken away.
pub(super) fn handed(endpoint: Endpoint, len: usize) -> Result<Region, ConnectError> {
    let [file]: [OwnedFd; 1] =
        endpoint.descriptors.try_into().map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
    let size = fstat(&file).while_doing("looking at the file's size")?.st_size;
    if usize::try_from(size).is_ok_and(|size| size < len) {
        return Err(ConnectError::Endpoint(endpoint.address));
    }
    Ok(Region::of_file(&file, len).while_doing("mapping the file")?)
}

/// The responder's side. `remove_name` is called when the client has proved itself.
pub(super) fn serve(
    memory: &Region,
    settings: &Settings,
    supervisor: &mut Supervisor,
    remove_name: impl FnOnce(),
) -> Result<Served, ServeError> {
    let ours = Facts::ours(settings);
    let theirs = proof::check_peer(memory, &settings.token, ours, supervisor).map_err(proof_broke_off)?;
    let theirs = theirs.ok_or(ServeError::WrongToken)?;
    remove_name();
    supervisor.proven()?;
    let error = choose(Respond { memory }, settings, ours, theirs);
    Err(std::io::Error::other(error)).while_doing("echoing")?
}

/// The client's side.
pub(super) fn connect(
    memory: Region,
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Box<dyn Rounds>, ConnectError> {
    let memory = memory.outliving_truncation().while_doing("preparing for the memory's truncation")?;
    let ours = Facts::ours(settings);
    watch.restart();
    let theirs = proof::prove(&memory, &settings.token, ours, watch)?.ok_or(ConnectError::WrongToken)?;
    let payload = Payload::new(settings.size, &settings.token);
    Ok(choose(MakeClient { memory, payload }, settings, ours, theirs))
}

/// Something that is compiled once for each form and wait strategy.
trait Job {
    type Result;
    fn with(self, form: impl Form, strategy: impl Strategy) -> Self::Result;
}

/// Does the job with the form that the size asks for, and with a strategy.
fn with_form<J: Job>(job: J, size: usize, strategy: impl Strategy) -> J::Result {
    match size {
        0..=8 => job.with(Beside::<8>, strategy),
        9..=MAX_INLINE => job.with(Beside::<MAX_INLINE>, strategy),
        _ => job.with(Apart { size }, strategy),
    }
}

/// Does the job as the settings, and what both sides know of each other, ask for.
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

/// The responder's side: echoes until it is ended, since memory does not tell that the client has gone.
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
