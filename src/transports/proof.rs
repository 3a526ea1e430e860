//! How the two ends of a channel prove themselves before the first round: the client shows the first half of the
//! channel's token, the responder answers with the second.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};

use super::contract::While;
use super::stream::{Pipe, Socket, receive_exact, send_all};
use super::{Alive, CallError, ConnectError, RoundError, ServeError, Supervisor, Watch};
use crate::protocol::{Token, Wait};

/// Peers that have connected and not yet shown a token, at the most; fewer where descriptors run out. One more waits until
/// the oldest has had its time, and takes its place: who is silent for so long is not the client.
const MAX_CANDIDATES: usize = 256;

/// How long a peer has in any case to show its token. The client does that as soon as it has connected, but on a busy host
/// many strangers may connect in between.
const GRACE: Duration = Duration::from_millis(250);

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
    // The oldest first.
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut most = MAX_CANDIDATES;
    loop {
        let full = candidates.first().filter(|_| candidates.len() >= most);
        let grace = full.map(|oldest| GRACE.saturating_sub(oldest.since.elapsed()));
        if grace == Some(Duration::ZERO) {
            drop(candidates.remove(0));
        }
        let grace = grace.filter(|left| !left.is_zero());
        let ready: Vec<bool> = {
            let fds = candidates.iter().map(|candidate| candidate.socket.as_fd());
            // Nobody more comes in while the oldest still has time.
            let fds = fds.chain(grace.is_none().then(|| listener.as_fd()));
            let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let timeout = grace.map(|left| Timespec::try_from(left).expect("a quarter of a second fits"));
            match poll(&mut fds, timeout.as_ref()) {
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
        let knocked = ready.get(candidates.len()) == Some(&true);
        for index in (0..candidates.len()).rev().filter(|index| ready[*index]) {
            match candidates[index].look(token) {
                Some(false) => drop(candidates.remove(index)),
                Some(true) => {
                    let socket = Socket(candidates.remove(index).socket);
                    send_all(&socket, token.responder_half(), Wait::Block, supervisor, 0)
                        .map_err(proof_broke_off)?;
                    return Ok(socket);
                }
                None => {}
            }
        }
        if knocked {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    candidates.push(Candidate { socket, shown: Vec::new(), since: Instant::now() });
                }
                // It went away again before it was looked at.
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                // Strangers have them.
                Err(Errno::MFILE | Errno::NFILE) if !candidates.is_empty() => most = candidates.len(),
                Err(error) => Err(error).while_doing("accepting a connection")?,
            }
        }
    }
}

/// A peer that has not shown a whole token.
struct Candidate {
    socket: OwnedFd,
    shown: Vec<u8>,
    since: Instant,
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
