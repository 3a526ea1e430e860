//! A round through memory: what the client does in it, and what the responder does.

use super::form::Form;
use crate::transports::payload::Payload;
use crate::transports::sys::Region;
use crate::transports::turn::{Strategy, Turn};
use crate::transports::{Alive, RoundError};

/// The words of a round: the ping's and the pong's. They wrap around, as both sides' do.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "wraps around on purpose")]
fn words(round: u64) -> (u32, u32) {
    let pong = (round as u32).wrapping_mul(2);
    (pong.wrapping_sub(1), pong)
}

/// The client's side of a round.
#[inline(always)]
pub(super) fn ask<F: Form>(
    memory: &Region,
    payload: &mut Payload,
    form: F,
    strategy: impl Strategy,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let (ping, pong) = words(round);
    // Numbered where it is sent: a copy of what was just stored in pieces of another size would wait for the stores.
    form.send_ping(memory, payload, round);
    strategy.publish(F::turn(memory, F::PING), ping);
    payload.stamp(round);
    strategy.wait_for(F::turn(memory, F::PONG), pong, alive, round)?;
    form.receive_pong(memory, payload);
    payload.check(round)
}

/// The responder's side of all rounds.
pub(super) struct Echo<'a, F: Form, S> {
    memory: &'a Region,
    form: F,
    strategy: S,
    buffer: F::Buffer,
    pings: Turn<'a>,
    pongs: Turn<'a>,
}

impl<'a, F: Form, S: Strategy> Echo<'a, F, S> {
    pub(super) fn new(memory: &'a Region, form: F, strategy: S) -> Self {
        let (pings, pongs) = (F::turn(memory, F::PING), F::turn(memory, F::PONG));
        Self { memory, form, strategy, buffer: form.buffer(), pings, pongs }
    }

    /// Answers the ping of this round.
    #[inline(always)]
    pub(super) fn answer(&mut self, alive: &mut impl Alive, round: u64) -> Result<(), RoundError> {
        let (ping, pong) = words(round);
        self.strategy.wait_for(self.pings, ping, alive, round)?;
        self.form.receive_ping(self.memory, &mut self.buffer);
        self.form.send_pong(self.memory, &self.buffer);
        self.strategy.publish(self.pongs, pong);
        Ok(())
    }
}
