//! Memory that a third process scribbles over or truncates while rounds run.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipcd::internals::protocol::{ChannelSpec, End, Event, Refusal, Reply, Request, Resource, Wait};
use ipcd::internals::transports::Region;
use ipcd::internals::transports::{Delivery, Mechanism, Naming, RoundError};
use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::doors::memory_file;
use super::{MANY, attacked, carrying};
use crate::harness::{Announced, Daemon, PATIENCE, end_of, eventually, run};

/// How long news of an end may take that has come already.
const SOON: Duration = Duration::from_secs(1);

/// The seeds of the random words. More of them: `IPCD_TEST_SEEDS=20`.
fn seeds() -> u64 {
    std::env::var("IPCD_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// How long memory is scribbled over.
const SCRIBBLED: Duration = Duration::from_millis(60);

/// What the C library keeps in a semaphore beside its count: whether other processes use it, and what it does not
/// expect there ends the process (`abort`). That is done to the responder alone, below.
const SEMAPHORES: &[usize] = &[8, 12, 136, 140];

/// The offsets that scribbling spares while a client of this test uses the memory.
fn spared(method: &str) -> &'static [usize] {
    if method == "semaphore" { SEMAPHORES } else { &[] }
}

/// The mechanisms whose memory other processes can reach. (iceoryx2's is the library's, which trusts it: SECURITY.md.)
fn shared() -> impl Iterator<Item = &'static dyn Mechanism> {
    carrying().filter(|mechanism| mechanism.info().delivery == Delivery::Memory)
}

/// Numbers that look random: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Writes random words at random places, most of them where the two sides' own words are.
fn scribble(file: &File, seed: u64, spared: &[usize], over: &AtomicBool) -> u64 {
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let memory = Region::of_file(file, len).unwrap();
    let mut random = Random(seed);
    let mut words = 0;
    // Some in any case: this thread may be the last one to run.
    while words < 1000 || !over.load(Ordering::SeqCst) {
        let among = if random.next().is_multiple_of(4) { memory.size() } else { memory.size().min(1024) };
        let at = usize::try_from(random.next()).unwrap() % among / 4 * 4;
        // Small numbers are as likely to be taken for something as large ones.
        let value = random.next() >> (random.next() % 64);
        if !spared.contains(&at) {
            memory.word(at).store(u32::try_from(value & 0xffff_ffff).unwrap(), Ordering::Relaxed);
            words += 1;
        }
        if random.next().is_multiple_of(64) {
            // One CPU has to be enough for all.
            std::thread::yield_now();
        }
    }
    words
}

/// Whether a responder may end so over random words: by an error that it reports, or by the C library's `abort` where a
/// semaphore is corrupt. Not by any other signal.
fn is_an_end(end: &End, method: &str) -> bool {
    match end {
        End::Failed(reason) => !reason.is_empty(),
        End::Signalled(signal) => *signal == Signal::ABORT.as_raw() && method == "semaphore",
        End::Exited(_) => false,
    }
}

/// Rounds while the memory is scribbled over: they come to an end, whatever it is, and the responder does not crash.
fn rounds_over_scribbled_memory(daemon: &Daemon, spec: &ChannelSpec, spared: &[usize], seed: u64) {
    let announced = Announced::by(daemon, spec);
    let file = memory_file(&announced.endpoint).unwrap();
    let channel = announced.channel;
    // A round that waits for what was overwritten waits no longer than this is open.
    let (news, open) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (mut connected, mut link) = announced.connect_watching(news.as_fd());
    connected.rounds(5).unwrap();
    let over = AtomicBool::new(false);
    let (words, seen) = std::thread::scope(|scope| {
        let words = scope.spawn(|| scribble(&file, seed, spared, &over));
        scope.spawn(move || {
            std::thread::sleep(SCRIBBLED);
            drop(open);
        });
        let start = Instant::now();
        let mut seen = connected.rounds(10);
        while seen.is_ok() && start.elapsed() < SCRIBBLED {
            seen = connected.rounds(10);
        }
        over.store(true, Ordering::SeqCst);
        (words.join().unwrap(), seen)
    });
    assert!(words > 0);
    // News of an end come before the answer.
    let responder = match link.ask(&Request::Usage(channel), PATIENCE).unwrap() {
        Reply::Event(Event::Ended { end, .. }) => {
            assert!(is_an_end(&end, &spec.method), "{}: {end}", spec.method);
            end.to_string()
        }
        Reply::Usage(_) => "its responder lives".to_owned(),
        other => panic!("{}: {other:?}", spec.method),
    };
    let printed = seen.as_ref().map_or_else(ToString::to_string, |()| "its rounds went on".to_owned());
    eprintln!(
        "{}, {:?}, {} bytes, seed {seed}: {words} words; {printed}; {responder}",
        spec.method, spec.wait, spec.size_bytes
    );
}

/// The loops of both sides are compiled for each wait strategy, and for small payloads and large ones.
#[test]
fn random_words_in_its_memory_end_a_channel_at_most() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in shared() {
                let info = mechanism.info();
                for wait in info.waits {
                    for size_bytes in [8, 4096] {
                        for seed in 0..seeds() {
                            let spec =
                                ChannelSpec { size_bytes, wait: Some(*wait), ..ChannelSpec::new(info.name) };
                            rounds_over_scribbled_memory(&daemon, &spec, spared(info.name), seed);
                        }
                    }
                }
                daemon.serves(info.name);
            }
        });
    });
}

/// Here nothing is spared: the process that has to live with it is the responder alone.
#[test]
fn random_words_before_its_client_comes_end_a_channel_with_a_reason() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            let mut all = Vec::new();
            for mechanism in shared() {
                let announced = Announced::by(&daemon, &ChannelSpec::new(mechanism.info().name));
                let file = memory_file(&announced.endpoint).unwrap();
                all.push((announced, file));
            }
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for (seed, file) in (100..).zip(all.iter().map(|(_, file)| file)) {
                    let over = &over;
                    scope.spawn(move || scribble(file, seed, &[], over));
                }
                std::thread::sleep(SCRIBBLED);
                over.store(true, Ordering::SeqCst);
            });
            for (announced, _file) in all {
                let method = announced.settings.method;
                // Or it waits on for its client, until that is late: see `doors`.
                let mut announced = announced;
                let Ok(Reply::Event(Event::Ended { end, .. })) = announced.link.receive(Some(SOON)) else {
                    eprintln!("{method} waits on");
                    continue;
                };
                eprintln!("{method}: {end}");
                assert!(is_an_end(&end, method), "{method}: {end}");
            }
        });
    });
}

/// Whether any process that has the memory's file open can truncate it.
fn is_truncatable(mechanism: &dyn Mechanism) -> bool {
    matches!(mechanism.info().naming, Naming::SharedMemory | Naming::File)
}

#[test]
fn truncated_memory_ends_its_responder_and_is_reported_to_its_client() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in shared().filter(|one| is_truncatable(*one)) {
                let method = mechanism.info().name;
                for (wait, size_bytes) in
                    [(Wait::Spin, 8), (Wait::Spin, 100_000), (Wait::Block, 8), (Wait::Block, 100_000)]
                {
                    let spec = ChannelSpec { wait: Some(wait), size_bytes, ..ChannelSpec::new(method) };
                    truncate(&daemon, &spec);
                }
            }
        });
    });
}

fn truncate(daemon: &Daemon, spec: &ChannelSpec) {
    let announced = Announced::by(daemon, spec);
    let (channel, file) = (announced.channel, memory_file(&announced.endpoint).unwrap());
    let (mut connected, mut link) = announced.connect();
    connected.rounds(5).unwrap();
    file.set_len(0).unwrap();
    let error = connected.rounds(5).unwrap_err();
    eprintln!("{}, {:?}, {} bytes: {error}", spec.method, spec.wait, spec.size_bytes);
    assert!(matches!(error, RoundError::Truncated | RoundError::Ended), "{error:?}");
    // A responder that sleeps on what is no more is not woken; one that looks at it ends.
    if spec.wait == Some(Wait::Spin) {
        let end = end_of(&mut link, channel);
        assert_eq!(end, End::Signalled(Signal::BUS.as_raw()));
        let said = end.to_string();
        assert!(said.contains("memory that it shared was taken from under it (truncated)"), "{said}");
    }
}

#[test]
fn sealed_memory_cannot_be_truncated() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in shared().filter(|one| !is_truncatable(*one)) {
            let announced = Announced::by(&daemon, &ChannelSpec::new(mechanism.info().name));
            let file = memory_file(&announced.endpoint).unwrap();
            for len in [0, 1 << 20] {
                let error = file.set_len(len).expect_err(mechanism.info().name);
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::PERM.raw_os_error()));
            }
            announced.serves_its_client();
        }
    });
}

#[test]
fn what_a_client_keeps_counts_as_a_channel_until_it_has_closed_it() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-channels-per-user", "2"]);
        for mechanism in carrying().filter(|one| ["mq", "mmap", "shmem"].contains(&one.info().name)) {
            let spec = super::spec(mechanism);
            let method = spec.method.as_str();
            let keep = || {
                let descriptors = std::mem::take(&mut Announced::by(&daemon, &spec).endpoint.descriptors);
                daemon.is_at_rest();
                descriptors
            };
            let kept = [keep(), keep()];
            let memory: Vec<_> = match mechanism.info().delivery {
                Delivery::Memory => kept.iter().flatten().collect(),
                _ => Vec::new(),
            };
            for file in &memory {
                fallocate(file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
            }
            match Announced::try_by(&daemon, &spec).map(drop).map_err(|reply| *reply) {
                Err(Reply::Refused(Refusal::OverLimit(over))) => {
                    assert_eq!((over.resource, over.used), (Resource::Channels, 2), "{method}");
                }
                other => panic!("{method}: {other:?}"),
            }
            // The request has had it emptied.
            eventually("what was added is free", PATIENCE, || {
                let is_empty = |file: &&OwnedFd| fstat(file).unwrap().st_blocks < 1024;
                memory.iter().all(is_empty).then_some(())
            });
            drop(kept);
            daemon.serves(method);
        }
        daemon.is_at_rest();
    });
}
