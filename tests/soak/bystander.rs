//! A client that behaves well all the time, and records how long it waits.

use std::error::Error;
use std::time::{Duration, Instant};

use ipcd::internals::client::{Client, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, SocketAddress, error_chain};

use crate::harness::rounds;
use crate::storm::Storm;

/// Methods of the bystander: those that lose nothing and are everywhere.
const METHODS: [&str; 4] = ["unix", "tcp", "pipe", "memfd"];

/// Rounds of its bench.
const ROUNDS: usize = 100;

/// Connects repeatedly until the storm is over, with a program's own timeouts: it fails without a greeting within 2 s
/// or an answer within 10 s.
///
/// # Errors
/// It was not served although the daemon was there all the while.
pub(crate) fn comes(storm: &Storm<'_>) -> Result<(), String> {
    for method in METHODS.iter().cycle() {
        if storm.is_over() {
            return Ok(());
        }
        visit(storm, method).or_else(|error| storm.excuses(&format!("the bystander, {method}: {error}")))?;
    }
    Ok(())
}

fn visit(storm: &Storm<'_>, method: &str) -> Result<(), String> {
    let failed = |what: &str, error: &(dyn Error + 'static)| format!("{what}: {}", error_chain(error));
    let mut clock = Instant::now();
    let mut wait = |what| {
        let time: Duration = clock.elapsed();
        storm.tally.waited(what, time);
        clock = Instant::now();
    };
    let address = SocketAddress::resolve(Some(&storm.daemon.socket));
    let mut client = Client::connect(&address).map_err(|error| failed("connecting", &error))?;
    client.status().map_err(|error| failed("status", &error))?;
    wait("to connect and get the status");
    client.acquire(LeaseWait::Queue, |_| ()).map_err(|error| failed("its turn", &error))?;
    wait("for its turn, while others measure");
    let mut channel = client.open(&ChannelSpec::new(method)).map_err(|error| failed("opening", &error))?;
    wait("to open a channel");
    rounds(&mut channel, ROUNDS).map_err(|error| failed("rounds", &error))?;
    wait("for a bench of 100 rounds");
    client.close(channel).map_err(|error| failed("closing", &error))?;
    client.release().map_err(|error| failed("giving back its turn", &error))?;
    wait("to close it and give back its turn");
    Ok(())
}
