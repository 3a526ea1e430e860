//! Both sides of any mechanism that carries messages over a connected socket, whether it may lose one or not.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, connect, recv, recvfrom, send, sendto};

use super::stream::{Patience, Socket, set_wait};
use crate::protocol::{Token, Wait};
use crate::transports::contract::{
    CallError, ConnectError, Delivery, RoundError, ServeError, While, echo_ended,
};
use crate::transports::payload::{Buffer, Payload};
use crate::transports::{Alive, Round, Settings, Supervisor, Unwatched, Watch};

/// More datagrams than a socket has queued at a time: its buffer counts some hundreds of bytes for each.
const MOST_QUEUED: usize = 1 << 16;

/// The client's side.
#[derive(Debug)]
pub(crate) struct DatagramClient {
    socket: Socket,
    may_lose: bool,
    wait: Wait,
    payload: Payload,
    /// The responder's proof, which may arrive once more.
    proof: [u8; Token::HALF_LEN],
}

impl DatagramClient {
    /// Proves itself over a socket that is connected to the responder's address, where another program may listen. It sends
    /// nothing but an empty datagram before the responder's hello.
    pub(crate) fn prove(
        socket: OwnedFd,
        delivery: Delivery,
        settings: &Settings,
        watch: &mut Watch,
    ) -> Result<Self, ConnectError> {
        watch.restart();
        let mut answer = [0; Token::HALF_LEN + 1];
        // A connected socket receives from its peer alone, which sends nothing before it is shown the token: what is queued
        // now is from processes that found the socket between its binding and its connecting.
        drop_queued(&socket, &mut answer);
        let token = &settings.token;
        let mut greeted = false;
        loop {
            // Either datagram may be lost: this one is sent again after each interrupted wait.
            let shown: &[u8] = if greeted { token.client_half() } else { &[] };
            send(&socket, shown, SendFlags::NOSIGNAL).map_err(RoundError::from)?;
            match recv(&socket, &mut answer, RecvFlags::empty()) {
                Ok((n, _)) if greeted && answer[..n] == *token.responder_half() => break,
                // Also the answer to an empty datagram that was sent once more.
                Ok((n, _)) if answer[..n] == *token.hello() => greeted = true,
                Ok(_) => return Err(ConnectError::WrongToken),
                Err(Errno::INTR) => watch.check(0)?,
                Err(error) => return Err(RoundError::from(error).into()),
            }
        }
        Ok(Self::new(Socket(socket), delivery, settings)?)
    }

    /// The client's side over a socket whose peer has proved itself.
    pub(crate) fn new(socket: Socket, delivery: Delivery, settings: &Settings) -> Result<Self, CallError> {
        set_wait(&socket, settings.wait)?;
        let payload = Payload::new(settings.size, &settings.token);
        let proof = *settings.token.responder_half();
        Ok(Self { socket, may_lose: may_lose(delivery), wait: settings.wait, payload, proof })
    }

    /// A peer that sends late answers without end must not keep this side waiting for its round's.
    #[cold]
    fn not_for_long(&self, watch: &mut Watch, round: u64) -> Result<(), RoundError> {
        if watch.due() {
            watch.check(round)?;
        }
        if watch.lost_patience(round) {
            return Err(RoundError::Lost(Watch::LOSS_PATIENCE));
        }
        Ok(())
    }

    /// Whether a datagram of `len` bytes, which is not this round's pong, is legitimate where datagrams may be lost: the
    /// answer to a round that was given up, or to a proof that was sent once more.
    #[cold]
    fn is_late(&mut self, len: usize, round: u64) -> bool {
        let is_pong = len == self.payload.ping().len();
        let received = self.payload.pong();
        let part = received.len().min(Token::HALF_LEN);
        let is_proof = len == Token::HALF_LEN && received[..part] == self.proof[..part];
        self.may_lose && (is_proof || (is_pong && self.payload.pong_round() < round))
    }
}

impl Round for DatagramClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        send_whole(&self.socket, self.payload.ping(), self.wait, watch, round)?;
        let mut patience = Patience::new(self.wait, self.payload.ping().len());
        loop {
            // TRUNC: the datagram's own length, also when it is longer than the buffer.
            match recv(&self.socket.0, self.payload.pong(), RecvFlags::TRUNC) {
                Ok((_, len)) if len == self.payload.ping().len() => {
                    let checked = self.payload.check(round);
                    if checked.is_ok() || !self.is_late(len, round) {
                        return checked;
                    }
                    self.not_for_long(watch, round)?;
                }
                Ok((_, 0)) if !self.may_lose => return Err(RoundError::PeerClosed),
                Ok((_, len)) if self.is_late(len, round) => self.not_for_long(watch, round)?,
                Ok(_) => return Err(RoundError::WrongPong { round, what: "its length is not the ping's" }),
                Err(error) => {
                    patience.again(error, self.socket.0.as_fd(), PollFlags::IN, watch, round)?;
                    if self.may_lose && watch.lost_patience(round) {
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

/// Whether a message may be lost.
fn may_lose(delivery: Delivery) -> bool {
    delivery == Delivery::UnreliableMessage
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
    let mut patience = Patience::new(wait, datagram.len());
    loop {
        match send(&socket.0, datagram, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(error) => patience.again(error, socket.0.as_fd(), PollFlags::OUT, alive, round)?,
        }
    }
}

/// Drops what a socket had queued before it was connected, up to more than any queue holds: a peer that floods the socket
/// must not keep this side here.
pub(crate) fn drop_queued(socket: impl AsFd, buffer: &mut [u8]) {
    let queued = |_: &usize| recv(&socket, &mut *buffer, RecvFlags::DONTWAIT).is_ok();
    let _ = (0..MOST_QUEUED).take_while(queued).count();
}

/// The responder's proof over a socket that any process may send to: waits for the datagram that carries the token, and
/// answers its sender alone from then on.
pub(crate) fn meet(
    socket: &Socket,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(), ServeError> {
    let token = &settings.token;
    let mut buffer = [0; Token::HALF_LEN + 1];
    let client: SocketAddrAny = loop {
        match recvfrom(&socket.0, &mut buffer, RecvFlags::empty()) {
            Ok((n, _, Some(from))) if buffer[..n] == *token.client_half() => break from,
            // The client's first, or another process's. Where they flood the socket, no call is interrupted, since none has to
            // wait.
            Ok((n, _, from)) => {
                if n == 0
                    && let Some(from) = from
                {
                    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                    let _ = sendto(&socket.0, token.hello(), flags, &from);
                }
                if supervisor.due() {
                    supervisor.check(0)?;
                }
            }
            Err(Errno::INTR) => supervisor.check(0)?,
            Err(error) => Err(error).while_doing("waiting for the client")?,
        }
    };
    connect(&socket.0, &client).while_doing("connecting to the client")?;
    // From here on the kernel drops other senders' datagrams. The client sends nothing but its proof before it is
    // answered: what is queued now is not the client's.
    drop_queued(&socket.0, &mut buffer);
    Ok(send_whole(socket, token.responder_half(), Wait::Block, supervisor, 0)?)
}

/// The responder's side: echoes until the peer closes, as far as the socket reports it.
pub(crate) fn echo(socket: &Socket, delivery: Delivery, settings: &Settings) -> Result<(), ServeError> {
    set_wait(socket, settings.wait)?;
    let may_lose = may_lose(delivery);
    let token = &settings.token;
    let alive = &mut Unwatched;
    let mut buffer = Buffer::new(settings.size.max(Token::HALF_LEN) + 1);
    let mut patience = Patience::new(settings.wait, settings.size);
    loop {
        let n = match recv(&socket.0, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) if !may_lose => return Ok(()),
            Ok((n, _)) => n,
            Err(error) => match patience.again(error, socket.0.as_fd(), PollFlags::IN, alive, 0) {
                Ok(()) => continue,
                Err(error) => return echo_ended(error),
            },
        };
        patience = Patience::new(settings.wait, settings.size);
        // The answer to its proof was lost.
        let again = may_lose && n == Token::HALF_LEN && buffer[..n] == *token.client_half();
        let answer = if again { token.responder_half() } else { &buffer[..n] };
        if let Err(error) = send_whole(socket, answer, settings.wait, alive, 0) {
            return echo_ended(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::thread;

    use super::*;
    use crate::protocol::ChannelSpec;
    use crate::transports::Rounds;
    use crate::transports::sys::clock::{Calibration, ClockChoice};

    /// What the peer does with the ping of this round.
    const DROPPED: u64 = 3;
    const ANSWERED_LATE: u64 = 5;
    const LAST: u64 = 8;

    /// Echoes, but for the rounds above.
    fn unreliable_peer(socket: &UdpSocket, settings: &Settings) {
        let mut buffer = [0; 64];
        let mut late = None;
        loop {
            let n = socket.recv(&mut buffer).unwrap();
            let ping = &buffer[..n];
            if ping.is_empty() {
                socket.send(settings.token.hello()).unwrap();
                continue;
            }
            if *ping == *settings.token.client_half() {
                // Twice, as to a proof that was sent twice.
                socket.send(settings.token.responder_half()).unwrap();
                socket.send(settings.token.responder_half()).unwrap();
                continue;
            }
            let round = u64::from_le_bytes(*ping.first_chunk().unwrap());
            match round {
                DROPPED => continue,
                ANSWERED_LATE => late = Some(ping.to_vec()),
                _ => {
                    // The answer to a round that was given up comes before this one's.
                    if let Some(late) = late.take() {
                        socket.send(&late).unwrap();
                    }
                    socket.send(ping).unwrap();
                }
            }
            if round == LAST {
                return;
            }
        }
    }

    #[test]
    fn another_service_at_the_address_receives_only_empty_datagrams() {
        let settings = Settings::check(&ChannelSpec::new("udp")).unwrap();
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (control, _other) = rustix::pipe::pipe().unwrap();
        for answer in [&[7; Token::HELLO_LEN][..], settings.token.responder_half(), &[]] {
            let (ours, theirs) = (bind(), bind());
            ours.connect(theirs.local_addr().unwrap()).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (n, from) = theirs.recv_from(&mut [0; 64]).unwrap();
                    assert_eq!(n, 0);
                    theirs.send_to(answer, from).unwrap();
                });
                let mut watch = Watch::new(control.as_fd()).unwrap();
                let proof =
                    DatagramClient::prove(ours.into(), Delivery::UnreliableMessage, &settings, &mut watch);
                assert!(matches!(proof, Err(ConnectError::WrongToken)), "{answer:?}");
            });
            theirs.set_nonblocking(true).unwrap();
            while let Ok(n) = theirs.recv(&mut [0; 64]) {
                assert_eq!(n, 0, "{answer:?}");
            }
        }
    }

    #[test]
    fn a_lost_datagram_is_reported_and_a_late_answer_is_not_taken_for_the_next_rounds() {
        // Shorter than the proof, as long, longer.
        [8, 16, 17, 64].into_iter().for_each(late_answers);
    }

    fn late_answers(size_bytes: u32) {
        let settings = Settings::check(&ChannelSpec { size_bytes, ..ChannelSpec::new("udp") }).unwrap();
        let (ours, theirs) =
            (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        theirs.connect(ours.local_addr().unwrap()).unwrap();
        let (control, _other) = rustix::pipe::pipe().unwrap();

        thread::scope(|scope| {
            scope.spawn(|| unreliable_peer(&theirs, &settings));
            let mut watch = Watch::new(control.as_fd()).unwrap();
            let mut client =
                DatagramClient::prove(ours.into(), Delivery::UnreliableMessage, &settings, &mut watch)
                    .unwrap();
            let clock = Calibration::run(ClockChoice::Monotonic).unwrap().source;
            let (mut next, mut lost) = (1, Vec::new());
            while next <= LAST {
                let count = usize::try_from(LAST + 1 - next).unwrap();
                let block = client.untimed(next, clock, count, &mut watch);
                next += u64::try_from(block.done).unwrap();
                match block.stop {
                    None => client.verify().unwrap(),
                    Some(RoundError::Lost(_)) => {
                        lost.push(next);
                        next += 1;
                    }
                    Some(error) => panic!("round {next}: {error}"),
                }
            }
            assert_eq!(lost, [DROPPED, ANSWERED_LATE]);
        });
    }
}
