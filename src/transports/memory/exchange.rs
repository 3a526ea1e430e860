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
    form.receive_pong(memory, payload, round)
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;
    use crate::protocol::Token;
    use crate::transports::memory::form::{Apart, Beside, PAGE, pong_offset};
    use crate::transports::turn::{Adaptive, Barrier, Block, Spin};
    use crate::transports::watch::patient;

    const ROUNDS: u64 = if cfg!(miri) { 8 } else { 1000 };

    /// Two threads in the place of two processes; every byte of every round is compared.
    fn echoes<F: Form + Sync, S: Strategy + Sync>(form: F, size: usize, strategy: S) {
        let len = if size <= 48 { PAGE } else { pong_offset(size) + size.next_multiple_of(8) };
        let [client, responder] = Region::between_threads(len);
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (memory, mut alive) = (responder(), patient(control.as_fd()));
                let mut echo = Echo::new(&memory, form, strategy);
                (1..=ROUNDS).for_each(|round| echo.answer(&mut alive, round).unwrap());
            });
            let (memory, mut alive) = (client(), patient(control.as_fd()));
            let mut payload = Payload::new(size, &Token::new([3; 32]));
            for round in 1..=ROUNDS {
                ask(&memory, &mut payload, form, strategy, &mut alive, round).unwrap();
                payload.verify().unwrap();
            }
        });
    }

    fn echoes_in_all_forms(strategy: impl Strategy + Sync) {
        echoes(Beside::<8>, 8, strategy);
        echoes(Beside::<48>, 17, strategy);
        echoes(Beside::<48>, 48, strategy);
        echoes(Apart { size: 49 }, 49, strategy);
        echoes(Apart { size: PAGE + 1 }, PAGE + 1, strategy);
    }

    #[test]
    fn what_is_sent_comes_back_to_who_spins() {
        echoes_in_all_forms(Spin);
    }

    #[test]
    fn what_is_sent_comes_back_to_who_sleeps() {
        echoes_in_all_forms(Block);
    }

    #[test]
    fn what_is_sent_comes_back_to_who_does_both() {
        echoes_in_all_forms(Adaptive::new(Barrier::Fences, PAGE));
    }
}
