//! `mq`: two POSIX message queues, one for each direction.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::contract::While;
use super::messages::{self, Else, MessageClient, Messages};
use super::place::{Access, give_to_client, probe_name};
use super::sys::find_descriptors;
use super::sys::mq::{End, MessageQueue};
use super::{
    CallError, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Owner,
    Reach, Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};
use crate::shortage::{FORBIDDEN, HIDDEN, explain, limit, sysctl};

static INFO: Info = Info {
    name: "mq",
    aliases: &[],
    group: Group::Queues,
    summary: "two POSIX message queues",
    explanation: Explanation {
        choose: "Choose it where messages have priorities, or where one process leaves messages for another that need \
                 not run yet. It can be polled like a file.",
        limits: "A message is no longer than fs.mqueue.msgsize_max says, 8192 bytes by default, and a user's queues \
                 together no larger than RLIMIT_MSGQUEUE, 819200 by default, of which a channel takes its two queues' \
                 messages and some bytes for each. CAP_SYS_RESOURCE lifts msgsize_max (which is kept to here all the \
                 same, as other programs have it) and the number of queues, not RLIMIT_MSGQUEUE. A queue lives until its \
                 name is removed, also without any process; it does not tell that the peer has died.",
        round: "One mq_send and one mq_receive on each side; the kernel copies each message into memory of its own, and \
                from there to the receiver. To one that waits the message is handed without being queued, which saves \
                no copy.",
    },
    delivery: Delivery::Message,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// The longest message by default, and without a `/proc` that tells.
const DEFAULT_MAX_SIZE: usize = 8192;

/// What a queue of one message counts for beside its bytes: a `msg_msg` and a `posix_msg_tree_node`, six words each
/// (`mqueue_get_inode` in the kernel's `ipc/mqueue.c`; mq_overview(7) has the sum).
const OVERHEAD: usize = 12 * size_of::<usize>();

/// The shortest message that a channel has.
const MIN_SIZE: usize = Capabilities::ANY_SIZE.min_size;

/// POSIX message queues.
pub(super) struct PosixQueue;

impl Mechanism for PosixQueue {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        let Largest { size, .. } = Largest::here();
        Capabilities { max_size: size, ..Capabilities::ANY_SIZE }
    }

    fn size_limit(&self) -> Option<String> {
        Some(Largest::here().limit)
    }

    fn capabilities_anywhere(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        let name = probe_name();
        for _ in 0..3 {
            let names = Names::of(&name);
            let made = make(&names.ping, MIN_SIZE, End::Receive)
                .and_then(|ping| Ok((ping, make(&names.pong, MIN_SIZE, End::Send)?)));
            match made.map_err(|error| (error.source.kind(), error.source.raw_os_error(), error)) {
                Ok(_) => return Ok(()),
                // One that is left, or that another process looks with just now: it goes with `names`.
                Err((io::ErrorKind::AlreadyExists, ..)) => {}
                Err((_, Some(libc::ENOSYS), _)) => {
                    return Err(Unavailable(format!(
                        "this kernel was built without POSIX message queues (CONFIG_POSIX_MQUEUE), {HIDDEN}"
                    )));
                }
                Err((.., error)) => return Err(error.into()),
            }
        }
        // Queues can be made: others do all the time.
        Ok(())
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let names = Names::of(&settings.name);
        let (pings, access) = make_for(&names.ping, settings, End::Receive)?;
        let (pongs, _) = make_for(&names.pong, settings, End::Send)?;
        let mut ends = Ends { receiver: pings, sender: pongs, nonblocking: false };

        let address = format!("/{}", settings.name);
        if access == Access::Handed {
            // Opened anew: whether calls wait is kept with what was opened, and is for each side to say.
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

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let Some(name) = endpoint.address.strip_prefix('/').filter(|name| !name.contains('\0')) else {
            return Err(ConnectError::Endpoint(endpoint.address));
        };
        let ends = match <[OwnedFd; 2]>::try_from(endpoint.descriptors) {
            Ok([receiver, sender]) => {
                Ends { receiver: receiver.into(), sender: sender.into(), nonblocking: false }
            }
            Err(_) => open_ends(&queue_name(name, "ping"), &queue_name(name, "pong"))?,
        };
        let size = ends.receiver.message_size().while_doing("asking for the queue's message size")?;
        if size != settings.size {
            return Err(ConnectError::Endpoint(endpoint.address));
        }
        Ok(Box::new(MessageClient::prove(ends, settings, watch)?))
    }

    fn remove_leftovers(&self, name: &str) {
        drop(Names::of(name));
    }
}

/// The queues' names, which end with the value.
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

/// The largest message, and the setting that decides it.
struct Largest {
    size: usize,
    limit: String,
}

impl Largest {
    /// As this process may have it, if its user has no other queues: how many bytes those take nobody tells.
    fn here() -> Self {
        let longest = sysctl("fs/mqueue/msgsize_max").and_then(|text| text.parse().ok());
        Self::of(longest.unwrap_or(DEFAULT_MAX_SIZE), getrlimit(Resource::Msgqueue).current)
    }

    fn of(longest: usize, bytes: Option<u64>) -> Self {
        // Two queues, of one message each.
        let each =
            bytes.map(|bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX).saturating_sub(OVERHEAD));
        let size = longest.min(each.unwrap_or(usize::MAX)).clamp(MIN_SIZE, Capabilities::MAX_SIZE);
        let limit = match (bytes, each) {
            (Some(bytes), Some(each)) if each < longest => format!(
                "a user's queues may take {bytes} bytes together, and a channel has two; raise RLIMIT_MSGQUEUE (ulimit \
                 -q, LimitMSGQUEUE= in a unit)"
            ),
            _ => format!("fs.mqueue.msgsize_max is {longest}"),
        };
        Self { size, limit }
    }
}

/// The client's ends of these queues.
fn open_ends(ping: &CString, pong: &CString) -> Result<Ends, CallError> {
    let sender = MessageQueue::open(ping, End::Send).while_doing("opening the message queue")?;
    let receiver = MessageQueue::open(pong, End::Receive).while_doing("opening the message queue")?;
    Ok(Ends { receiver, sender, nonblocking: false })
}

/// A queue that the client may open, or is to be handed.
fn make_for(name: &CString, settings: &Settings, end: End) -> Result<(MessageQueue, Access), CallError> {
    let queue = make(name, settings.size, end)?;
    // Its name is a file only where somebody has mounted the queues' file system; its descriptor always is.
    let path = PathBuf::from(format!("/proc/self/fd/{}", queue.as_fd().as_raw_fd()));
    let access = give_to_client(&path, settings.client).while_doing("opening the queue to the client")?;
    Ok((queue, access))
}

fn make(name: &CString, size: usize, end: End) -> Result<MessageQueue, CallError> {
    MessageQueue::make(name, size, end)
        .map_err(|error| match error.raw_os_error() {
            // The kernel tells a lack of descriptors by the same number.
            Some(libc::EMFILE) if find_descriptors(1).is_ok() => explain(
                error,
                format_args!(
                    "the queues of user {} may take {} bytes together; raise RLIMIT_MSGQUEUE (ulimit -q, LimitMSGQUEUE= \
                     in a unit)",
                    Owner::this().uid,
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

/// A limit of the kernel's for all queues.
fn setting(name: &str) -> String {
    sysctl(&format!("fs/mqueue/{name}")).unwrap_or_else(|| "so many".to_owned())
}

/// One side's ends.
#[derive(Debug)]
struct Ends {
    receiver: MessageQueue,
    sender: MessageQueue,
    nonblocking: bool,
}

impl Ends {
    /// Sleeps where the call itself, which does not block, would not.
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
    fn a_look_at_the_host_removes_what_one_that_was_killed_has_left() {
        let names = Names::of(&probe_name());
        // It is there already if another test looks just now.
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
    fn the_largest_message_is_what_the_narrowest_limit_leaves() {
        let of = |longest, bytes| {
            let Largest { size, limit } = Largest::of(longest, bytes);
            (size, limit.contains("RLIMIT_MSGQUEUE"))
        };
        assert_eq!(of(8192, Some(819_200)), (8192, false));
        assert_eq!(of(8192, None), (8192, false));
        assert_eq!(of(1 << 30, None), (16 << 20, false));
        assert_eq!(of(1 << 20, Some(819_200)), (819_200 / 2 - OVERHEAD, true));
        assert_eq!(of(8192, Some(1000)), (500 - OVERHEAD, true));
        assert_eq!(of(8192, Some(0)), (8, true), "none: the probe says so");
    }

    #[test]
    fn a_queue_that_may_not_wait_says_so() {
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
        assert_eq!(ends.send(b"12345678", Else::Return), Err(Errno::AGAIN), "there is room for one");
        assert_eq!(ends.receive(&mut buffer, Else::Sleep), Ok(8));
        assert_eq!(&buffer, b"12345678");
    }
}
