//! Both sides of any mechanism that carries a stream of bytes through file descriptors: the proof, then the rounds.
//!
//! The proof, here as in the other families: the client shows the first half of the channel's token, the responder answers
//! with the second. Where the client has been given an address, the responder begins, with its hello.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, recv, send, socketpair,
};

use crate::protocol::{Token, Wait};
use crate::transports::contract::{
    CallError, ConnectError, Connected, Endpoint, RoundError, ServeError, While, echo_ended,
};
use crate::transports::payload::{Buffer, Payload};
use crate::transports::sys::refuse_descriptors;
use crate::transports::{Alive, Round, Settings, Supervisor, Unwatched, Watch};

/// How long an adaptive wait polls before it blocks, where the other side has `size` bytes to move meanwhile: about what a
/// wake-up costs, and the time to move the bytes at 2 GB/s.
pub(crate) fn adaptive_spin(size: usize) -> Duration {
    Duration::from_micros(50) + Duration::from_nanos(size as u64 / 2)
}

/// A stream's descriptors, and the calls that move bytes through them.
pub(crate) trait Pipe {
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno>;
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno>;
    fn reader(&self) -> BorrowedFd<'_>;

    fn writer(&self) -> BorrowedFd<'_> {
        self.reader()
    }
}

/// A connected socket: `send` and `recv` skip what `write` and `read` do for files.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) OwnedFd);

impl Pipe for Socket {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(&self.0, buffer, RecvFlags::empty()).map(|(n, _)| n)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        send(&self.0, bytes, SendFlags::NOSIGNAL)
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Two descriptors, one for each direction.
#[derive(Debug)]
pub(crate) struct Files<F> {
    pub(crate) reader: F,
    pub(crate) writer: F,
}

impl<F: AsFd> Pipe for Files<F> {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&self.reader, buffer)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(&self.writer, bytes)
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

/// Sets the descriptors up for the wait strategy: only [`Wait::Block`] may block in a call.
pub(crate) fn set_wait(pipe: &impl Pipe, wait: Wait) -> Result<(), CallError> {
    if wait == Wait::Block {
        return Ok(());
    }
    let set = |fd| fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK);
    set(pipe.reader()).and_then(|()| set(pipe.writer())).while_doing("setting the wait strategy")
}

/// What to do when a descriptor is not ready: the part of the wait strategy outside the call.
#[derive(Debug)]
pub(crate) struct Patience {
    wait: Wait,
    /// Bytes that the other side moves.
    size: usize,
    /// When an adaptive wait began.
    since: Option<Instant>,
}

impl Patience {
    #[inline(always)]
    pub(crate) fn new(wait: Wait, size: usize) -> Self {
        Self { wait, size, since: None }
    }

    /// Called when the call failed with `error`; returns when to call again.
    #[cold]
    pub(crate) fn again(
        &mut self,
        error: Errno,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        match error {
            Errno::INTR => return alive.check(round),
            Errno::AGAIN => {}
            other => return Err(other.into()),
        }
        if alive.due() {
            alive.check(round)?;
        }
        if self.wait != Wait::Adaptive
            || self.since.get_or_insert_with(Instant::now).elapsed() < adaptive_spin(self.size)
        {
            return Ok(());
        }
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None) {
            Err(Errno::INTR) => alive.check(round),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}

/// Receives until `buffer` is full.
#[inline(always)]
pub(crate) fn receive_exact(
    pipe: &impl Pipe,
    buffer: &mut [u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let size = buffer.len();
    let mut patience = Patience::new(wait, size);
    let mut have = 0;
    while have < size {
        match pipe.receive(&mut buffer[have..]) {
            Ok(0) => return Err(RoundError::PeerClosed),
            Ok(n) => {
                have += n;
                patience = Patience::new(wait, size);
            }
            Err(error) => patience.again(error, pipe.reader(), PollFlags::IN, alive, round)?,
        }
    }
    Ok(())
}

/// Sends all of `bytes`.
#[inline(always)]
pub(crate) fn send_all(
    pipe: &impl Pipe,
    mut bytes: &[u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let size = bytes.len();
    let mut patience = Patience::new(wait, size);
    while !bytes.is_empty() {
        match pipe.send(bytes) {
            Ok(n) => {
                bytes = &bytes[n..];
                patience = Patience::new(wait, size);
            }
            Err(error) => patience.again(error, pipe.writer(), PollFlags::OUT, alive, round)?,
        }
    }
    Ok(())
}

/// The client's side of a stream: its proof, then its rounds.
pub(crate) fn connect(pipe: impl Pipe + 'static, settings: &Settings, watch: &mut Watch) -> Connected {
    prove(&pipe, &settings.token, watch)?;
    Ok(Box::new(StreamClient::new(pipe, settings)?))
}

/// The responder's side of a stream that has one possible peer: its proof, then the echo.
pub(crate) fn serve(
    pipe: &impl Pipe,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    check_peer(pipe, &settings.token, supervisor)?;
    supervisor.proven()?;
    echo(pipe, settings)
}

/// The client's side.
#[derive(Debug)]
pub(crate) struct StreamClient<P> {
    pipe: P,
    wait: Wait,
    payload: Payload,
}

impl<P: Pipe> StreamClient<P> {
    /// The client's side over a stream whose peer has proved itself.
    pub(crate) fn new(pipe: P, settings: &Settings) -> Result<Self, CallError> {
        set_wait(&pipe, settings.wait)?;
        Ok(Self { pipe, wait: settings.wait, payload: Payload::new(settings.size, &settings.token) })
    }
}

impl<P: Pipe> Round for StreamClient<P> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        send_all(&self.pipe, self.payload.ping(), self.wait, watch, round)?;
        receive_exact(&self.pipe, self.payload.pong_in_place(), self.wait, watch, round)?;
        self.payload.check_in_place(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until the peer closes.
pub(crate) fn echo(pipe: &impl Pipe, settings: &Settings) -> Result<(), ServeError> {
    set_wait(pipe, settings.wait)?;
    let mut buffer = Buffer::new(settings.size);
    let alive = &mut Unwatched;
    loop {
        let round = receive_exact(pipe, &mut buffer, settings.wait, alive, 0)
            .and_then(|()| send_all(pipe, &buffer, settings.wait, alive, 0));
        if let Err(error) = round {
            return echo_ended(error);
        }
    }
}

/// The responder's end of a pair of connected unix sockets, whose client has proved itself.
pub(crate) fn offer_pair(
    kind: SocketType,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<Socket, ServeError> {
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    offer(pair.while_doing("making a pair of sockets")?, settings, supervisor)
}

/// The same for a pair that has been connected otherwise.
pub(crate) fn offer(
    (ours, theirs): (OwnedFd, OwnedFd),
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<Socket, ServeError> {
    // The client could delay this process by what closing them takes.
    refuse_descriptors(&ours);
    supervisor.ready("one of a pair of sockets", &[theirs.as_fd()])?;
    // Kept open, it would hide the client's death.
    drop(theirs);
    let socket = Socket(ours);
    check_peer(&socket, &settings.token, supervisor)?;
    supervisor.proven()?;
    Ok(socket)
}

/// The client's end of that pair, whose responder has proved itself.
pub(crate) fn take_pair(
    settings: &Settings,
    endpoint: Endpoint,
    watch: &mut Watch,
) -> Result<Socket, ConnectError> {
    let [socket] = endpoint.handed()?;
    let socket = Socket(socket);
    prove(&socket, &settings.token, watch)?;
    Ok(socket)
}

/// The most peers that have connected and not yet shown a token; fewer where descriptors run out. Another one waits until
/// the oldest has had its time, and replaces it: a peer that is silent for so long is not the client.
const MAX_CANDIDATES: usize = 256;

/// How long a peer has at least to show its token. The client does that as soon as it has connected, but on a busy host
/// many other peers may connect in between.
const GRACE: Duration = Duration::from_millis(250);

/// The client's proof over a connection to an address, where another program may listen. It sends nothing before the
/// responder's hello: a daemon must not have it write to another service.
pub(crate) fn prove_to_listener(
    socket: &Socket,
    token: &Token,
    watch: &mut Watch,
) -> Result<(), ConnectError> {
    watch.restart();
    let mut hello = [0; Token::HELLO_LEN];
    receive_exact(socket, &mut hello, Wait::Block, watch, 0)?;
    // The daemon may have made the token of how another service greets, which is longer.
    let goes_on = recv(&socket.0, &mut [0], RecvFlags::DONTWAIT | RecvFlags::PEEK).is_ok_and(|(n, _)| n > 0);
    if hello != *token.hello() || goes_on {
        return Err(ConnectError::WrongToken);
    }
    prove(socket, token, watch)
}

/// The client's proof over a stream.
pub(crate) fn prove(pipe: &impl Pipe, token: &Token, watch: &mut Watch) -> Result<(), ConnectError> {
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
pub(crate) fn check_peer(
    pipe: &impl Pipe,
    token: &Token,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    let mut shown = [0; Token::HALF_LEN];
    receive_exact(pipe, &mut shown, Wait::Block, supervisor, 0)?;
    if shown != *token.client_half() {
        return Err(ServeError::WrongToken);
    }
    Ok(send_all(pipe, token.responder_half(), Wait::Block, supervisor, 0)?)
}

/// The responder's proof over a listening socket that any process may connect to: returns the one peer that knows the
/// token. Others are dropped, and cannot keep it out.
pub(crate) fn accept_peer(
    listener: &impl AsFd,
    token: &Token,
    supervisor: &mut Supervisor,
) -> Result<Socket, ServeError> {
    // Oldest first.
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
            // No other peer is accepted while the oldest still has time.
            let fds = fds.chain(grace.is_none().then(|| listener.as_fd()));
            let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let timeout = grace.map(|left| Timespec::try_from(left).expect("a quarter of a second fits"));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => supervisor.check(0)?,
                Err(error) => Err(error).while_doing("waiting for the client")?,
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        // While peers keep connecting, the wait above is never interrupted.
        if supervisor.due() {
            supervisor.check(0)?;
        }
        let incoming = ready.get(candidates.len()) == Some(&true);
        for index in (0..candidates.len()).rev().filter(|index| ready[*index]) {
            match candidates[index].read(token) {
                Some(false) => drop(candidates.remove(index)),
                Some(true) => {
                    let socket = Socket(candidates.remove(index).socket);
                    send_all(&socket, token.responder_half(), Wait::Block, supervisor, 0)?;
                    return Ok(socket);
                }
                None => {}
            }
        }
        if incoming {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    // A new socket has room for it; a peer that has left shows when its token is read.
                    let _ = send(&socket, token.hello(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                    candidates.push(Candidate { socket, shown: Vec::new(), since: Instant::now() });
                }
                // It has left before it was accepted.
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                // Other peers hold them.
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
    /// Reads what has arrived: whether it is the client, once that is known.
    fn read(&mut self, token: &Token) -> Option<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_at_the_address_receives_nothing() {
        let token = Token::new(std::array::from_fn(|at| u8::try_from(at).expect("below 32")));
        let (control, _other) = rustix::pipe::pipe().unwrap();
        let mut watch = Watch::new(control.as_fd()).unwrap();
        // The last one greets as the daemon knew that it would.
        for greeting in [&[7; Token::HELLO_LEN][..], token.responder_half()] {
            let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let (ours, theirs) = pair.unwrap();
            send(&theirs, greeting, SendFlags::empty()).unwrap();
            let proof = prove_to_listener(&Socket(ours), &token, &mut watch);
            assert!(matches!(proof, Err(ConnectError::WrongToken)), "{greeting:?}");
            let (n, _) = recv(&theirs, &mut [0; 64], RecvFlags::empty()).unwrap_or((0, 0));
            assert_eq!(n, 0, "{greeting:?}");
        }
    }
}
