//! `mq`: two POSIX message queues, one for each direction.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, getrlimit};

use super::families::messages::{self, Else, Messages};
use super::place::unique_name;
use super::prelude::*;
use super::sys::find_descriptors;
use super::sys::mq::{End, MessageQueue};
use crate::diagnostics::User;
use crate::shortage::{FORBIDDEN, explain, limit, sysctl};

static INFO: Info = Info {
    name: "mq",
    group: Group::Queues,
    summary: "two POSIX message queues",
    choose: "Choose it where messages have priorities, or where one process leaves messages for another that is \
             not running yet. It can be polled like a file.",
    limits: "A message is no longer than fs.mqueue.msgsize_max, 8192 bytes by default, and a user's queues \
             together no larger than RLIMIT_MSGQUEUE, 819200 by default; a channel uses its two queues' \
             messages and some bytes for each. CAP_SYS_RESOURCE lifts msgsize_max (which is respected here all the \
             same, as other programs must) and the number of queues, not RLIMIT_MSGQUEUE. A queue lives until its \
             name is removed, even without any process; it does not report the peer's death.",
    round: "One mq_send and one mq_receive on each side; the kernel copies each message into its own memory, and \
            from there to the receiver. A waiting receiver gets the message without queueing, which saves no copy.",
    delivery: Delivery::Message,
    naming: Naming::Queues,
    exposure: Exposure::Messages,
    ..Info::DEFAULT
};

/// The longest message by default, and where `/proc` does not say.
const DEFAULT_MAX_SIZE: usize = 8192;

/// What a queue of one message counts for beside its bytes: a `msg_msg` and a `posix_msg_tree_node`, six words each
/// (`mqueue_get_inode` in the kernel's `ipc/mqueue.c`; mq_overview(7) has the formula).
const OVERHEAD: usize = 12 * size_of::<usize>();

/// The shortest message that a channel has.
const MIN_SIZE: usize = Capabilities::ANY_SIZE.min_size;

/// POSIX message queues.
pub(super) struct PosixQueue;

impl Mechanism for PosixQueue {
    fn info(&self) -> &'static Info {
        &INFO
    }

    /// As far as this process's user has no other queues: how many bytes those use is not known.
    fn largest(&self) -> (usize, Option<String>) {
        let longest = sysctl("fs/mqueue/msgsize_max").and_then(|text| text.parse().ok());
        let (size, limit) =
            largest(longest.unwrap_or(DEFAULT_MAX_SIZE), getrlimit(Resource::Msgqueue).current);
        (size, Some(limit))
    }

    fn probe(&self) -> Result<(), Unavailable> {
        messages::probe_queue("POSIX message queues (CONFIG_POSIX_MQUEUE)", || {
            let name = unique_name().while_doing(MAKING)?;
            let _ping = make(&name, PING, MIN_SIZE, End::Receive)?;
            make(&name, PONG, MIN_SIZE, End::Send).map(drop)
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let mut ends = {
            let (receiver, ping) = make(&settings.name, PING, settings.size, End::Receive)?;
            let (sender, pong) = make(&settings.name, PONG, settings.size, End::Send)?;
            // Opened separately: whether calls block belongs to the open description, and is for each side to choose.
            let pings = MessageQueue::open(&ping.0, End::Send).while_doing(OPENING)?;
            // Writers count for the kernel, readers do not: the daemon learns of the client's end of either queue.
            let pongs = MessageQueue::open(&pong.0, End::Both).while_doing(OPENING)?;
            drop((ping, pong));
            supervisor.ready("two message queues", &[pongs.as_fd(), pings.as_fd()])?;
            Ends { receiver, sender, nonblocking: false }
        };
        messages::serve(&mut ends, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let address = endpoint.address.clone();
        let [receiver, sender] = endpoint.handed()?;
        let ends = Ends { receiver: receiver.into(), sender: sender.into(), nonblocking: false };
        let size = ends.receiver.message_size().while_doing("reading the queue's message size")?;
        if size != settings.size {
            return Err(ConnectError::Endpoint(address));
        }
        messages::connect(ends, settings, watch)
    }

    fn remove_leftovers(&self, name: &str) {
        [PING, PONG].iter().for_each(|end| MessageQueue::remove_own(&queue_name(name, end)));
    }
}

/// A queue's name, which is removed with this value.
struct Name(CString);

impl Drop for Name {
    fn drop(&mut self) {
        MessageQueue::remove(&self.0);
    }
}

const PING: &str = "ping";
const PONG: &str = "pong";

fn queue_name(name: &str, direction: &str) -> CString {
    CString::new(format!("/{name}-{direction}")).expect("a channel's name has no zero byte")
}

/// The largest message, where one may have `longest` bytes and a user's queues may have `bytes` together, and the setting
/// that limits it.
fn largest(longest: usize, bytes: Option<u64>) -> (usize, String) {
    // Two queues, of one message each.
    let each = bytes.map(|bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX).saturating_sub(OVERHEAD));
    let size = longest.min(each.unwrap_or(usize::MAX)).clamp(MIN_SIZE, Capabilities::MAX_SIZE);
    let limit = match (bytes, each) {
        (Some(bytes), Some(each)) if each < longest => format!(
            "a user's queues may take {bytes} bytes together, and a channel has two; raise RLIMIT_MSGQUEUE (ulimit \
             -q, LimitMSGQUEUE= in a unit)"
        ),
        _ => format!("fs.mqueue.msgsize_max is {longest}"),
    };
    (size, limit)
}

const MAKING: &str = "making a message queue";
const OPENING: &str = "opening the message queue for the client";

fn make(name: &str, direction: &str, size: usize, end: End) -> Result<(MessageQueue, Name), CallError> {
    let name = queue_name(name, direction);
    MessageQueue::make(&name, size, end)
        .map(|queue| (queue, Name(name)))
        .map_err(|error| match error.raw_os_error() {
            // The kernel reports a lack of descriptors by the same number.
            Some(libc::EMFILE) if find_descriptors(1).is_ok() => explain(
                error,
                format_args!(
                    "the queues of {} may take {} bytes together; raise RLIMIT_MSGQUEUE (ulimit -q, LimitMSGQUEUE= \
                     in a unit)",
                    User(Owner::this().uid),
                    limit(Resource::Msgqueue)
                ),
            ),
            Some(libc::ENOSPC) => explain(
                error,
                format_args!("there may be {} queues; raise fs.mqueue.queues_max", setting("queues_max")),
            ),
            Some(libc::EINVAL) => explain(
                error,
                format_args!(
                    "a queue may hold {} messages of {} bytes; raise fs.mqueue.msg_max or fs.mqueue.msgsize_max",
                    setting("msg_max"),
                    setting("msgsize_max")
                ),
            ),
            Some(libc::EPERM) => explain(error, FORBIDDEN),
            _ => error,
        })
        .while_doing(MAKING)
}

/// A limit of the kernel's on all queues.
fn setting(name: &str) -> String {
    sysctl(&format!("fs/mqueue/{name}")).unwrap_or_else(|| "a limited number of".to_owned())
}

/// One side's ends.
#[derive(Debug)]
struct Ends {
    receiver: MessageQueue,
    sender: MessageQueue,
    nonblocking: bool,
}

impl Ends {
    /// Sleeps before a call that does not block, if it is to sleep.
    #[inline(always)]
    fn sleep(&self, queue: BorrowedFd<'_>, flags: PollFlags, or: Else) -> Result<(), Errno> {
        if self.nonblocking && or == Else::Sleep {
            poll(&mut [PollFd::from_borrowed_fd(queue, flags)], None)?;
        }
        Ok(())
    }
}

impl Messages for Ends {
    #[inline(always)]
    fn send(&mut self, message: &[u8], or: Else) -> Result<(), Errno> {
        self.sleep(self.sender.as_fd(), PollFlags::OUT, or)?;
        self.sender.send(message)
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        self.sleep(self.receiver.as_fd(), PollFlags::IN, or)?;
        self.receiver.receive(buffer)
    }

    fn set_wait(&mut self, wait: Wait) -> Result<(), Errno> {
        if wait != Wait::Block {
            self.sender.set_nonblocking()?;
            self.receiver.set_nonblocking()?;
            self.nonblocking = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn leftover_queues_are_removed_by_their_name() {
        let name = unique_name().unwrap();
        for direction in [PING, PONG] {
            MessageQueue::make(&queue_name(&name, direction), 8, End::Send).unwrap();
        }
        PosixQueue.remove_leftovers(&name);
        for direction in [PING, PONG] {
            let error = MessageQueue::open(&queue_name(&name, direction), End::Receive).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn the_narrowest_limit_decides_the_largest_message() {
        let of = |longest, bytes| {
            let (size, limit) = largest(longest, bytes);
            (size, limit.contains("RLIMIT_MSGQUEUE"))
        };
        assert_eq!(of(8192, Some(819_200)), (8192, false));
        assert_eq!(of(8192, None), (8192, false));
        assert_eq!(of(1 << 30, None), (16 << 20, false));
        assert_eq!(of(1 << 20, Some(819_200)), (819_200 / 2 - OVERHEAD, true));
        assert_eq!(of(8192, Some(1000)), (500 - OVERHEAD, true));
        assert_eq!(of(8192, Some(0)), (8, true), "none: the probe reports it");
    }

    #[test]
    fn a_nonblocking_queue_returns_instead_of_waiting() {
        let name = queue_name(&unique_name().unwrap(), "test");
        let mut ends = Ends {
            receiver: MessageQueue::make(&name, 8, End::Receive).unwrap(),
            sender: MessageQueue::open(&name, End::Send).unwrap(),
            nonblocking: false,
        };
        MessageQueue::remove(&name);
        assert_eq!(ends.receiver.message_size().unwrap(), 8);
        ends.set_wait(Wait::Adaptive).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(ends.receive(&mut buffer, Else::Return), Err(Errno::AGAIN));
        ends.send(b"12345678", Else::Return).unwrap();
        assert_eq!(ends.send(b"12345678", Else::Return), Err(Errno::AGAIN), "the queue holds one");
        assert_eq!(ends.receive(&mut buffer, Else::Sleep), Ok(8));
        assert_eq!(&buffer, b"12345678");
    }
}
