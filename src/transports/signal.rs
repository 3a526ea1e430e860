//! `signal`: real-time signals that carry the round's number.
//!
//! A signal is sent to a thread, not to a process as `sigqueue` does: a process with several threads would have to
//! block it in all of them. The client sends its thread's id in its first word, then proves itself.

use rustix::process::{Resource, getrlimit};

use super::families::messages::{self, Else, Messages};
use super::prelude::*;
use super::process_vm::{Responder, client_pid, process_address};
use super::sys::signal::{self, Words};
use crate::shortage::explain_signal;

static INFO: Info = Info {
    name: "signal",
    group: Group::Queues,
    summary: "real-time signals with sigwaitinfo, 8 bytes in each",
    choose: "Choose it to notify a process that is busy with something else; not to carry data.",
    limits: "One word, between processes of one user. At most RLIMIT_SIGPENDING signals are queued. A process that may \
             signal another can also forge the sender, and the receiver has to block the signal in all its threads or \
             is killed by it.",
    round: "One rt_tgsigqueueinfo, which is sigqueue for one thread, and one sigwaitinfo on each side; the kernel \
            allocates an entry for each signal.",
    delivery: Delivery::Message,
    reach: Reach::SameUser,
    sizes: Capabilities { min_size: WORD, max_size: WORD },
    exposure: Exposure::Unreachable(
        "a signal that is not from the client's process is dropped by its sender's id",
    ),
    ..Info::DEFAULT
};

/// Bytes in a signal.
const WORD: usize = size_of::<u64>();

/// Real-time signals.
pub(super) struct RealTimeSignal;

impl Mechanism for RealTimeSignal {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        if cfg!(not(target_pointer_width = "64")) {
            return Err(Unavailable("a signal carries a pointer, which is shorter than 8 bytes here".into()));
        }
        match getrlimit(Resource::Sigpending).current {
            // A word, and a tick.
            Some(limit @ 0..2) => Err(Unavailable(format!("RLIMIT_SIGPENDING is {limit}"))),
            _ => Ok(signal::probe().map_err(explain_signal).while_doing(QUEUEING)?),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let pid = client_pid(settings)?;
        let mut peer = Peer { words: words()?, pid, tid: pid };
        supervisor.ready(&process_address(pid), &[])?;

        let mut tid = [0; WORD];
        messages::receive(&mut peer, &mut tid, Wait::Block, supervisor, 0)?;
        // Sending to a thread that is not the client's fails.
        peer.tid = i32::try_from(u64::from_le_bytes(tid)).unwrap_or(-1);
        messages::serve(&mut peer, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let pid = Responder::of(&endpoint)?.pid;
        // A responder has one thread.
        let mut peer = Peer { words: words()?, pid, tid: pid };
        let tid = u64::from(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
        peer.send(&tid.to_le_bytes(), Else::Sleep).map_err(RoundError::from)?;
        messages::connect(peer, settings, watch)
    }
}

const QUEUEING: &str = "queueing a signal";

/// This side's end, if the kernel can queue a signal for it.
fn words() -> Result<Words, CallError> {
    let words = Words::of_this_thread().while_doing("blocking a signal")?;
    words.try_out().map_err(explain_signal).while_doing(QUEUEING)?;
    Ok(words)
}

/// The other side.
#[derive(Debug)]
struct Peer {
    words: Words,
    pid: i32,
    tid: i32,
}

impl Messages for Peer {
    #[inline(always)]
    fn send(&mut self, message: &[u8], _: Else) -> Result<(), Errno> {
        let word = message.first_chunk().ok_or(Errno::MSGSIZE)?;
        self.words.send(self.pid, self.tid, u64::from_le_bytes(*word))
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        let word = self.words.receive(self.pid, or == Else::Sleep)?;
        buffer[..WORD].copy_from_slice(&word.to_le_bytes());
        Ok(WORD)
    }
}
