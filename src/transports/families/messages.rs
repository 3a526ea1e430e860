//! Both sides of any mechanism that carries whole messages, in order and none lost, and whose calls do not report that
//! the peer has left.

use std::time::Instant;

use rustix::io::Errno;

use super::stream::adaptive_spin;
use crate::protocol::{Token, Unavailable, Wait};
use crate::shortage::HIDDEN;
use crate::transports::contract::{
    CallError, ConnectError, Connected, RoundError, ServeError, While, echo_ended,
};
use crate::transports::payload::{Buffer, Payload};
use crate::transports::{Alive, Round, Settings, Supervisor, Unwatched, Watch};

/// What a call that has to wait for the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Else {
    /// It sleeps until it can go on, or until a signal handler has run ([`Errno::INTR`]).
    Sleep,
    /// It returns [`Errno::AGAIN`].
    Return,
}

/// One side's ends of two queues, one for each direction.
pub(crate) trait Messages {
    /// A message has room for at least this many bytes, even where a round's are fewer.
    const MIN_ROOM: usize = 0;

    /// Sends one message.
    fn send(&mut self, message: &[u8], or: Else) -> Result<(), Errno>;

    /// Receives one message; the buffer has room for the longest. Returns its length.
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno>;

    /// Prepares for rounds with this wait strategy; until then only [`Else::Sleep`] is used.
    fn set_wait(&mut self, _wait: Wait) -> Result<(), Errno> {
        Ok(())
    }
}

/// Repeats the call until it succeeds; the peer has `size` bytes to move meanwhile.
#[inline(always)]
fn patiently<T>(
    mut call: impl FnMut(Else) -> Result<T, Errno>,
    size: usize,
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<T, RoundError> {
    let mut or = if wait == Wait::Block { Else::Sleep } else { Else::Return };
    let mut since = None;
    loop {
        match call(or) {
            Ok(value) => return Ok(value),
            Err(Errno::INTR) => alive.check(round)?,
            Err(Errno::AGAIN) => {
                if alive.due() {
                    alive.check(round)?;
                }
                if wait == Wait::Adaptive
                    && since.get_or_insert_with(Instant::now).elapsed() >= adaptive_spin(size)
                {
                    or = Else::Sleep;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[inline(always)]
fn send(
    messages: &mut impl Messages,
    message: &[u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    patiently(|or| messages.send(message, or), message.len(), wait, alive, round)
}

/// Receives one message.
#[inline(always)]
pub(crate) fn receive(
    messages: &mut impl Messages,
    buffer: &mut [u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<usize, RoundError> {
    let size = buffer.len();
    patiently(|or| messages.receive(buffer, or), size, wait, alive, round)
}

/// Half a token, in messages of at most `room` bytes.
fn parts(half: &[u8; Token::HALF_LEN], room: usize) -> impl Iterator<Item = &[u8]> {
    half.chunks(room)
}

/// How many bytes fit into any message, and must fit into any buffer.
fn room<M: Messages>(settings: &Settings) -> usize {
    settings.size.max(M::MIN_ROOM)
}

/// The client's side.
#[derive(Debug)]
struct MessageClient<M> {
    messages: M,
    wait: Wait,
    payload: Payload,
}

/// The client's side: its proof, then its rounds.
pub(crate) fn connect<M: Messages + 'static>(
    mut messages: M,
    settings: &Settings,
    watch: &mut Watch,
) -> Connected {
    watch.restart();
    let room = room::<M>(settings);
    for part in parts(settings.token.client_half(), room) {
        send(&mut messages, part, Wait::Block, watch, 0)?;
    }
    let mut answer = vec![0; room];
    for part in parts(settings.token.responder_half(), room) {
        let n = receive(&mut messages, &mut answer, Wait::Block, watch, 0)?;
        if answer[..n] != *part {
            return Err(ConnectError::WrongToken);
        }
    }
    let wait = settings.wait;
    messages.set_wait(wait).while_doing("setting the wait strategy")?;
    Ok(Box::new(MessageClient { messages, wait, payload: Payload::new(settings.size, &settings.token) }))
}

impl<M: Messages> MessageClient<M> {
    #[inline(always)]
    fn exchange(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        send(&mut self.messages, self.payload.ping(), self.wait, watch, round)?;
        let received = receive(&mut self.messages, self.payload.pong(), self.wait, watch, round);
        let n = received.map_err(|error| too_long(error, round))?;
        if n != self.payload.ping().len() {
            return Err(RoundError::WrongPong { round, what: "its length is not the ping's" });
        }
        self.payload.check(round)
    }
}

/// What an error of receiving means: a message that does not fit into the buffer is the peer's fault, not the system's.
#[cold]
fn too_long(error: RoundError, round: u64) -> RoundError {
    match error {
        RoundError::System(error)
            if [Errno::MSGSIZE, Errno::TOOBIG]
                .iter()
                .any(|one| Errno::from_io_error(&error) == Some(*one)) =>
        {
            RoundError::WrongPong { round, what: "its length is not the ping's" }
        }
        other => other,
    }
}

impl<M: Messages> Round for MessageClient<M> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.exchange(round, watch)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's proof. Messages that are not part of the client's proof are another process's, and are dropped.
pub(crate) fn check_peer<M: Messages>(
    messages: &mut M,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    let (token, room) = (&settings.token, room::<M>(settings));
    let expected: Vec<_> = parts(token.client_half(), room).collect();
    let mut buffer = vec![0; room];
    let mut shown = 0;
    while shown < expected.len() {
        let n = receive(messages, &mut buffer, Wait::Block, supervisor, 0)?;
        // Where other processes flood the queue, no call is interrupted, since none has to wait.
        if supervisor.due() {
            supervisor.check(0)?;
        }
        let message = &buffer[..n];
        shown = if message == expected[shown] { shown + 1 } else { usize::from(message == expected[0]) };
    }
    for part in parts(token.responder_half(), room) {
        send(messages, part, Wait::Block, supervisor, 0)?;
    }
    Ok(())
}

/// The responder's side of a resource whose name is gone already: its proof, then the echo.
pub(crate) fn serve(
    messages: &mut impl Messages,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    check_peer(messages, settings, supervisor)?;
    supervisor.proven()?;
    echo(messages, settings)
}

/// The responder's side: echoes until it is ended, or until a call reports that the client has left.
pub(crate) fn echo(messages: &mut impl Messages, settings: &Settings) -> Result<(), ServeError> {
    let wait = settings.wait;
    messages.set_wait(wait).while_doing("setting the wait strategy")?;
    let mut buffer = Buffer::new(settings.size);
    let alive = &mut Unwatched;
    loop {
        let round = receive(messages, &mut buffer, wait, alive, 0)
            .and_then(|n| send(messages, &buffer[..n], wait, alive, 0));
        if let Err(error) = round {
            return echo_ended(error);
        }
    }
}

/// Whether queues of a kind that the kernel may lack can be made; `make` makes and removes one.
pub(crate) fn probe_queue(
    kind: &str,
    make: impl FnOnce() -> Result<(), CallError>,
) -> Result<(), Unavailable> {
    make().map_err(|error| match Errno::from_io_error(&error.source) {
        Some(Errno::NOSYS) => Unavailable(format!("this kernel was built without {kind}, {HIDDEN}")),
        _ => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_fits_in_messages_of_any_size() {
        let half = [7; Token::HALF_LEN];
        for (size, count) in [(8, 2), (9, 2), (15, 2), (16, 1), (4096, 1)] {
            let parts: Vec<_> = parts(&half, size).collect();
            assert_eq!(parts.len(), count, "{size}");
            assert_eq!(parts.concat(), half);
            assert!(parts.iter().all(|part| part.len() <= size));
        }
    }

    #[test]
    fn an_adaptive_wait_sleeps_in_the_end_and_a_spinning_one_never() {
        let mut asked = Vec::new();
        let result = patiently(
            |or| {
                asked.push(or);
                if or == Else::Sleep { Ok(()) } else { Err(Errno::AGAIN) }
            },
            8,
            Wait::Adaptive,
            &mut Unwatched,
            1,
        );
        result.unwrap();
        assert!(asked.len() > 1 && asked[..asked.len() - 1].iter().all(|or| *or == Else::Return));

        let mut left = 1000;
        let result = patiently(
            |or| {
                assert_eq!(or, Else::Return);
                left -= 1;
                if left == 0 { Ok(()) } else { Err(Errno::AGAIN) }
            },
            8,
            Wait::Spin,
            &mut Unwatched,
            1,
        );
        result.unwrap();
    }
}
