//! `tokio`: a unix stream under tokio, what an asynchronous program pays.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::families::async_side::{self, Exchange, broken, offer, rounds, take};
use super::prelude::*;

static INFO: Info = Info {
    name: "tokio",
    group: Group::Frameworks,
    summary: "a unix stream under tokio",
    choose: "Choose it to learn what an asynchronous program pays for a round trip, compared with a program that blocks in \
             the system call. It serves thousands of peers in one thread; for one peer it is pure overhead.",
    limits: "A stream: messages need framing. Both sides run tokio's current-thread runtime; the \
             multi-thread runtime hands work between threads and costs more. To spin, a task that always yields \
             keeps the runtime from sleeping.",
    round: "On each side a write, a read that finds nothing, an epoll_wait, and a read: beside epoll, one read more. \
            The rest of the cost is the program's: each wait leaves the task, checks for others, polls every event \
            source, and finds the task again by its waker. The client enters the runtime again for each \
            round. On two CPUs each side may be woken once more, since the \
            registration includes writability, and the peer's read frees buffer space.",
    waits: &[Wait::Block, Wait::Spin],
    ..Info::DEFAULT
};

/// A unix stream under tokio.
pub(super) struct Tokio;

impl Mechanism for Tokio {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        let mut stream = runtime.stream(socket)?;
        let mut buffer = Buffer::new(settings.size);
        let echo = runtime.serve(async {
            loop {
                if let Err(error) = stream.read_exact(&mut buffer).await {
                    break error;
                }
                if let Err(error) = stream.write_all(&buffer).await {
                    break error;
                }
            }
        });
        echo_ended(broken(echo))
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let (runtime, socket) = take(settings, endpoint, watch)?;
        Ok(rounds(runtime.stream(socket)?, runtime, settings))
    }
}

impl Exchange for UnixStream {
    #[inline(always)]
    async fn exchange(&mut self, payload: &mut Payload, _: u64) -> Result<(), RoundError> {
        self.write_all(payload.ping()).await.map_err(broken)?;
        self.read_exact(payload.pong()).await.map_err(broken)?;
        Ok(())
    }
}
