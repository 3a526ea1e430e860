//! How the two ends of a channel prove themselves before the first round: the client shows the first half of the
//! channel's token, the responder answers with the second.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};

use super::contract::While;
use super::stream::{Pipe, Socket, receive_exact, send_all};
use super::{Alive, CallError, ConnectError, RoundError, ServeError, Supervisor, Watch};
use crate::protocol::{Token, Wait};

/// Peers that have connected and not yet shown a token, at the most. One more drops the oldest: who is silent is not
/// the client.
const MAX_CANDIDATES: usize = 16;

/// The client's proof over a stream.
pub(super) fn prove(pipe: &impl Pipe, token: &Token, watch: &mut Watch) -> Result<(), ConnectError> {
    watch.restart();
    let mut answer = [0; Token::HALF_LEN];
    send_all(pipe, token.client_half(), Wait::Block, watch, 0)?;
    receive_exact(pipe, &mut answer, Wait::Block, watch, 0)?;
    if answer != *token.responder_half() {
        return Err(ConnectError::WrongToken);
    }
    Ok(())
}

/// The responder's proof over a stream that has one possible peer.
pub(super) fn check_peer(
    pipe: &impl Pipe,
    token: &Token,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    let mut shown = [0; Token::HALF_LEN];
    receive_exact(pipe, &mut shown, Wait::Block, supervisor, 0).map_err(proof_broke_off)?;
    if shown != *token.client_half() {
        return Err(ServeError::WrongToken);
    }
    send_all(pipe, token.responder_half(), Wait::Block, supervisor, 0).map_err(proof_broke_off)
}

/// The responder's proof over a listening socket that anybody may connect to: returns the one peer that knows the
/// token. Others are dropped, and cannot keep it from coming.
pub(super) fn accept_peer(
    listener: &impl AsFd,
    token: &Token,
    supervisor: &mut Supervisor,
) -> Result<Socket, ServeError> {
    let mut candidates: Vec<Candidate> = Vec::new();
    loop {
        let ready: Vec<bool> = {
            let fds = std::iter::once(listener.as_fd()).chain(candidates.iter().map(|c| c.socket.as_fd()));
            let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => supervisor.check(0).map_err(proof_broke_off)?,
                Err(error) => Err(error).while_doing("waiting for the client")?,
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        // Where strangers come without end, the wait above is never interrupted.
        if supervisor.due() {
            supervisor.check(0).map_err(proof_broke_off)?;
        }
        for index in (0..candidates.len()).rev().filter(|index| ready[index + 1]) {
            match candidates[index].look(token) {
                Some(false) => drop(candidates.swap_remove(index)),
                Some(true) => {
                    let socket = Socket(candidates.swap_remove(index).socket);
                    send_all(&socket, token.responder_half(), Wait::Block, supervisor, 0)
                        .map_err(proof_broke_off)?;
                    return Ok(socket);
                }
                None => {}
            }
        }
        if ready[0] {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => candidates.push(Candidate { socket, shown: Vec::new() }),
                // It went away again before it was looked at.
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                Err(error) => Err(error).while_doing("accepting a connection")?,
            }
            if candidates.len() > MAX_CANDIDATES {
                candidates.remove(0);
            }
        }
    }
}

/// A peer that has not shown a whole token.
struct Candidate {
    socket: OwnedFd,
    shown: Vec<u8>,
}

impl Candidate {
    /// Reads what is there: whether it is the peer, once that can be told.
    fn look(&mut self, token: &Token) -> Option<bool> {
        let mut buffer = [0; Token::HALF_LEN];
        let left = Token::HALF_LEN - self.shown.len();
        match recv(&self.socket, &mut buffer[..left], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Some(false),
            Ok((n, _)) => {
                self.shown.extend_from_slice(&buffer[..n]);
                (self.shown.len() == Token::HALF_LEN).then(|| self.shown == token.client_half())
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(false),
        }
    }
}

/// What a broken wait for the peer means to a responder.
pub(super) fn proof_broke_off(error: RoundError) -> ServeError {
    match error {
        RoundError::TimedOut(patience) => ServeError::NoClient(patience),
        other => {
            CallError { what: "waiting for the client's proof", source: std::io::Error::other(other) }.into()
        }
    }
}
