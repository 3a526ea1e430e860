//! Both sides of any mechanism that carries datagrams over a connected socket and may lose one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, connect, recv, recvfrom, send};

use super::contract::While;
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::stream::{Patience, Socket, set_wait};
use super::{
    Alive, ConnectError, Round, RoundError, ServeError, Served, Settings, Supervisor, Unwatched, Watch,
};
use crate::protocol::{Token, Wait};

/// The client's side.
#[derive(Debug)]
pub(super) struct DatagramClient {
    socket: Socket,
    wait: Wait,
    payload: Payload,
}

impl DatagramClient {
    /// Proves itself over a socket that is connected to the responder's.
    pub(super) fn prove(
        socket: OwnedFd,
        settings: &Settings,
        watch: &mut Watch,
    ) -> Result<Self, ConnectError> {
        watch.restart();
        let mut answer = [0; Token::HALF_LEN + 1];
        loop {
            send(&socket, settings.token.client_half(), SendFlags::NOSIGNAL).map_err(RoundError::from)?;
            match recv(&socket, &mut answer, RecvFlags::empty()) {
                Ok((n, _)) if answer[..n] == *settings.token.responder_half() => break,
                Ok(_) => return Err(ConnectError::WrongToken),
                // Either datagram may be lost: this one is sent again with every look around.
                Err(Errno::INTR) => watch.check(0)?,
                Err(error) => return Err(RoundError::from(error).into()),
            }
        }
        let socket = Socket(socket);
        set_wait(&socket, settings.wait).while_doing("setting the wait strategy")?;
        Ok(Self { socket, wait: settings.wait, payload: Payload::new(settings.size, &settings.token) })
    }
}

impl Round for DatagramClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        send_whole(&self.socket, self.payload.ping(), self.wait, watch, round)?;
        let mut patience = Patience::new(self.wait);
        loop {
            // TRUNC: the datagram's own length, also when it is longer than the buffer.
            match recv(&self.socket.0, self.payload.pong(), RecvFlags::TRUNC) {
                Ok((_, len)) if len == self.payload.ping().len() => {
                    // The answer to a round that was given up for lost may still come.
                    if self.payload.pong_round() < round {
                        continue;
                    }
                    return self.payload.check(round);
                }
                Ok(_) => return Err(RoundError::WrongPong { round, what: "its length is not the ping's" }),
                Err(error) => {
                    patience.again(error, self.socket.0.as_fd(), PollFlags::IN, watch, round)?;
                    if watch.lost_patience(round) {
                        return Err(RoundError::Lost(Watch::LOSS_PATIENCE));
                    }
                }
            }
        }
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// Sends one datagram.
#[inline(always)]
fn send_whole(
    socket: &Socket,
    datagram: &[u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let mut patience = Patience::new(wait);
    loop {
        match send(&socket.0, datagram, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(error) => patience.again(error, socket.0.as_fd(), PollFlags::OUT, alive, round)?,
        }
    }
}

/// The responder's side: waits for the datagram that carries the token, answers nobody but its sender, and echoes.
pub(super) fn serve(
    socket: OwnedFd,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<Served, ServeError> {
    let token = &settings.token;
    let mut buffer = vec![0; settings.size.max(Token::HALF_LEN) + 1];
    let client: SocketAddrAny = loop {
        match recvfrom(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((n, _, Some(from))) if buffer[..n] == *token.client_half() => break from,
            // A stranger's.
            Ok(_) => {}
            Err(Errno::INTR) => supervisor.check(0).map_err(proof_broke_off)?,
            Err(error) => Err(error).while_doing("waiting for the client")?,
        }
    };
    connect(&socket, &client).while_doing("connecting to the client")?;
    // From here on the kernel drops strangers' datagrams. The client sends nothing but its proof before it is
    // answered: what is queued now is theirs.
    while recv(&socket, &mut buffer, RecvFlags::DONTWAIT).is_ok() {}

    let socket = Socket(socket);
    let alive = &mut Unwatched;
    send_whole(&socket, token.responder_half(), Wait::Block, alive, 0).map_err(proof_broke_off)?;
    supervisor.proven()?;
    set_wait(&socket, settings.wait).while_doing("setting the wait strategy")?;
    let mut patience = Patience::new(settings.wait);
    loop {
        let n = match recv(&socket.0, &mut buffer, RecvFlags::empty()) {
            Ok((n, _)) => n,
            Err(Errno::CONNREFUSED) => return Ok(Served::ClientGone),
            Err(error) => match patience.again(error, socket.0.as_fd(), PollFlags::IN, alive, 0) {
                Ok(()) => continue,
                Err(error) => Err(std::io::Error::other(error)).while_doing("echoing")?,
            },
        };
        patience = Patience::new(settings.wait);
        // Our answer to its proof was lost.
        let again = n == Token::HALF_LEN && buffer[..n] == *token.client_half();
        let answer = if again { token.responder_half() } else { &buffer[..n] };
        match send_whole(&socket, answer, settings.wait, alive, 0) {
            Ok(()) => {}
            Err(RoundError::PeerClosed) => return Ok(Served::ClientGone),
            Err(error) => Err(std::io::Error::other(error)).while_doing("echoing")?,
        }
    }
}
