//! `sysv-mq`: a System V message queue, with a message type for each direction.
//!
//! The queue lives until it is removed, by the first of these:
//!
//! - the responder, when it ends by itself, or when its supervisor dies;
//! - the daemon, when the responder has ended (`remove_leftovers`);
//! - the client, when a round has failed and it owns the queue, since the other two may have been killed;
//! - the next daemon of this user, if all three were killed. It finds the queue by a marker: an empty file in
//!   `/dev/shm`, which lives as long as queues do, until the host restarts.

use std::ffi::CString;

use rustix::fs::Mode;
use rustix::process::Signal;
use rustix::shm;

use super::families::messages::{self, Else, Messages};
use super::place::probe_name;
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
             msgmnb bytes. A queue remains until it is removed, whichever process dies: if client, responder and daemon are \
             all killed at once, until this user's next daemon starts. It is not a file and cannot be polled.",
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
        let key = key(&probe_name());
        messages::probe_queue("System V IPC (CONFIG_SYSVIPC)", || {
            let made = make(key);
            let tried = made.and_then(try_out);
            if let Some(queue) = Queue::find_own(key) {
                queue.remove();
            }
            tried
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let leftover = Leftover { name: settings.name.clone() };
        // Without the marker, the queue is still removed by the next process to end, but not by the next daemon.
        let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDONLY;
        let _ = shm::open(marker(&settings.name), flags, Mode::RUSR | Mode::WUSR);
        let queue = make(key(&settings.name))?;
        // The creator of a queue may give it to another user, and keeps its own rights.
        let client = settings.client;
        if client.uid != Owner::this().uid {
            queue.give_to(client.uid, client.gid).while_doing("opening the queue to the client")?;
        }
        let mut end = End::new(queue, settings, PONG, PING);

        supervisor.ready(&format!("{:#010x}", key(&settings.name)), &[])?;
        messages::check_peer(&mut end, settings, supervisor)?;
        let file = CString::new(format!("/dev/shm/{}", settings.name)).expect("a name has no zero byte");
        queue.remove_on_sigterm(file).while_doing("preparing for the supervisor's end")?;
        supervisor.proven_until(Signal::TERM)?;
        let served = messages::echo(&mut end, settings);
        drop(leftover);
        served
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let key = endpoint.address.strip_prefix("0x").and_then(|key| u32::from_str_radix(key, 16).ok());
        let key = key.ok_or(ConnectError::Endpoint(endpoint.address))?;
        let queue = Queue::open(key.cast_signed()).while_doing("opening the message queue")?;
        messages::connect(End::new(queue, settings, PING, PONG), settings, watch)
    }

    fn remove_leftovers(&self, name: &str) {
        drop(Leftover { name: name.to_owned() });
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

fn make(key: i32) -> Result<Queue, CallError> {
    Queue::make(key)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC) => {
                let most = sysctl("kernel/msgmni").unwrap_or_else(|| "a limited number of".to_owned());
                explain(
                    error,
                    format_args!("there may be {most} queues; raise kernel.msgmni, or remove some (ipcrm)"),
                )
            }
            Some(libc::EPERM) => explain(error, FORBIDDEN),
            _ => error,
        })
        .while_doing("making a message queue")
}

/// Sends a message through a queue that no other process uses.
fn try_out(queue: Queue) -> Result<(), CallError> {
    let len = Capabilities::ANY_SIZE.min_size;
    let mut message = Message::new(len);
    match queue.send(PING, &mut message, len, false) {
        // Another process that probes at the same time has taken it for a leftover.
        Err(Errno::PIPE) => return Ok(()),
        sent => sent.map_err(explain_sandbox).while_doing("sending a message")?,
    }
    match queue.receive(PING, &mut message, false) {
        Err(Errno::PIPE) => Ok(()),
        received => received.map(drop).map_err(explain_sandbox).while_doing("receiving a message"),
    }
}

/// Types of messages.
const PING: libc::c_long = 1;
const PONG: libc::c_long = 2;

/// A channel's queue and its marker, if they exist. They are removed with this value.
struct Leftover {
    name: String,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(queue) = Queue::find_own(key(&self.name)) {
            queue.remove();
        }
        // Last: while the queue exists, so does its marker.
        let _ = shm::unlink(marker(&self.name));
    }
}

fn marker(name: &str) -> String {
    format!("/{name}")
}

/// The key of a channel's queue: FNV-1a of its name, which every build computes alike.
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

    fn give_up(&mut self) {
        self.queue.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_key_in_every_release() {
        assert_eq!(key("ipcd-1-2-3").cast_unsigned(), 0x9617_cc22);
    }

    #[test]
    fn a_probe_removes_the_leftovers_of_a_killed_probe() {
        let key = key(&probe_name());
        // It exists already if another test probes at the same time.
        let left = Queue::make(key).ok();
        SystemVQueue.probe().unwrap();
        assert!(left.is_none_or(|left| Queue::find_own(key) != Some(left)), "it is left");
    }

    #[test]
    fn a_leftover_queue_is_found_by_its_name_and_removed() {
        let name = format!("ipcd-{}-0-0", std::process::id());
        Queue::make(key(&name)).unwrap();
        SystemVQueue.remove_leftovers(&name);
        assert_eq!(Queue::find_own(key(&name)), None);
    }
}
