//! `mq`: two POSIX message queues, one for each direction.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, getrlimit};

use super::families::messages::{self, Else, Messages};
use super::place::{Access, give_to_client, probe_name};
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
            let names = Names::of(&probe_name());
            let _ping = make(&names.ping, MIN_SIZE, End::Receive)?;
            make(&names.pong, MIN_SIZE, End::Send).map(drop)
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let names = Names::of(&settings.name);
        let (pings, access) = make_for(&names.ping, settings, End::Receive)?;
        let (pongs, _) = make_for(&names.pong, settings, End::Send)?;
        let mut ends = Ends { receiver: pings, sender: pongs, nonblocking: false };

        let address = format!("/{}", settings.name);
        if access == Access::Handed {
            // Opened separately: whether calls block belongs to the open description, and is for each side to choose.
            let theirs = open_ends(&names.ping, &names.pong)?;
            supervisor.ready(&address, &[theirs.receiver.as_fd(), theirs.sender.as_fd()])?;
        } else {
            supervisor.ready(&address, &[])?;
        }
        messages::check_peer(&mut ends, settings, supervisor)?;
        drop(names);
        supervisor.proven()?;
        messages::echo(&mut ends, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let address = endpoint.address.clone();
        let unknown = || ConnectError::Endpoint(address.clone());
        let name = address.strip_prefix('/').filter(|name| !name.contains('\0')).ok_or_else(unknown)?;
        let ends = if endpoint.descriptors.is_empty() {
            open_ends(&queue_name(name, "ping"), &queue_name(name, "pong"))?
        } else {
            let [receiver, sender] = endpoint.handed()?;
            Ends { receiver: receiver.into(), sender: sender.into(), nonblocking: false }
        };
        let size = ends.receiver.message_size().while_doing("reading the queue's message size")?;
        if size != settings.size {
            return Err(unknown());
        }
        messages::connect(ends, settings, watch)
    }

    fn remove_leftovers(&self, name: &str) {
        drop(Names::of(name));
    }
}

/// The queues' names, which are removed with this value.
struct Names {
    ping: CString,
    pong: CString,
}

impl Names {
    fn of(name: &str) -> Self {
        Self { ping: queue_name(name, "ping"), pong: queue_name(name, "pong") }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        MessageQueue::remove(&self.ping);
        MessageQueue::remove(&self.pong);
    }
}

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

/// The client's ends of these queues.
fn open_ends(ping: &CString, pong: &CString) -> Result<Ends, CallError> {
    let sender = MessageQueue::open(ping, End::Send).while_doing("opening the message queue")?;
    let receiver = MessageQueue::open(pong, End::Receive).while_doing("opening the message queue")?;
    Ok(Ends { receiver, sender, nonblocking: false })
}

/// Makes a queue that the client may open or is handed.
fn make_for(name: &CString, settings: &Settings, end: End) -> Result<(MessageQueue, Access), CallError> {
    let queue = make(name, settings.size, end)?;
    // Its name is a file only where the queues' file system is mounted; its descriptor always is.
    let path = PathBuf::from(format!("/proc/self/fd/{}", queue.as_fd().as_raw_fd()));
    let access = give_to_client(&path, settings.client).while_doing("opening the queue to the client")?;
    Ok((queue, access))
}

fn make(name: &CString, size: usize, end: End) -> Result<MessageQueue, CallError> {
    MessageQueue::make(name, size, end)
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
        .while_doing("making a message queue")
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
        let name = format!("ipcd-{}-0-0", std::process::id());
        for direction in ["ping", "pong"] {
            MessageQueue::make(&queue_name(&name, direction), 8, End::Send).unwrap();
        }
        PosixQueue.remove_leftovers(&name);
        for direction in ["ping", "pong"] {
            let error = MessageQueue::open(&queue_name(&name, direction), End::Receive).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_probe_removes_the_leftovers_of_a_killed_probe() {
        let names = Names::of(&probe_name());
        // It exists already if another test probes at the same time.
        let _ = MessageQueue::make(&names.pong, MIN_SIZE, End::Send);
        PosixQueue.probe().unwrap();
        let gone = |name| {
            MessageQueue::open(name, End::Receive).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let start = std::time::Instant::now();
        while !(gone(&names.ping) && gone(&names.pong)) {
            assert!(start.elapsed().as_secs() < 5, "it is left");
            std::thread::yield_now();
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
        let name = queue_name(&format!("ipcd-{}-0-1", std::process::id()), "test");
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
