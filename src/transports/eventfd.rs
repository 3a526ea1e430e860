//! `eventfd`: two counters in the kernel, handed over.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::families::stream::{Files, StreamClient, echo, receive_exact, send_all};
use super::prelude::*;
use crate::protocol::Token;
use crate::shortage::explain_sandbox;

static INFO: Info = Info {
    name: "eventfd",
    group: Group::Pipes,
    summary: "two eventfd counters, handed over",
    choose: "Choose it to wake a peer that waits in poll or epoll, with the data in shared memory: it is the cheapest \
             thing that can be waited for together with descriptors.",
    limits: "It carries a number of 8 bytes, neither 0 nor the largest, and numbers that are not read in time are \
             added up. Neither side learns that the other has died.",
    round: "One write and one read of 8 bytes on each side; the kernel adds to a counter and wakes the reader.",
    delivery: Delivery::Message,
    sizes: Capabilities { min_size: SIZE, max_size: SIZE },
    exposure: Exposure::Counters,
    ..Info::DEFAULT
};

/// All that a counter carries.
const SIZE: usize = 8;

/// Two counters in the kernel.
pub(super) struct EventFd;

impl Mechanism for EventFd {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        counter()?;
        Ok(())
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (pings, pongs) = (counter()?, counter()?);
        supervisor.ready("two counters that come with this", &[pongs.as_fd(), pings.as_fd()])?;
        let counters = Counters { reader: pings, writer: pongs };
        check_peer(&counters, &settings.token, supervisor)?;
        supervisor.proven()?;
        echo(&counters, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let [reader, writer] = endpoint.handed()?;
        let counters = Counters { reader, writer };
        prove(&counters, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(counters, settings)?))
    }
}

fn counter() -> Result<OwnedFd, CallError> {
    eventfd(0, EventfdFlags::CLOEXEC).map_err(explain_sandbox).while_doing("making an eventfd")
}

/// A round's payload passes through them unchanged: a ping's 8 bytes are its round's number, from 1 on, so never 0 nor the
/// largest, and no second one is written before the first is read.
type Counters = Files<OwnedFd>;

/// The client's proof: sends the words of its half one by one, each acknowledged, then requests the other half's one by one.
fn prove(counters: &Counters, token: &Token, watch: &mut Watch) -> Result<(), ConnectError> {
    watch.restart();
    for word in words(token.client_half()) {
        put(counters, word, watch)?;
        take(counters, watch)?;
    }
    for word in words(token.responder_half()) {
        put(counters, ACKNOWLEDGED, watch)?;
        if take(counters, watch)? != word {
            return Err(ConnectError::WrongToken);
        }
    }
    Ok(())
}

/// The responder's.
fn check_peer(counters: &Counters, token: &Token, supervisor: &mut Supervisor) -> Result<(), ServeError> {
    for word in words(token.client_half()) {
        if take(counters, supervisor)? != word {
            return Err(ServeError::WrongToken);
        }
        put(counters, ACKNOWLEDGED, supervisor)?;
    }
    for word in words(token.responder_half()) {
        take(counters, supervisor)?;
        put(counters, word, supervisor)?;
    }
    Ok(())
}

/// Acknowledges the last word.
const ACKNOWLEDGED: u64 = 1;

/// Half a token in numbers that a counter can hold: 4 bytes each, plus 1, since no counter is ever read as 0.
fn words(half: &[u8]) -> impl Iterator<Item = u64> {
    let (words, rest) = half.as_chunks();
    debug_assert!(rest.is_empty(), "half a token is a number of words");
    words.iter().map(|word| u64::from(u32::from_le_bytes(*word)) + 1)
}

fn put(counters: &Counters, value: u64, alive: &mut impl Alive) -> Result<(), RoundError> {
    send_all(counters, &value.to_ne_bytes(), Wait::Block, alive, 0)
}

fn take(counters: &Counters, alive: &mut impl Alive) -> Result<u64, RoundError> {
    let mut value = [0; SIZE];
    receive_exact(counters, &mut value, Wait::Block, alive, 0)?;
    Ok(u64::from_ne_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_can_hold_every_word_of_every_token() {
        for byte in [0, 1, 0xff] {
            let words: Vec<u64> = words(Token::new([byte; 32]).client_half()).collect();
            assert_eq!(words.len() * 4, Token::HALF_LEN);
            assert!(words.iter().all(|word| (1..u64::MAX).contains(word)), "{words:?}");
        }
    }
}
