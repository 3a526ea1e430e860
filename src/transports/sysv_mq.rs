//! `sysv-mq`: a System V message queue, with a message type for each direction.
//!
//! The queue lives until it is removed, and so does its marker: an empty file in `/dev/shm` that the responder holds locked. Both
//! are removed by the responder when it ends by itself or when its supervisor dies; else by the daemon, when the responder has
//! ended; and if both were killed, by the next daemon of this user, private ones too, that finds a marker that is not locked.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use rustix::process::Signal;

use super::families::messages::{self, Else, Messages};
use super::place::{locked_path, make_locked, unique_name};
use super::prelude::*;
use super::sys::sysv::{Message, Queue};
use crate::shortage::{FORBIDDEN, explain, explain_sandbox, sysctl};

static INFO: Info = Info {
    name: "sysv-mq",
    group: Group::Queues,
    summary: "a System V message queue",
    choose: "Choose it only where it is already in use: it is the oldest of them. Its advantages over others are \
             that a receiver picks messages by their type, and that the queue needs no process to live.",
    limits: "A message is no longer than /proc/sys/kernel/msgmax, 8192 bytes by default, and a queue holds \
             msgmnb bytes. A queue remains until it is removed, whichever process dies: if responder and daemon are \
             killed at once, until this user's next daemon starts, or next run without one. It is not a file and cannot be polled.",
    round: "One msgsnd and one msgrcv on each side; the kernel copies each message into its own memory.",
    delivery: Delivery::Message,
    naming: Naming::Key,
    exposure: Exposure::Messages,
    ..Info::DEFAULT
};

/// The longest message by default, and where `/proc` does not say.
const DEFAULT_MAX_SIZE: usize = 8192;

/// System V message queues.
pub(super) struct SystemVQueue;

impl Mechanism for SystemVQueue {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn largest(&self) -> (usize, Option<String>) {
        let (name, longest) = longest();
        let size = longest.clamp(Capabilities::ANY_SIZE.min_size, Capabilities::MAX_SIZE);
        (size, Some(format!("kernel.{name} is {longest}")))
    }

    fn probe(&self) -> Result<(), Unavailable> {
        let (name, longest) = longest();
        let least = Capabilities::ANY_SIZE.min_size;
        if longest < least {
            return Err(Unavailable(format!(
                "kernel.{name} is {longest}, and the smallest message has {least} bytes; raise it"
            )));
        }
        messages::probe_queue("System V IPC (CONFIG_SYSVIPC)", || {
            let (queue, _removed) = make(&unique_name().while_doing(MAKING)?)?;
            try_out(queue)
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (queue, _removed) = make(&settings.name)?;
        // The creator of a queue may give it to another user, and keeps its own rights.
        let client = settings.client;
        if client.uid != Owner::this().uid {
            queue.give_to(client.uid, client.gid).while_doing("opening the queue to the client")?;
        }
        let mut end = End::new(queue, settings, PONG, PING);

        supervisor.ready(&format!("{:#010x}", key(&settings.name)), &[])?;
        messages::check_peer(&mut end, settings, supervisor)?;
        let marker = CString::new(locked_path(&settings.name).into_os_string().into_vec())
            .expect("a name has no zero byte");
        queue.remove_on_sigterm(marker).while_doing("preparing for the supervisor's end")?;
        supervisor.proven_until(Signal::TERM)?;
        messages::echo(&mut end, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let key = endpoint.address.strip_prefix("0x").and_then(|key| u32::from_str_radix(key, 16).ok());
        let unknown = || ConnectError::Endpoint(endpoint.address.clone());
        let queue =
            Queue::open(key.ok_or_else(unknown)?.cast_signed()).while_doing("opening the message queue")?;
        // Nothing is sent through a queue that the daemon only names.
        if !endpoint.is_from(queue.creator().while_doing("reading the queue's owner")?) {
            return Err(unknown());
        }
        messages::connect(End::new(queue, settings, PING, PONG), settings, watch)
    }

    fn remove_leftovers(&self, name: &str) {
        drop(Leftover { name: name.to_owned(), _marker: None });
    }
}

/// The longest message, and the setting that limits it.
fn longest() -> (&'static str, usize) {
    let limit = |name: &'static str| {
        let limit = sysctl(&format!("kernel/{name}")).and_then(|text| text.parse().ok());
        (name, limit.unwrap_or(DEFAULT_MAX_SIZE))
    };
    let (message, queue) = (limit("msgmax"), limit("msgmnb"));
    if queue.1 < message.1 { queue } else { message }
}

const MAKING: &str = "making a message queue";

/// Makes a channel's marker and queue, which are removed with the second value.
fn make(name: &str) -> Result<(Queue, Leftover), CallError> {
    // Without a marker, the queue is still removed by the responder and by its daemon, but not by the next one.
    let leftover = Leftover { name: name.to_owned(), _marker: make_locked(name) };
    let queue = Queue::make(key(name)).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC) => {
            let most = sysctl("kernel/msgmni").unwrap_or_else(|| "a limited number of".to_owned());
            explain(
                error,
                format_args!("there may be {most} queues; raise kernel.msgmni, or remove some (ipcrm)"),
            )
        }
        Some(libc::EPERM) => explain(error, FORBIDDEN),
        _ => error,
    });
    Ok((queue.while_doing(MAKING)?, leftover))
}

/// Sends a message through a new queue.
fn try_out(queue: Queue) -> Result<(), CallError> {
    let len = Capabilities::ANY_SIZE.min_size;
    let mut message = Message::new(len);
    queue.send(PING, &mut message, len, false).map_err(explain_sandbox).while_doing("sending a message")?;
    let received = queue.receive(PING, &mut message, false).map(drop);
    received.map_err(explain_sandbox).while_doing("receiving a message")
}

/// Types of messages.
const PING: libc::c_long = 1;
const PONG: libc::c_long = 2;

/// A channel's queue and its marker, if they exist. They are removed with this value.
struct Leftover {
    name: String,
    /// Locked as long as its responder lives.
    _marker: Option<OwnedFd>,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(queue) = Queue::find_own(key(&self.name)) {
            queue.remove();
        }
        // Last: while the queue exists, so does its marker.
        let _ = std::fs::remove_file(locked_path(&self.name));
    }
}

/// The key of a channel's queue: FNV-1a of its name.
fn key(name: &str) -> i32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // 0 is IPC_PRIVATE.
    hash.max(1).cast_signed()
}

/// One side's end.
#[derive(Debug)]
struct End {
    queue: Queue,
    message: Message,
    sends: libc::c_long,
    receives: libc::c_long,
}

impl End {
    fn new(queue: Queue, settings: &Settings, sends: libc::c_long, receives: libc::c_long) -> Self {
        Self { queue, message: Message::new(settings.size), sends, receives }
    }
}

impl Messages for End {
    #[inline(always)]
    fn send(&mut self, message: &[u8], or: Else) -> Result<(), Errno> {
        self.message.bytes()[..message.len()].copy_from_slice(message);
        self.queue.send(self.sends, &mut self.message, message.len(), or == Else::Sleep)
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        let n = self.queue.receive(self.receives, &mut self.message, or == Else::Sleep)?;
        buffer[..n].copy_from_slice(&self.message.bytes()[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::place::dead_names;
    use super::*;

    #[test]
    fn a_leftover_queue_is_found_by_its_name_and_removed() {
        let name = unique_name().unwrap();
        std::mem::forget(make(&name).unwrap());
        SystemVQueue.remove_leftovers(&name);
        assert_eq!(Queue::find_own(key(&name)), None);
        assert!(!locked_path(&name).exists());
    }

    #[test]
    fn a_queue_is_dead_once_its_marker_is_not_locked() {
        let name = unique_name().unwrap();
        let (queue, mut leftover) = make(&name).unwrap();
        assert!(!dead_names().contains(&name), "its owner lives");
        leftover._marker = None;
        assert!(dead_names().contains(&name));
        drop(leftover);
        assert_ne!(Queue::find_own(key(&name)), Some(queue));
        assert!(!dead_names().contains(&name));
    }

    #[test]
    fn a_queue_of_another_user_is_not_the_responders() {
        let name = unique_name().unwrap();
        let (_queue, _leftover) = make(&name).unwrap();
        let settings = Settings::check(&crate::protocol::ChannelSpec::new("sysv-mq")).unwrap();
        let (control, _other) = rustix::pipe::pipe().unwrap();
        let own = Owner::this();
        let endpoint = Endpoint {
            address: format!("{:#010x}", key(&name)),
            descriptors: Vec::new(),
            daemon: Owner { uid: own.uid + 1, ..own },
        };
        let mut watch = Watch::new(control.as_fd()).unwrap();
        let refused = SystemVQueue.connect(&settings, endpoint, &mut watch).map(drop);
        assert!(matches!(refused, Err(ConnectError::Endpoint(_))), "{refused:?}");
    }
}
