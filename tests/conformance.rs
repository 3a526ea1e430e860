//! What every mechanism promises, run over the list of all: a new one is tested by being listed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ipcd::internals::client::{Client, ClientError};
use ipcd::internals::protocol::{ChannelSpec, Exit, Refusal, Wait};
use ipcd::internals::transports::{ALL, Group, Mechanism, find};
use serde_json::Value;

use crate::harness::{Daemon, SOON, Sandbox, eventually, not_tested, rounds, run};

/// Sizes that sit on an edge of some mechanism: a round's number, a cache line, a page, a datagram, a pipe's buffer.
const SIZES: [usize; 11] = [8, 9, 15, 16, 48, 49, 64, 4096, 65_507, 65_537, 1 << 20];

/// Runs `test` for each mechanism that this host has, over one daemon.
fn for_each(test: impl Fn(&Daemon, &dyn Mechanism) + Send + 'static) {
    run(move |sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in here() {
            eprintln!("{}:", mechanism.info().name);
            test(&daemon, mechanism);
        }
        daemon.is_at_rest();
    });
}

/// The mechanisms to test: those that this host has, and of them those that `IPCD_TEST_METHODS` names if it is set
/// (`vsock`, or `tokio,http`).
pub(crate) fn here() -> impl Iterator<Item = &'static dyn Mechanism> {
    static CHOSEN: LazyLock<Option<Vec<&'static str>>> = LazyLock::new(|| {
        let names = std::env::var("IPCD_TEST_METHODS").ok()?;
        let known =
            |name: &str| find(name).unwrap_or_else(|error| panic!("IPCD_TEST_METHODS: {error}")).info().name;
        Some(names.split(',').map(known).collect())
    });
    let chosen: Vec<_> = on_this_host()
        .filter(|one| CHOSEN.as_ref().is_none_or(|chosen| chosen.contains(&one.info().name)))
        .collect();
    assert!(!chosen.is_empty(), "IPCD_TEST_METHODS names no method that this host has: {:?}", *CHOSEN);
    chosen.into_iter()
}

/// The mechanisms that this host has.
fn on_this_host() -> impl Iterator<Item = &'static dyn Mechanism> {
    ALL.iter().copied().filter(|mechanism| match mechanism.probe() {
        Ok(()) => true,
        Err(reason) => {
            not_tested(mechanism.info().name, reason);
            false
        }
    })
}

fn spec(mechanism: &dyn Mechanism) -> ChannelSpec {
    ChannelSpec::new(mechanism.info().name)
}

/// Each value of an option that is not its default, with each wait strategy.
pub(crate) fn with_options(mechanism: &dyn Mechanism) -> impl Iterator<Item = ChannelSpec> {
    let info = mechanism.info();
    let values =
        info.options.iter().flat_map(|one| one.values[1..].iter().map(move |value| (one.name, *value)));
    values.flat_map(move |(name, value)| {
        info.waits.iter().map(move |wait| ChannelSpec {
            wait: Some(*wait),
            options: [(name.to_owned(), value.to_owned())].into(),
            ..ChannelSpec::new(info.name)
        })
    })
}

fn sized(mechanism: &dyn Mechanism, size: usize) -> ChannelSpec {
    ChannelSpec { size_bytes: u32::try_from(size).unwrap(), ..spec(mechanism) }
}

/// Opens a channel, runs a few blocks of rounds, each with different bytes, and closes it. Few rounds, since two sides that
/// spin on one CPU of a busy host alternate by whole time slices.
fn exercise(client: &mut Client, spec: &ChannelSpec) {
    let count = if spec.size_bytes > 50_000 { 1 } else { 5 };
    let mut channel = client.open(spec).unwrap_or_else(|error| panic!("{spec:?}: {error:?}"));
    for _ in 0..3 {
        rounds(&mut channel, count).unwrap_or_else(|error| panic!("{spec:?}: {error:?}"));
    }
    client.close(channel).unwrap_or_else(|error| panic!("{spec:?}: {error:?}"));
}

#[test]
fn every_size_comes_back_byte_by_byte() {
    for_each(|daemon, mechanism| {
        let can = mechanism.capabilities();
        let sizes = SIZES.into_iter().filter(|size| (can.min_size..=can.max_size).contains(size));
        let sizes: BTreeSet<usize> = sizes.chain([can.min_size, can.max_size]).collect();
        let mut client = daemon.lease();
        for size in sizes {
            exercise(&mut client, &sized(mechanism, size));
        }
    });
}

#[test]
fn every_wait_strategy_works_at_small_and_large_sizes() {
    for_each(|daemon, mechanism| {
        let can = mechanism.capabilities();
        let mut client = daemon.lease();
        for wait in mechanism.info().waits {
            // The largest does not fit a pipe's buffer.
            for size in [8, 4096, 100_000] {
                let size = size.clamp(can.min_size, can.max_size);
                exercise(&mut client, &ChannelSpec { wait: Some(*wait), ..sized(mechanism, size) });
            }
        }
    });
}

#[test]
fn every_value_of_every_option_works() {
    for_each(|daemon, mechanism| {
        let mut client = daemon.lease();
        for option in mechanism.info().options {
            for value in option.values {
                let mut spec = spec(mechanism);
                spec.options.insert(option.name.to_owned(), (*value).to_owned());
                exercise(&mut client, &spec);
            }
        }
    });
}

/// Each value that is not the default, which the other tests go through.
#[test]
fn every_option_works_with_every_wait_strategy_at_the_smallest_and_the_largest_size() {
    for_each(|daemon, mechanism| {
        let can = mechanism.capabilities();
        let mut client = daemon.lease();
        for spec in with_options(mechanism) {
            for size in [can.min_size, can.max_size] {
                exercise(
                    &mut client,
                    &ChannelSpec { size_bytes: u32::try_from(size).unwrap(), ..spec.clone() },
                );
            }
        }
    });
}

#[test]
fn aliases_open_the_same_mechanism() {
    for_each(|daemon, mechanism| {
        let mut client = daemon.lease();
        for alias in mechanism.info().aliases {
            let channel = client.open(&ChannelSpec::new(*alias)).unwrap();
            assert_eq!(channel.method(), mechanism.info().name);
            client.close(channel).unwrap();
        }
    });
}

#[test]
fn two_channels_of_one_connection_do_not_mix() {
    for_each(|daemon, mechanism| {
        let mut client = daemon.lease();
        let mut one = client.open(&spec(mechanism)).unwrap();
        let mut other = client.open(&spec(mechanism)).unwrap();
        assert_ne!(one.id(), other.id());
        assert_ne!(one.responder_pid(), other.responder_pid());
        for _ in 0..5 {
            rounds(&mut one, 3).unwrap();
            rounds(&mut other, 4).unwrap();
        }
        client.close(one).unwrap();
        rounds(&mut other, 5).unwrap();
        client.close(other).unwrap();
    });
}

#[test]
fn what_a_mechanism_cannot_do_is_refused_and_the_connection_goes_on() {
    for_each(|daemon, mechanism| {
        let can = mechanism.capabilities();
        let mut unfit = vec![sized(mechanism, 0), sized(mechanism, can.min_size - 1)];
        unfit.push(sized(mechanism, can.max_size + 1));
        unfit.push(ChannelSpec { size_bytes: u32::MAX, ..spec(mechanism) });
        let mut unknown = spec(mechanism);
        unknown.options.insert("colour".to_owned(), "blue".to_owned());
        unfit.push(unknown);
        for option in mechanism.info().options {
            let mut spec = spec(mechanism);
            spec.options.insert(option.name.to_owned(), "perhaps".to_owned());
            unfit.push(spec);
        }
        for wait in Wait::ALL.into_iter().filter(|wait| !mechanism.info().waits.contains(wait)) {
            unfit.push(ChannelSpec { wait: Some(wait), ..spec(mechanism) });
        }

        let mut client = daemon.lease();
        for spec in unfit {
            match client.open(&spec) {
                Err(ClientError::Refused(Refusal::Unfit { method, .. })) => {
                    assert_eq!(method, mechanism.info().name);
                }
                other => panic!("{spec:?}: {other:?}"),
            }
        }
        let nowhere = ChannelSpec { server_cpu: Some(1 << 20), ..spec(mechanism) };
        match client.open(&nowhere) {
            Err(ClientError::Refused(Refusal::NotOpened { end })) => {
                assert!(end.to_string().contains("its cpuset does not allow CPU 1048576"), "{end}");
            }
            other => panic!("{nowhere:?}: {other:?}"),
        }
        exercise(&mut client, &spec(mechanism));
    });
}

#[test]
fn a_channel_ends_with_its_connection() {
    for_each(|daemon, mechanism| {
        let mut client = daemon.lease();
        let mut channel = client.open(&spec(mechanism)).unwrap();
        rounds(&mut channel, 10).unwrap();
        drop(client);
        daemon.is_at_rest();
        eventually("its rounds end", SOON, || rounds(&mut channel, 1).err());
    });
}

#[test]
fn the_client_measures_it_and_prints_json() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in here() {
            let method = mechanism.info().name;
            let document = bench_json(sandbox, &["--method", method, "-n", "200"]);
            assert_eq!(document["schema"], 1);
            let [cell] = &document["results"].as_array().unwrap()[..] else { panic!("{document:#}") };
            assert_eq!(cell["method"], method);
            assert_eq!(cell["size_bytes"], 8);
            check_cell(cell, 200);
        }
        daemon.is_at_rest();
    });
}

#[test]
fn the_client_sweeps_sizes_and_wait_strategies() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        for mechanism in here() {
            let method = mechanism.info().name;
            let waits: Vec<_> = mechanism.info().waits.iter().map(|wait| wait.name()).collect();
            // Some carry one size only.
            let can = mechanism.capabilities();
            let mut sizes = vec![can.min_size, can.max_size.min(4096)];
            sizes.dedup();
            let list = sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let arguments = ["--method", method, "-n", "20", "--size", &list, "--wait", &waits.join(",")];
            let document = bench_json(sandbox, &arguments);
            let cells = document["results"].as_array().unwrap();
            let sizes = sizes.into_iter().map(|size| u64::try_from(size).unwrap());
            let expected = sizes.flat_map(|size| waits.iter().map(move |wait| (size, *wait)));
            assert!(
                cells
                    .iter()
                    .map(|cell| (cell["size_bytes"].as_u64().unwrap(), cell["wait"].as_str().unwrap()))
                    .eq(expected),
                "{document:#}"
            );
            for cell in cells {
                check_cell(cell, 20);
            }
        }
    });
}

#[test]
fn the_client_sweeps_the_values_of_an_option() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        for mechanism in here() {
            let method = mechanism.info().name;
            // Not every kernel and every sandbox lets a thread poll.
            for option in mechanism.info().options.iter().filter(|option| option.name != "sqpoll") {
                let (flag, values) = (format!("--{}", option.name), option.values.join(","));
                let document = bench_json(sandbox, &["-m", method, "-n", "20", &flag, &values]);
                let cells = document["results"].as_array().unwrap();
                let swept = cells.iter().map(|cell| cell["options"][option.name].as_str().unwrap());
                assert!(swept.eq(option.values.iter().copied()), "{document:#}");
                for cell in cells {
                    check_cell(cell, 20);
                }
            }
        }
    });
}

#[test]
fn all_means_every_method_of_this_host() {
    run(|sandbox| {
        let _daemon = sandbox.daemon();
        let output = sandbox
            .finish(&mut sandbox.client(&["bench", "--method", "all", "-n", "1000"]))
            .expect(Exit::Success);
        let mut lines = output.stdout.lines();
        assert_eq!(lines.next(), Some("Round trips, unpinned, one trial of 1000 rounds"));
        let lines = lines.skip_while(|line| !line.starts_with("8 B "));
        // The fastest comes first.
        let rows = lines.skip(1).take_while(|line| !line.is_empty());
        let shown: BTreeSet<&str> = rows.filter_map(|row| row.split(' ').next()).collect();
        let host: BTreeSet<&str> = on_this_host()
            .map(Mechanism::info)
            .filter(|info| info.group != Group::Tool)
            .map(|info| info.name)
            .collect();
        assert_eq!(shown, host, "{}", output.stdout);
        assert!(output.stdout.contains(" at 8 B"), "a verdict: {}", output.stdout);
        let one = sandbox.finish(&mut sandbox.client(&["bench", "--method", "tcp", "-n", "1000"]));
        let one = one.expect(Exit::Success).stdout;
        for line in [
            "IPC method - tcp\n",
            "\t1000 cycles completed in ",
            " per second\n",
            " per operation\n",
            "\tp50 ",
        ] {
            assert!(one.contains(line), "\"{line}\" in:\n{one}");
        }
        let figures = one.lines().filter(|line| !line.starts_with("severe: ")).count();
        assert!(figures <= 4 + 4, "{one}");
    });
}

fn bench_json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let arguments = [&["bench", "--json"], arguments].concat();
    let output = sandbox.finish(&mut sandbox.client(&arguments)).expect(Exit::Success);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", output.stdout))
}

/// What holds for every result, however fast or slow the host is.
fn check_cell(cell: &Value, asked: u64) {
    let rounds = cell["rounds"].as_u64().unwrap();
    assert_eq!(rounds + cell["lost"].as_u64().unwrap(), asked, "{cell:#}");
    let latency = &cell["latency_ns"];
    let samples = latency["samples"].as_u64().unwrap();
    assert!((1..=rounds).contains(&samples), "{cell:#}");
    let number = |name: &str| latency[name].as_f64();
    for (name, beyond) in [("p50", 0.5), ("p90", 0.1), ("p99", 0.01), ("p99_9", 0.001)] {
        let enough = samples as f64 * beyond >= 10.0;
        assert_eq!(number(name).is_some(), enough, "{name} of {samples} samples: {cell:#}");
    }
    let ordered: Vec<f64> =
        ["min", "p50", "p90", "p99", "p99_9", "max"].into_iter().filter_map(number).collect();
    assert!(ordered.is_sorted() && ordered[0] > 0.0, "{cell:#}");
    let mean = number("mean").unwrap();
    assert!(ordered[0] <= mean * 1.01 && mean <= *ordered.last().unwrap() * 1.01, "{cell:#}");
    // A sample is one round, or none.
    assert!(cell["elapsed_ns"].as_f64().unwrap() >= *ordered.last().unwrap() * 0.99, "{cell:#}");
}
