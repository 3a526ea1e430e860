//! The six rows of the proof of concept that this project grew out of: 1000 rounds an iteration, over real channels to a
//! real responder process.
//!
//! The private daemon and its responders are this very executable, so that none can be older than the benchmark.

use divan::Bencher;
use divan::counter::ItemsCount;
use ipcd::internals::client::{Client, LeaseWait, Private};
use ipcd::internals::protocol::ChannelSpec;
use ipcd::internals::transports::{ClockSource, MonotonicClock};

const ROUNDS: usize = 1000;

fn main() {
    ipcd::enter_role();
    divan::main();
}

#[divan::bench]
fn shared_memory(bencher: Bencher) {
    rounds(bencher, ChannelSpec::new("shmem"));
}

#[divan::bench]
fn stdin_stdout(bencher: Bencher) {
    rounds(bencher, ChannelSpec::new("stdout"));
}

#[divan::bench]
fn stdin_stdout_no_preallocate(bencher: Bencher) {
    rounds(bencher, with(ChannelSpec::new("stdout"), "preallocate", "false"));
}

#[divan::bench]
fn tcp_nodelay(bencher: Bencher) {
    rounds(bencher, with(ChannelSpec::new("tcp"), "nodelay", "true"));
}

#[divan::bench]
fn tcp_yesdelay(bencher: Bencher) {
    rounds(bencher, with(ChannelSpec::new("tcp"), "nodelay", "false"));
}

#[divan::bench]
fn udp(bencher: Bencher) {
    rounds(bencher, ChannelSpec::new("udp"));
}

fn with(mut spec: ChannelSpec, option: &str, value: &str) -> ChannelSpec {
    spec.options.insert(option.to_owned(), value.to_owned());
    spec
}

fn rounds(bencher: Bencher, spec: ChannelSpec) {
    let private = Private::start().expect("a private daemon starts");
    let mut client = Client::over(private).expect("it greets");
    client.acquire(LeaseWait::No, |_| ()).expect("the lease is free");
    let mut channel = client.open(&spec).expect("the channel opens");
    let clock = ClockSource::Monotonic(MonotonicClock);
    bencher.counter(ItemsCount::new(ROUNDS)).bench_local(|| {
        let block = channel.untimed_block(clock, ROUNDS);
        assert_eq!(block.done, ROUNDS, "{:?}", block.stop);
    });
    client.close(channel).expect("the channel closes");
}
