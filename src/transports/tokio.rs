//! `tokio`: a unix stream under tokio, what an asynchronous program pays.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::async_side::{self, Exchange, broken, offer, rounds, served, take};
use super::buffer::Buffer;
use super::payload::Payload;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, RoundError,
    Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "tokio",
    aliases: &[],
    group: Group::Frameworks,
    summary: "a unix stream under tokio",
    explanation: Explanation {
        choose: "Choose it to learn what an asynchronous program pays for a round trip, next to a program that blocks in \
                 the system call. It serves thousands of peers in one thread; for one peer it only costs.",
        limits: "A stream: messages need a frame of their own. Both sides run tokio's current-thread runtime; the \
                 multi-thread runtime hands work between threads and costs more. To spin, a task that always yields \
                 keeps the runtime from sleeping.",
        round: "On each side a write, a read that finds nothing, an epoll_wait, and a read: beside epoll, one read more. \
                What it costs beyond that is the program's: each wait leaves the task, looks for others, asks for events \
                of every source, and finds the task again by its waker. The client enters the runtime anew for each \
                round, which takes less than 0.2 µs. On two CPUs each side may be woken once more, since the \
                registration asks for room to write as well, and the peer's read makes some.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin],
    options: &[],
};

/// A unix stream under tokio.
pub(super) struct Tokio;

impl Mechanism for Tokio {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        let mut stream = runtime.stream(socket)?;
        let mut buffer = Buffer::new(settings.size);
        served(runtime.serve(async {
            loop {
                stream.read_exact(&mut buffer).await.map_err(broken)?;
                stream.write_all(&buffer).await.map_err(broken)?;
            }
        }))
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
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
