//! What waking an idle CPU costs on this host: two threads that only wake each other, on two CPUs and on one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::transports::sys::Affinity;

/// Round trips of a measurement, a few milliseconds together.
const ROUNDS: usize = 50;

/// Round trips before: the first ones start the thread and fill caches.
const WARMUP: usize = 10;

/// What the two wake-ups of a round trip between two CPUs cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WakeUp {
    /// The CPU that the round trips begin on.
    pub client_cpu: u32,
    /// The other one.
    pub server_cpu: u32,
    /// How much longer the median round trip takes than on one CPU, which never sleeps.
    pub round_trip_ns: f64,
    /// The round trips measured between the two.
    pub samples: usize,
}

impl WakeUp {
    /// Measures it; `None` if a thread cannot be started, or cannot run there.
    pub(crate) fn measure(client_cpu: u32, server_cpu: u32) -> Option<Self> {
        let apart = round_trip(client_cpu, server_cpu)?;
        let together = round_trip(client_cpu, client_cpu)?;
        let round_trip_ns = apart.saturating_sub(together).as_nanos() as f64;
        Some(Self { client_cpu, server_cpu, round_trip_ns, samples: ROUNDS })
    }
}

/// The median round trip between two threads that sleep until the other one wakes them.
fn round_trip(client: u32, server: u32) -> Option<Duration> {
    let turn = AtomicUsize::new(0);
    thread::scope(|scope| {
        // Neither is the calling thread, whose CPUs stay as they are.
        let client = thread::Builder::new().spawn_scoped(scope, || {
            let caller = thread::current();
            let responder = thread::Builder::new().spawn_scoped(scope, {
                let turn = &turn;
                move || {
                    let pinned = Affinity::only(server).apply().is_ok();
                    (0..WARMUP + ROUNDS).for_each(|round| pass(turn, 2 * round + 1, &caller));
                    pinned
                }
            });
            let responder = responder.ok()?;
            let pinned = Affinity::only(client).apply().is_ok();
            let mut times: Vec<Duration> = (0..WARMUP + ROUNDS)
                .map(|round| {
                    let start = Instant::now();
                    pass(&turn, 2 * round, responder.thread());
                    wait(&turn, 2 * round + 2);
                    start.elapsed()
                })
                .skip(WARMUP)
                .collect();
            times.sort_unstable();
            let both_pinned = responder.join().ok()? && pinned;
            both_pinned.then(|| times[ROUNDS / 2])
        });
        client.ok()?.join().ok()?
    })
}

/// Sleeps until the turn is this one.
fn wait(turn: &AtomicUsize, number: usize) {
    while turn.load(Ordering::Acquire) != number {
        thread::park();
    }
}

/// Takes this turn, and wakes the other thread for the next one.
fn pass(turn: &AtomicUsize, number: usize, other: &Thread) {
    wait(turn, number);
    turn.store(number + 1, Ordering::Release);
    other.unpark();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_measured_and_the_callers_cpus_stay() {
        let before = Affinity::of_thread().unwrap();
        let allowed: Vec<u32> = before.cpus().collect();
        let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
        let found = WakeUp::measure(first, last).unwrap();
        assert_eq!((found.client_cpu, found.server_cpu, found.samples), (first, last, ROUNDS));
        assert!(found.round_trip_ns >= 0.0);
        assert_eq!(Affinity::of_thread().unwrap(), before);
        // The C library's set of CPUs ends at 1023.
        for cpu in [1023, 4000] {
            assert_eq!(WakeUp::measure(first, cpu), None, "no such CPU");
        }
    }
}
