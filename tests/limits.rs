//! What clients can make the daemon hold: each user and all users together are held to their limits, with a refusal that names
//! the limit.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;

use ipcd::internals::client::{Client, ClientError, LeaseWait};
use ipcd::internals::protocol::{
    ChannelSpec, Exit, Greeting, OverLimit, Refusal, Request, Resource, Scope, SocketAddress, encode, frame,
};
use ipcd::internals::transports::{find, memory_of};
use rustix::process::Signal;

use crate::conformance::here;
use crate::harness::{
    Daemon, NOBODY, PATIENCE, Peer, Sandbox, another_user_can_run, eventually, rounds, run,
};

/// What a request was refused for.
#[track_caller]
fn over<T: std::fmt::Debug>(result: Result<T, ClientError>) -> OverLimit {
    match result {
        Err(ClientError::Refused(Refusal::OverLimit(over))) => over,
        other => panic!("{other:?}"),
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A connection, also one that is turned away.
fn connect(daemon: &Daemon) -> Client {
    Client::connect(&SocketAddress::resolve(Some(&daemon.socket))).unwrap()
}

#[test]
fn a_client_over_the_limit_gets_the_reason() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-connections", "3", "--max-connections-per-user", "2"]);
        let mut first = connect(&daemon);
        first.status().unwrap();
        let mut second = connect(&daemon);
        let refusal = over(second.status().and_then(|_| connect(&daemon).status()));
        let scope = Scope::User { uid: own_uid() };
        assert_eq!(
            (refusal.resource, refusal.scope, refusal.limit, refusal.used),
            (Resource::Connections, scope, 2, 2)
        );

        // Both programs say so, whatever they would ask.
        let name = "max-connections-per-user is 2";
        for command in [&mut sandbox.client(&["status"]), &mut sandbox.client(&["bench", "-n", "1"])] {
            let refused = sandbox.finish(command).expect(Exit::Busy);
            refused.says(&[name, "larger --max-connections"]);
        }
        for verb in ["status", "stop"] {
            sandbox.finish(&mut sandbox.ipcd(&[verb])).expect(Exit::Busy).says(&[name]);
        }

        let status = first.status().unwrap();
        assert_eq!((status.connections, status.totals.connections, status.totals.refusals), (2, 2, 5));
        drop(first);
        // The place is free again.
        daemon.wait_for_place();
    });
}

impl Daemon {
    /// Waits until a client more is served.
    fn wait_for_place(&self) {
        crate::harness::eventually("there is a place", PATIENCE, || connect(self).status().ok());
    }
}

#[test]
fn one_user_cannot_keep_the_others_out() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let daemon = sandbox.daemon_with(&["--max-connections", "6"]);
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
        // More than one may have: also those who are not turned away are not enough to fill the service.
        let mut mine: Vec<_> = (0..10).map(|_| connect(&daemon)).collect();
        let served = mine.iter_mut().filter_map(|client| client.status().ok()).count();
        assert_eq!(served, 3, "half of all");

        let others = |arguments: &[&str]| {
            let mut command = sandbox.client(arguments);
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
            sandbox.finish(&mut command)
        };
        let shown = others(&["status"]).expect(Exit::Success).stdout;
        let line = format!("4 of 6; most by user {}: 3 of 3", own_uid());
        assert!(shown.contains(&line), "no \"{line}\" in\n{shown}");
        others(&["bench", "-m", "tcp", "-n", "20"]).expect(Exit::Success);
    });
}

#[test]
fn the_line_is_as_long_as_it_may_be() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-queue", "4"]);
        let _holder = daemon.lease();
        let waiting =
            [(); 2].map(|()| sandbox.start(&mut sandbox.client(&["bench", "-m", "tcp", "-n", "1"])));
        daemon.wait_for_status("two clients are queued", |status| status.queue.len() == 2);
        let refused = sandbox.finish(&mut sandbox.client(&["bench", "-m", "tcp", "-n", "1"]));
        refused.expect(Exit::Busy).says(&["max-queue-per-user is 2", "larger --max-queue"]);
        let status = daemon.status();
        assert_eq!(status.used(Resource::Queue), 2);
        // Asking again for what one has, or waits for, takes no place.
        drop(waiting);
        daemon.wait_for_status("they have left", |status| status.queue.is_empty());
    });
}

#[test]
fn channels_are_as_many_as_there_may_be() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-channels", "2", "--max-channels-per-user", "2"]);
        let mut client = daemon.connect();
        match client.open(&ChannelSpec::new("tcp")) {
            Err(ClientError::Refused(Refusal::NoLease)) => {}
            other => panic!("{other:?}"),
        }
        client.acquire(LeaseWait::No, |_| ()).unwrap();
        let channels = [(); 2].map(|()| client.open(&ChannelSpec::new("udp")).unwrap());
        let refusal = over(client.open(&ChannelSpec::new("tcp")));
        assert_eq!((refusal.resource, refusal.limit, refusal.used), (Resource::Channels, 2, 2));
        for channel in channels {
            client.close(channel).unwrap();
        }
        drop(client);
        daemon.is_at_rest();
        assert_eq!(daemon.status().totals.refusals, 2);
    });
}

#[test]
fn payloads_take_as_much_memory_as_they_may() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-memory", "20M"]);
        let mut client = daemon.lease();
        let spec = ChannelSpec { size_bytes: 1 << 20, ..ChannelSpec::new("shmem") };
        let each = memory_of(&spec).unwrap();
        let fit = (10 << 20) / each;
        assert!(fit > 0 && each >= 1 << 20, "{each}");
        let mut channels: Vec<_> = (0..fit).map(|_| client.open(&spec).unwrap()).collect();
        let refusal = over(client.open(&spec));
        assert_eq!((refusal.resource, refusal.limit), (Resource::Memory, 10 << 20));
        assert_eq!((refusal.used, refusal.asked), (fit * each, each));
        let status = client.status().unwrap();
        assert_eq!(status.used(Resource::Memory), fit * each);
        // A small one still fits, and one that ends makes room.
        let small = client.open(&ChannelSpec::new("tcp")).unwrap();
        client.close(small).unwrap();
        client.close(channels.pop().unwrap()).unwrap();
        let mut again = client.open(&spec).unwrap();
        rounds(&mut again, 5).unwrap();
        channels.push(again);
        drop((channels, client));

        let bench = ["bench", "-m", "memfd", "--size", "16M", "-n", "1"];
        let refused = sandbox.finish(&mut sandbox.client(&bench)).expect(Exit::Unavailable);
        refused.says(&["max-memory-per-user is 10 MiB", "smaller payloads"]);
        daemon.is_at_rest();
    });
}

#[test]
fn the_lease_is_not_given_back_with_channels_open() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let waiting = sandbox.start(&mut sandbox.client(&["bench", "-m", "tcp", "-n", "10"]));
        daemon.wait_for_status("a client is queued", |status| status.queue == [waiting.pid()]);
        let mut channel = client.open(&ChannelSpec::new("unix")).unwrap();
        match client.release() {
            Err(ClientError::Refused(Refusal::ChannelsOpen { channels: 1 })) => {}
            other => panic!("{other:?}"),
        }
        // Nothing has changed: it still measures, and the other waits.
        rounds(&mut channel, 10).unwrap();
        assert_eq!(daemon.status().queue, [waiting.pid()]);
        client.close(channel).unwrap();
        client.release().unwrap();
        waiting.wait(PATIENCE).expect(Exit::Success);
        drop(client);
        daemon.is_at_rest();
    });
}

/// The most memory that a process has had resident.
fn peak_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    line.trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// By how much the difference of two such figures may be off: the kernel counts three kinds of pages, each in steps of 32
/// for a CPU (or twice as many as there are CPUs), and an incomplete step is not counted.
fn peaks_may_be_off_by() -> u64 {
    let cpus = u64::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    2 * 3 * (2 * cpus).max(32) * cpus * u64::try_from(rustix::param::page_size()).unwrap()
}

#[test]
fn responders_hold_no_more_than_their_mechanism_declares() {
    run(|sandbox: &Sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let mut peak = |method: &str, size: usize| {
            let size_bytes = u32::try_from(size).unwrap();
            let mut channel = client.open(&ChannelSpec { size_bytes, ..ChannelSpec::new(method) }).unwrap();
            rounds(&mut channel, 20).unwrap();
            let peak = peak_bytes(channel.responder_pid());
            client.close(channel).unwrap();
            peak
        };
        let mut too_much = Vec::new();
        for mechanism in here() {
            let (method, can) = (mechanism.info().name, mechanism.capabilities());
            if method == "null" {
                continue;
            }
            let held = peak(method, can.max_size).saturating_sub(peak(method, can.min_size));
            let declared = find(method).unwrap().holds(can.max_size);
            let line = format!("{method}: {held} bytes of {declared} declared for {} bytes", can.max_size);
            eprintln!("{line}");
            too_much.extend((held > declared + peaks_may_be_off_by()).then_some(line));
        }
        assert!(too_much.is_empty(), "{too_much:#?}");
    });
}

#[test]
fn a_client_that_does_not_read_its_descriptors_opens_no_more_channels() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let before = daemon.status().totals.channels_opened;
        let open = frame(&encode(&Request::Open(ChannelSpec::new("pipe"))).unwrap());
        let send = |request: &[u8]| {
            let mut stream = UnixStream::connect(&daemon.socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let acquire = frame(&encode(&Request::Acquire { wait: true }).unwrap());
            stream.write_all(&[&Greeting::OURS.to_bytes()[..], &acquire, request].concat()).unwrap();
            stream
        };
        let mut deaf = send(&open);
        let opened = || daemon.status().totals.channels_opened - before;
        eventually("the first is open", PATIENCE, || (opened() == 1).then_some(()));
        deaf.write_all(&open).unwrap();
        // It is dropped for not reading, and not for what else it might do.
        eventually("it is dropped", PATIENCE, || daemon.status().lease_holders.is_empty().then_some(()));
        assert_eq!(opened(), 1);
        assert!(daemon.process().has_said("it does not read its replies"));
        let _ = deaf.read_to_end(&mut Vec::new());

        // Who reads, however late, gets what it has asked for.
        let mut late = send(&open);
        eventually("its first is open", PATIENCE, || (opened() == 2).then_some(()));
        late.write_all(&open).unwrap();
        let mut buffer = [0; 4096];
        eventually("its second is open", PATIENCE, || {
            let _ = late.read(&mut buffer).unwrap();
            (opened() == 3).then_some(())
        });
        drop(late);
        daemon.is_at_rest();
    });
}

#[test]
fn memory_that_a_client_keeps_is_emptied_and_counted_until_then() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let spec = ChannelSpec { size_bytes: 1 << 20, ..ChannelSpec::new("memfd") };
        let opened = client.ask(&spec).unwrap();
        let responder = daemon.status().channels[0].responder_pid;
        let file = shared_file(responder);
        let blocks = || rustix::fs::fstat(&file).unwrap().st_blocks;
        assert!(blocks() > (1 << 20) / 512, "{} blocks", blocks());
        Peer::find(responder).unwrap().signal(Signal::KILL);
        daemon.wait_for_status("its channel has ended", |status| status.channels.is_empty());
        // Its client may not know yet, and has all of it.
        assert!(daemon.status().used(Resource::Memory) > 1 << 20);
        drop((opened, client));
        daemon.wait_for_status("it is freed", |status| status.used(Resource::Memory) == 0);
        assert_eq!(blocks(), 0);
    });
}

/// The memory that a responder shares with its client, opened as the client has it.
fn shared_file(responder: u32) -> fs::File {
    let maps = fs::read_dir(format!("/proc/{responder}/map_files")).unwrap();
    let shared = maps.map(|entry| entry.unwrap().path()).find(|path| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:ipcd-"))
    });
    fs::OpenOptions::new().read(true).write(true).open(shared.expect("it has mapped it")).unwrap()
}
