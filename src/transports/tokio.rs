//! `tokio`: a unix stream under tokio, what an asynchronous program pays.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::async_side::{Runtime, broken, offer_stream, take_stream, under};
use super::contract::While;
use super::payload::Payload;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Round,
    RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::Wait;

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
        round: "On each side a write, a read that finds nothing, an epoll_wait, and a read. The client enters the runtime \
                anew for each round, which takes less than 0.2 µs.",
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

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let stream = offer_stream(settings, supervisor)?;
        let runtime = Runtime::new(settings.wait).while_doing("starting tokio")?;
        let mut stream = under(&runtime, stream).while_doing("giving the socket to tokio")?;
        let mut buffer = vec![0; settings.size];
        runtime.serve(async {
            loop {
                let round = match stream.read_exact(&mut buffer).await {
                    Ok(_) => stream.write_all(&buffer).await,
                    Err(error) => Err(error),
                };
                match round.map_err(broken) {
                    Ok(()) => {}
                    Err(RoundError::PeerClosed) => return Ok(Served::ClientGone),
                    Err(error) => Err(std::io::Error::other(error)).while_doing("echoing")?,
                }
            }
        })
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let stream = take_stream(settings, endpoint, watch)?;
        let runtime = Runtime::new(settings.wait).while_doing("starting tokio")?;
        let stream = under(&runtime, stream).while_doing("giving the socket to tokio")?;
        Ok(Box::new(Client { runtime, stream, payload: Payload::new(settings.size, &settings.token) }))
    }
}

struct Client {
    // Before the runtime, which it belongs to.
    stream: UnixStream,
    runtime: Runtime,
    payload: Payload,
}

impl Round for Client {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        let Self { stream, runtime, payload } = self;
        let exchange = async {
            stream.write_all(payload.ping()).await.map_err(broken)?;
            stream.read_exact(payload.pong()).await.map_err(broken)?;
            Ok(())
        };
        runtime.wait_for(exchange, watch, round)?;
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}
