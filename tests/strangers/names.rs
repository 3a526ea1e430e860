//! Names that a stranger has taken before a channel could: the channel is refused with a reason, the next one opens.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use ipcd::internals::protocol::{ChannelSpec, Refusal, Reply};
use ipcd::internals::transports::Queue;
use ipcd::internals::transports::{End as QueueEnd, MessageQueue};
use ipcd::internals::transports::{Exposure, Mechanism, Naming};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::{MANY, attacked, carrying, spec};
use crate::harness::{
    Announced, Daemon, NOBODY, Sandbox, by_abstract_name, exposure, is_root, not_tested, run,
};

/// What a stranger has taken. It goes with its value, if the service has not removed it.
struct Taken(Box<dyn FnOnce()>);

fn take(sandbox: &Sandbox, naming: Naming, name: &str) -> Option<Taken> {
    let undo: Box<dyn FnOnce()> = match naming {
        Naming::Folder => {
            let path = sandbox.folder().join(name);
            fs::create_dir(&path).unwrap();
            Box::new(move || drop(fs::remove_dir_all(path)))
        }
        Naming::SharedMemory => {
            let path = format!("/dev/shm/{name}");
            fs::write(&path, "").unwrap();
            Box::new(move || drop(fs::remove_file(path)))
        }
        Naming::SharedFolder => {
            let path = format!("/dev/shm/{name}-root");
            fs::create_dir(&path).unwrap();
            Box::new(move || drop(fs::remove_dir_all(path)))
        }
        Naming::Queues => {
            let name = std::ffi::CString::new(format!("/{name}-ping")).unwrap();
            MessageQueue::make(&name, 8, QueueEnd::Send).unwrap();
            Box::new(move || MessageQueue::remove(&name))
        }
        Naming::Key => {
            let queue = Queue::make(key(name)).unwrap();
            Box::new(move || queue.remove())
        }
        Naming::Unnamed => return None,
    };
    Some(Taken(undo))
}

/// As `src/transports/sysv_mq.rs` has it, where a test holds it.
pub(super) fn key(name: &str) -> i32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1).cast_signed()
}

/// What this daemon will call its channel of this number.
fn name_of(daemon: &Daemon, channel: u64) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid)).unwrap();
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().to_owned();
    format!("ipcd-{}-{start}-{channel}", daemon.pid)
}

/// The number of the daemon's next channel.
fn next_channel(daemon: &Daemon) -> u64 {
    Announced::by(daemon, &ChannelSpec::new("pipe")).channel + 1
}

#[track_caller]
fn is_refused(daemon: &Daemon, spec: &ChannelSpec) {
    let opened = Announced::try_by(daemon, spec).map(|announced| announced.endpoint.address);
    match opened.map_err(|refused| *refused) {
        Err(Reply::Refused(Refusal::NotOpened { end })) => {
            let end = end.to_string();
            let taken = ["exists", "in use", "iceoryx2"].iter().any(|reason| end.contains(reason));
            assert!(taken, "{spec:?}: {end}");
        }
        other => panic!("{spec:?}: {other:?}"),
    }
}

fn exercise(sandbox: &Sandbox, daemon: &Daemon, mechanism: &dyn Mechanism) {
    let method = mechanism.info().name;
    let name = name_of(daemon, next_channel(daemon));
    eprintln!("{method}:");
    match take(sandbox, mechanism.info().naming, &name) {
        Some(Taken(undo)) => {
            is_refused(daemon, &spec(mechanism));
            undo();
        }
        // It must have no name then.
        None => {
            let announced = Announced::by(daemon, &spec(mechanism));
            assert!(!announced.endpoint.address.contains(&name), "{method}: {:?}", announced.endpoint);
            for folder in [sandbox.folder(), Path::new("/dev/shm"), Path::new("/dev/mqueue")] {
                let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
                let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
                assert_eq!(named.count(), 0, "{method}, in {}", folder.display());
            }
        }
    }
    daemon.serves(method);
}

#[test]
fn a_name_that_a_stranger_has_taken_refuses_the_channel_with_a_reason() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in carrying() {
                exercise(sandbox, &daemon, mechanism);
            }
        });
    });
}

#[test]
fn what_a_stranger_has_put_there_is_not_the_services_to_remove() {
    run(|sandbox| {
        if !is_root() {
            return not_tested("root", "this needs root, which may make a stranger's folder");
        }
        let daemon = sandbox.daemon_with(&MANY);
        let has_folder = |mechanism: &&dyn Mechanism| mechanism.info().naming == Naming::Folder;
        for mechanism in carrying().filter(has_folder) {
            let path = sandbox.folder().join(name_of(&daemon, next_channel(&daemon)));
            let kept = path.join("kept");
            fs::create_dir(&path).unwrap();
            fs::write(&kept, "").unwrap();
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            is_refused(&daemon, &spec(mechanism));
            assert!(kept.exists(), "{}", mechanism.info().name);
            fs::remove_dir_all(&path).unwrap();
            daemon.serves(mechanism.info().name);
        }
    });
}

#[test]
fn an_abstract_name_that_a_stranger_has_taken_does_too() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            let mut count = 0;
            for spec in carrying().filter_map(by_abstract_name) {
                let name = name_of(&daemon, next_channel(&daemon));
                // Names are taken for sockets of one type.
                let kind = match exposure(&spec.method) {
                    Exposure::Connections(kind) => kind,
                    _ => SocketType::DGRAM,
                };
                let squatter = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
                bind(&squatter, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
                is_refused(&daemon, &spec);
                drop(squatter);
                Announced::by(&daemon, &spec).serves_its_client();
                count += 1;
            }
            assert!(count > 0, "no mechanism has abstract names");
        });
    });
}
