//! Names that a stranger has taken before a channel could: the channel is refused with a reason, the next one opens.

use std::fs;
use std::os::unix::fs::chown;

use ipcd::internals::protocol::{ChannelSpec, Refusal, Reply};
use ipcd::internals::transports::Mechanism;
use ipcd::internals::transports::sys::mq::{End as QueueEnd, MessageQueue};
use ipcd::internals::transports::sys::sysv::Queue;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::{MANY, attacked, carrying, spec};
use crate::harness::{Announced, Daemon, NOBODY, Sandbox, by_abstract_name, is_root, not_tested, run};

/// What a mechanism calls by a channel's name.
enum Named {
    Folder,
    SharedMemory,
    SharedFolder,
    Queue,
    Key,
    /// Nothing that a stranger could have taken.
    Nothing(&'static str),
}

fn named(method: &str) -> Named {
    match method {
        "unix" | "unix-seqpacket" | "unix-dgram" | "epoll" | "io-uring" | "local-socket" | "zeromq"
        | "fifo" | "mmap" => Named::Folder,
        "shmem" => Named::SharedMemory,
        "iceoryx2" => Named::SharedFolder,
        "mq" => Named::Queue,
        "sysv-mq" => Named::Key,
        "tcp" | "tcp6" | "udp" | "udp6" | "vsock" => Named::Nothing("the kernel chooses a port that is free"),
        "socketpair" | "pipe" | "eventfd" | "memfd" | "futex" | "semaphore" | "tokio" | "http" | "grpc"
        | "dbus" => Named::Nothing("it is handed over and has no name"),
        "process-vm" | "signal" => Named::Nothing("its name is a process's id, which the kernel chooses"),
        "null" => Named::Nothing("it carries nothing"),
        other => panic!("tests/strangers/names.rs does not say what \"{other}\" calls by a channel's name"),
    }
}

/// What a stranger has taken. It goes with its value, if the service has not removed it.
struct Taken(Box<dyn FnOnce()>);

fn take(sandbox: &Sandbox, named: &Named, name: &str) -> Option<Taken> {
    let undo: Box<dyn FnOnce()> = match named {
        Named::Folder => {
            let path = sandbox.folder().join(name);
            fs::create_dir(&path).unwrap();
            Box::new(move || drop(fs::remove_dir_all(path)))
        }
        Named::SharedMemory => {
            let path = format!("/dev/shm/{name}");
            fs::write(&path, "").unwrap();
            Box::new(move || drop(fs::remove_file(path)))
        }
        Named::SharedFolder => {
            let path = format!("/dev/shm/{name}-root");
            fs::create_dir(&path).unwrap();
            Box::new(move || drop(fs::remove_dir_all(path)))
        }
        Named::Queue => {
            let name = std::ffi::CString::new(format!("/{name}-ping")).unwrap();
            MessageQueue::make(&name, 8, QueueEnd::Send).unwrap();
            Box::new(move || MessageQueue::remove(&name))
        }
        Named::Key => {
            let queue = Queue::make(key(name)).unwrap();
            Box::new(move || queue.remove())
        }
        Named::Nothing(_) => return None,
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
    let named = named(method);
    if let Named::Nothing(why) = named {
        return eprintln!("nobody can take the name of {method}: {why}");
    }
    eprintln!("{method}:");
    let taken = take(sandbox, &named, &name_of(daemon, next_channel(daemon)));
    is_refused(daemon, &spec(mechanism));
    if let Some(Taken(undo)) = taken {
        undo();
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
        let has_folder = |mechanism: &&dyn Mechanism| matches!(named(mechanism.info().name), Named::Folder);
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
                let kind = match &*spec.method {
                    "unix-seqpacket" => SocketType::SEQPACKET,
                    "unix-dgram" => SocketType::DGRAM,
                    _ => SocketType::STREAM,
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
