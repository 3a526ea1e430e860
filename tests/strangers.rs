//! Peers that mean no good on data channels, at every mechanism in the list: strangers at the door, forged and misshapen
//! messages, memory that is scribbled over or truncated, and responders that are not what they seem. The service lives,
//! the channel ends with a reason, another channel does not notice, and nothing is left behind.
//!
//! What they can do to a mechanism follows from the facts in its `Info`: its delivery, its naming and its exposure.

mod doors;
mod ends;
mod floods;
mod group;
mod impostor;
mod memory;
mod messages;
mod names;
mod posing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use ipcd::internals::protocol::ChannelSpec;
use ipcd::internals::transports::{Delivery, Mechanism};

use crate::conformance::here;
use crate::harness::{Daemon, by_abstract_name, rounds};

/// Several measurements at once: those that are attacked, each on a separate connection, and the bystander's.
pub(crate) const MANY: [&str; 10] = [
    "--measurements",
    "1000",
    "--max-connections",
    "1000",
    "--max-connections-per-user",
    "1000",
    "--max-channels",
    "1000",
    "--max-channels-per-user",
    "1000",
];

/// The mechanisms that carry a payload.
fn carrying() -> impl Iterator<Item = &'static dyn Mechanism> {
    here().filter(|mechanism| mechanism.info().delivery != Delivery::None)
}

fn spec(mechanism: &dyn Mechanism) -> ChannelSpec {
    ChannelSpec::new(mechanism.info().name)
}

/// The channels at whose doors strangers knock: of each mechanism, and again where the door may have no permissions.
fn every_door() -> impl Iterator<Item = (&'static dyn Mechanism, ChannelSpec)> {
    carrying().flat_map(|mechanism| {
        [Some(spec(mechanism)), by_abstract_name(mechanism)]
            .into_iter()
            .flatten()
            .map(move |spec| (mechanism, spec))
    })
}

/// Rounds through another channel, which go on while others are attacked.
struct Bystander<'scope> {
    over: &'scope AtomicBool,
    rounds: ScopedJoinHandle<'scope, usize>,
}

impl<'scope> Bystander<'scope> {
    /// Opens its channel; runs rounds until it is asked.
    fn of<'env>(
        scope: &'scope Scope<'scope, 'env>,
        daemon: &'scope Daemon,
        over: &'scope AtomicBool,
    ) -> Self {
        let (ready, opened) = std::sync::mpsc::channel();
        let rounds = scope.spawn(move || {
            let mut client = daemon.lease();
            let mut channel = client.open(&ChannelSpec::new("unix")).unwrap();
            ready.send(()).unwrap();
            let mut done = 0;
            // Once more when it is over: what has been done to its channel shows then at the latest.
            loop {
                let last = over.load(Ordering::SeqCst);
                rounds(&mut channel, 100).expect("a bystander does not notice");
                done += 100;
                if last {
                    break;
                }
            }
            client.close(channel).unwrap();
            done
        });
        // An error is reported when the result is taken.
        let _ = opened.recv();
        Self { over, rounds }
    }

    /// Checks that each of its rounds was done.
    fn has_not_noticed(self) {
        self.over.store(true, Ordering::SeqCst);
        let done = self.rounds.join().unwrap();
        eprintln!("meanwhile a bystander has done {done} rounds");
    }
}

/// Attacks a daemon that has a bystander: each of its rounds is done, and nothing is left of the attack.
fn attacked(daemon: &Daemon, attack: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bystander = Bystander::of(scope, daemon, &over);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        match ended {
            Ok(()) => bystander.has_not_noticed(),
            Err(panic) => {
                over.store(true, Ordering::SeqCst);
                std::panic::resume_unwind(panic);
            }
        }
    });
    daemon.is_at_rest();
}
