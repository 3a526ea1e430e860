//! What clients do: measure, die, hang, go, change their minds, ask for what there is not. And what happens to their
//! responders, and to the daemon's configuration.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ipcd::internals::client::{Client, ClientError, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, Refusal, SocketAddress, error_chain};
use ipcd::internals::transports::Delivery;
use rustix::process::Signal;

use crate::bench::{Bench, Fate, ends};
use crate::harness::{Peer, Process, rounds};
use crate::invariants::methods;
use crate::storm::Storm;
use crate::strangers;
use crate::tally::Table;

type Act = fn(&Storm<'_>, &mut Rng) -> Result<(), String>;

/// Each action with how often it is done, in the sum of all.
const ACTIONS: [(u32, &str, Act); 14] = [
    (30, "bench with everything at random", whole_bench),
    (6, "bench by a private daemon", private_bench),
    (4, "bench that does not wait for its turn", impatient_bench),
    (12, "client ended in mid-run", client_ends),
    (4, "client of a private daemon ended", private_client_ends),
    (12, "responder ended in mid-run", responder_ends),
    (6, "client stopped for a while", client_pauses),
    (8, "responder stopped for a while", responder_pauses),
    (8, "connection dropped with channels open", drops_its_channels),
    (8, "position in the queue given up", leaves_the_queue),
    (6, "channel asked for and never connected to", never_connects),
    (8, "bench amid strangers at its channel", strangers::at_its_channel),
    (6, "requests that must be refused", asks_for_what_there_is_not),
    (5, "configuration read again", reload),
];

/// Does something.
///
/// # Errors
/// The result is wrong: what was done, and its result.
pub(crate) fn act(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let sum: u32 = ACTIONS.iter().map(|(weight, _, _)| weight).sum();
    let mut lot = random.u32(..sum);
    let (_, what, act) = ACTIONS
        .iter()
        .find(|(weight, _, _)| {
            let found = lot < *weight;
            lot = lot.wrapping_sub(*weight);
            found
        })
        .expect("a lot is smaller than the sum");
    storm.tally.count(Table::Action, what);
    act(storm, random).map_err(|error| format!("{what}: {error}"))
}

/// Some time, most often a short one.
pub(crate) fn a_moment(random: &mut Rng, most: Duration) {
    thread::sleep(most.mul_f64(random.f64().powi(2)));
}

fn whole_bench(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let bench = Bench::whole(random);
    let done = ends(storm, bench.start(storm.sandbox), &[Fate::Exit(Exit::Success, &[])])?;
    done.map_or(Ok(()), |output| bench.is_whole(&output))
}

fn private_bench(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let mut bench = Bench::whole(random);
    bench.says(&["--private"]);
    let done = ends(storm, bench.start(storm.sandbox), &[Fate::Exit(Exit::Success, &[])])?;
    done.map_or(Ok(()), |output| bench.is_whole(&output))
}

fn impatient_bench(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let mut bench = Bench::whole(random);
    bench.says(&["--no-wait"]);
    let fates = [Fate::Exit(Exit::Success, &[]), Fate::Exit(Exit::Busy, &[])];
    let done = ends(storm, bench.start(storm.sandbox), &fates)?;
    done.map_or(Ok(()), |output| bench.is_whole(&output))
}

/// Ends a client at a random moment of its start, its wait for its turn, or its rounds.
fn end_client(storm: &Storm<'_>, random: &mut Rng, bench: &Bench) -> Result<(), String> {
    let client = bench.start(storm.sandbox);
    a_moment(random, Duration::from_millis(600));
    let faults = [
        ("client: SIGKILL", Signal::KILL),
        ("client: SIGINT", Signal::INT),
        ("client: SIGTERM", Signal::TERM),
    ];
    let (what, signal) = random.choice(faults).unwrap();
    storm.tally.count(Table::Fault, what);
    client.signal(signal);
    ends(storm, client, &[Fate::Signal(signal)]).map(drop).map_err(|error| format!("{what}: {error}"))
}

fn client_ends(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let bench = Bench::endless(random);
    end_client(storm, random, &bench)
}

fn private_client_ends(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let mut bench = Bench::endless(random);
    bench.says(&["--private"]);
    end_client(storm, random, &bench)
}

/// A responder of this client, once there is one; `None` if there is none before the client or the storm ends.
fn responder(storm: &Storm<'_>, random: &mut Rng, client: &Process) -> Result<Option<Peer>, String> {
    let mut asks = connect(storm)?;
    while !client.ends_within(Duration::from_millis(1)) && !storm.is_over() {
        let status =
            asks.status().map_err(|error| format!("asking for the status: {}", error_chain(&error)))?;
        let own: Vec<_> =
            status.channels.iter().filter(|channel| channel.client_pid == client.pid()).collect();
        if let Some(channel) = random.choice(own) {
            return Ok(Peer::find(channel.responder_pid));
        }
    }
    Ok(None)
}

/// The same; a daemon that was ended on purpose has none.
fn responder_or_excuse(
    storm: &Storm<'_>,
    random: &mut Rng,
    client: &Process,
) -> Result<Option<Peer>, String> {
    responder(storm, random, client).or_else(|error| storm.excuses(&error).map(|()| None))
}

fn responder_ends(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let client = Bench::endless(random).start(storm.sandbox);
    let Some(peer) = responder_or_excuse(storm, random, &client)? else {
        client.signal(Signal::KILL);
        return ends(storm, client, &[Fate::Signal(Signal::KILL)]).map(drop);
    };
    a_moment(random, Duration::from_millis(400));
    let faults: [(_, _, &[&str]); 4] = [
        ("responder: SIGKILL", Signal::KILL, &["killed by signal 9"]),
        // One that has a queue to remove does that first (`sysv_mq.rs`).
        ("responder: SIGTERM", Signal::TERM, &["killed by signal 15", "exited with code 0"]),
        ("responder: SIGINT", Signal::INT, &["killed by signal 2"]),
        ("responder: SIGABRT", Signal::ABORT, &["killed by signal 6"]),
    ];
    let (what, signal, printed) = random.choice(faults).unwrap();
    storm.tally.count(Table::Fault, what);
    peer.signal(signal);
    // A channel whose responder is killed while it opens is unavailable, not interrupted.
    let fates = [Fate::Exit(Exit::Broken, printed), Fate::Exit(Exit::Unavailable, printed)];
    let ended = ends(storm, client, &fates).map(drop);
    ended.map_err(|error| format!("{what} to process {}: {error}", peer.pid))
}

fn pause(random: &mut Rng, who: &Peer) {
    who.signal(Signal::STOP);
    a_moment(random, Duration::from_millis(1000));
    who.signal(Signal::CONT);
}

fn client_pauses(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let bench = Bench::short(random);
    let client = bench.start(storm.sandbox);
    let peer = Peer::find(client.pid()).expect("it was not waited for");
    a_moment(random, Duration::from_millis(300));
    storm.tally.count(Table::Fault, "client: SIGSTOP, then SIGCONT");
    pause(random, &peer);
    let done = ends(storm, client, &[Fate::Exit(Exit::Success, &[])])?;
    done.map_or(Ok(()), |output| bench.is_whole(&output))
}

fn responder_pauses(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let bench = Bench::short(random);
    let client = bench.start(storm.sandbox);
    if let Some(peer) = responder_or_excuse(storm, random, &client)? {
        a_moment(random, Duration::from_millis(50));
        storm.tally.count(Table::Fault, "responder: SIGSTOP, then SIGCONT");
        pause(random, &peer);
    }
    let mut fates = vec![Fate::Exit(Exit::Success, &[])];
    if bench.may_lose() {
        fates.push(Fate::Exit(Exit::Broken, &["datagrams in a row were lost"]));
    }
    let done = ends(storm, client, &fates)?;
    done.map_or(Ok(()), |output| bench.is_whole(&output))
}

fn connect(storm: &Storm<'_>) -> Result<Client, String> {
    let address = SocketAddress::resolve(Some(&storm.daemon.socket));
    Client::connect(&address).map_err(|error| format!("connecting: {}", error_chain(&error)))
}

/// Runs a client of the library, whose errors are excused if the daemon was ended.
fn by_library(
    storm: &Storm<'_>,
    act: impl FnOnce(&mut Client) -> Result<(), ClientError>,
) -> Result<(), String> {
    let done = connect(storm).and_then(|mut client| act(&mut client).map_err(|error| error_chain(&error)));
    done.or_else(|error| storm.excuses(&error))
}

fn drops_its_channels(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    by_library(storm, |client| {
        client.acquire(LeaseWait::Queue, |_| ())?;
        let mut channels = Vec::new();
        for _ in 0..random.usize(1..6) {
            let info = random.choice(methods()).unwrap().info();
            let mut channel = client.open(&ChannelSpec::new(info.name))?;
            if random.bool()
                && info.delivery != Delivery::UnreliableMessage
                && let Err(error) = rounds(&mut channel, random.usize(1..50))
            {
                return Err(client.explain(&channel, error));
            }
            channels.push(channel);
        }
        Ok(())
    })
}

fn leaves_the_queue(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    // Another client holds the lease meanwhile, so that there is a queue.
    by_library(storm, |client| {
        client.acquire(LeaseWait::Queue, |_| ())?;
        let mut waiting: Vec<_> =
            (0..random.usize(1..5)).map(|_| Bench::endless(random).start(storm.sandbox)).collect();
        random.shuffle(&mut waiting);
        a_moment(random, Duration::from_millis(300));
        for client in waiting {
            storm.tally.count(Table::Fault, "queued client: SIGKILL");
            client.signal(Signal::KILL);
            // Its streams, too: nothing that it has started goes on.
            drop(client.wait(crate::bench::PATIENCE));
        }
        client.release()
    })
}

fn never_connects(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    by_library(storm, |client| {
        client.acquire(LeaseWait::Queue, |_| ())?;
        let spec = ChannelSpec::new(random.choice(methods()).unwrap().info().name);
        let opened = client.ask(&spec)?;
        a_moment(random, Duration::from_millis(200));
        drop(opened);
        Ok(())
    })
}

fn asks_for_what_there_is_not(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let mechanism = random.choice(methods()).unwrap();
    let method = mechanism.info().name;
    let can = mechanism.capabilities();
    let larger = u32::try_from(can.max_size + 1).unwrap();
    let mut option = ChannelSpec::new(method);
    option.options.insert("colour".to_owned(), "blue".to_owned());
    let unfit = [
        ChannelSpec::new("telepathy"),
        ChannelSpec { size_bytes: 0, ..ChannelSpec::new(method) },
        ChannelSpec { size_bytes: larger, ..ChannelSpec::new(method) },
        ChannelSpec { server_cpu: Some(1 << 20), ..ChannelSpec::new(method) },
        option,
    ];
    let start = Instant::now();
    let mut wrong = None;
    by_library(storm, |client| {
        match client.open(&unfit[1]) {
            Err(ClientError::Refused(Refusal::NoLease)) => {}
            Err(error @ ClientError::Link(_)) => return Err(error),
            other => wrong = Some(format!("without its turn: {other:?}")),
        }
        client.acquire(LeaseWait::Queue, |_| ())?;
        for spec in &unfit {
            match client.open(spec) {
                Err(ClientError::Refused(_)) => storm.tally.count(Table::Outcome, "refused by the daemon"),
                Err(error) => return Err(error),
                Ok(channel) => wrong = Some(format!("{spec:?} was opened: {channel:?}")),
            }
        }
        client.release()
    })?;
    wrong.map_or(Ok(()), |wrong| Err(format!("{wrong} after {:?}", start.elapsed())))
}

/// Writes another configuration, good or bad, and has it read.
fn reload(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let good =
        ["", "[daemon]\nmeasurements = 1\n", "[daemon]\nmeasurements = 3\n", "[daemon]\nmeasurements = 8\n"];
    let bad = ["[daemon]\nmeasurements = 0\n", "[daemon\n", "[daemon]\ncolour = \"blue\"\n"];
    let text = if random.u8(..3) == 0 { random.choice(bad) } else { random.choice(good) };
    // Replaced atomically, for concurrent readers and writers.
    let new = storm.file.with_extension(format!("new-{:?}", thread::current().id()));
    fs::write(&new, text.unwrap()).unwrap();
    fs::rename(&new, storm.file).unwrap();
    storm.tally.count(Table::Fault, "daemon: SIGHUP, with another configuration");
    storm.daemon.process().signal(Signal::HUP);
    Ok(())
}
