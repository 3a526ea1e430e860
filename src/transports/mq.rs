//! `mq`: two POSIX message queues, one for each direction.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Resource;

use super::contract::While;
use super::messages::{self, Else, MessageClient, Messages};
use super::place::{Access, give_to_client};
use super::sys::find_descriptors;
use super::sys::mq::{End, MessageQueue};
use super::{
    CallError, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Owner,
    Reach, Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::shortage::{because, limit, sysctl};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "mq",
    aliases: &[],
    group: Group::Queues,
    summary: "two POSIX message queues",
    explanation: Explanation {
        choose: "Choose it where messages have priorities, or where one process leaves messages for another that need \
                 not run yet. It can be polled like a file.",
        limits: "A message is no longer than /proc/sys/fs/mqueue/msgsize_max says, 8192 bytes by default, and a user's \
                 queues together no larger than RLIMIT_MSGQUEUE. A queue lives until its name is removed, also \
                 without any process; it does not tell that the peer has died.",
        round: "One mq_send and one mq_receive on each side; the kernel copies each message into memory of its own, \
                or straight to a receiver that sleeps.",
    },
    delivery: Delivery::Message,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// The longest message by default, and without a `/proc` that tells.
const DEFAULT_MAX_SIZE: usize = 8192;

/// POSIX message queues.
pub(super) struct PosixQueue;

impl Mechanism for PosixQueue {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        let limit = fs::read_to_string("/proc/sys/fs/mqueue/msgsize_max");
        let limit = limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_MAX_SIZE);
        Capabilities { max_size: limit.min(Capabilities::MAX_SIZE), ..Capabilities::ANY_SIZE }
    }

    fn capabilities_anywhere(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        match MessageQueue::open(c"/ipcd-no-such-queue", End::Receive) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(Unavailable(
                "this kernel was built without POSIX message queues (CONFIG_POSIX_MQUEUE)".into(),
            )),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                Err(Unavailable("a sandbox (seccomp) forbids POSIX message queues".into()))
            }
            // There is no such queue, as it should be.
            _ => Ok(()),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let names = Names::of(&settings.name);
        let (pings, access) = make(&names.ping, settings, End::Receive)?;
        let (pongs, _) = make(&names.pong, settings, End::Send)?;
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

/// The client's ends of these queues.
fn open_ends(ping: &CString, pong: &CString) -> Result<Ends, CallError> {
    let sender = MessageQueue::open(ping, End::Send).while_doing("opening the message queue")?;
    let receiver = MessageQueue::open(pong, End::Receive).while_doing("opening the message queue")?;
    Ok(Ends { receiver, sender, nonblocking: false })
}

fn make(name: &CString, settings: &Settings, end: End) -> Result<(MessageQueue, Access), CallError> {
    let queue = MessageQueue::make(name, settings.size, end)
        .map_err(|error| match error.raw_os_error() {
            // The kernel tells a lack of descriptors by the same number.
            Some(libc::EMFILE) if find_descriptors(1).is_ok() => because(
                error,
                format_args!(
                    "the queues of user {} may take {} bytes together; raise RLIMIT_MSGQUEUE (ulimit -q, LimitMSGQUEUE= \
                     in a unit)",
                    Owner::this().uid,
                    limit(Resource::Msgqueue)
                ),
            ),
            Some(libc::ENOSPC) => because(
                error,
                format_args!("there may be {} queues; raise fs.mqueue.queues_max", setting("queues_max")),
            ),
            Some(libc::EINVAL) => because(
                error,
                format_args!(
                    "a queue may hold {} messages of {} bytes; raise fs.mqueue.msg_max or fs.mqueue.msgsize_max",
                    setting("msg_max"),
                    setting("msgsize_max")
                ),
            ),
            _ => error,
        })
        .while_doing("making a message queue")?;
    // Its name is a file only where somebody has mounted the queues' file system; its descriptor always is.
    let path = PathBuf::from(format!("/proc/self/fd/{}", queue.as_fd().as_raw_fd()));
    let access = give_to_client(&path, settings.client).while_doing("opening the queue to the client")?;
    Ok((queue, access))
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
