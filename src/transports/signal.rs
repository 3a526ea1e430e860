//! `signal`: real-time signals, each of which carries the round's number.
//!
//! A signal is sent to a thread, not to a process as `sigqueue` does: a process with several threads would have to
//! block it in all of them. The client tells its thread's id by its first word, then proves itself.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::contract::While;
use super::messages::{self, Else, MessageClient, Messages};
use super::process::{self, Responder};
use super::proof::proof_broke_off;
use super::sys::signal::{self, Words};
use super::{
    CallError, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach,
    RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};
use crate::shortage::explain_signal;

static INFO: Info = Info {
    name: "signal",
    aliases: &[],
    group: Group::Queues,
    summary: "real-time signals with sigwaitinfo, 8 bytes in each",
    explanation: Explanation {
        choose: "Choose it to tell a process of something while it does something else; not to carry data.",
        limits: "One word, between processes of one user. RLIMIT_SIGPENDING signals may wait. Who may signal a process \
                 may also forge whose signal it is, and the receiver has to block the signal in all its threads or \
                 it dies of it.",
        round: "One rt_tgsigqueueinfo, which is sigqueue for one thread, and one sigwaitinfo on each side; the kernel \
                allocates an entry for each signal.",
    },
    delivery: Delivery::Message,
    reach: Reach::SameUser,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// Bytes in a signal.
const WORD: usize = size_of::<u64>();

/// Real-time signals.
pub(super) struct RealTimeSignal;

impl Mechanism for RealTimeSignal {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { min_size: WORD, max_size: WORD }
    }

    fn probe(&self) -> Result<(), Unavailable> {
        if cfg!(not(target_pointer_width = "64")) {
            return Err(Unavailable("a signal carries a pointer, which has no 8 bytes here".into()));
        }
        match getrlimit(Resource::Sigpending).current {
            // A word, and a tick.
            Some(limit @ 0..2) => Err(Unavailable(format!("RLIMIT_SIGPENDING is {limit}"))),
            _ => Ok(signal::probe().map_err(explain_signal).while_doing(QUEUEING)?),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let pid = process::client(settings)?;
        let words = words()?;
        let mut peer = Peer { words, pid, tid: pid };
        supervisor.ready(&process::endpoint(pid), &[])?;

        let mut tid = [0; WORD];
        messages::receive(&mut peer, &mut tid, Wait::Block, supervisor, 0).map_err(proof_broke_off)?;
        // Not a thread of the client's: sending to it fails.
        peer.tid = i32::try_from(u64::from_le_bytes(tid)).unwrap_or(-1);
        messages::check_peer(&mut peer, settings, supervisor)?;
        supervisor.proven()?;
        messages::echo(&mut peer, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let pid = Responder::of(&endpoint.address)?.pid;
        let words = words()?;
        // A responder has one thread.
        let mut peer = Peer { words, pid, tid: pid };
        let tid = u64::from(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
        peer.send(&tid.to_le_bytes(), Else::Sleep).map_err(RoundError::from)?;
        Ok(Box::new(MessageClient::prove(peer, settings, watch)?))
    }
}

const QUEUEING: &str = "queueing a signal";

/// This side's end, for which the kernel has room.
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
