//! What the mechanisms under tokio share: a runtime of one thread whose waits end, the unix stream below it, and the
//! client's rounds.
#![cfg_attr(not(feature = "full"), allow(dead_code, reason = "one mechanism alone does not use all of it"))]

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixStream;

use super::contract::While;
use super::payload::Payload;
use super::stream::Socket;
use super::sys::Alarm;
use super::{
    Alive, CallError, ConnectError, Endpoint, Round, RoundError, Rounds, ServeError, Served, Settings,
    Supervisor, Watch, proof,
};
use crate::protocol::Wait;
use crate::shortage::explain_sandbox;

/// Whether tokio can start here.
pub(super) fn probe() -> Result<(), CallError> {
    Runtime::new(Wait::Block).map(drop)
}

/// The future that the runtime waits for.
type Sleeper = Arc<Mutex<Option<Waker>>>;

/// A runtime of one thread.
///
/// tokio goes back to sleep when a signal interrupts it. So an [`Alarm`] wakes the future that is waited for; tokio's own
/// timers would put a clock read and a timeout into every wait.
#[derive(Debug)]
pub(super) struct Runtime {
    runtime: tokio::runtime::Runtime,
    sleeper: Sleeper,
    /// What is in `sleeper`, to compare with: no lock is taken in a round.
    known: Option<Waker>,
}

impl Runtime {
    /// A runtime that waits so; it can block and spin.
    fn new(wait: Wait) -> Result<Self, CallError> {
        Self::built(tokio::runtime::Builder::new_current_thread().enable_io(), wait)
            .map_err(explain_sandbox)
            .while_doing("starting tokio")
    }

    /// As [`new`](Self::new), for a library that needs tokio's timers.
    #[cfg(feature = "zeromq")]
    pub(super) fn with_timers(wait: Wait) -> Result<Self, CallError> {
        Self::built(tokio::runtime::Builder::new_current_thread().enable_io().enable_time(), wait)
            .map_err(explain_sandbox)
            .while_doing("starting tokio")
    }

    fn built(builder: &mut tokio::runtime::Builder, wait: Wait) -> io::Result<Self> {
        // A library may hand a call that blocks to a thread; idle, that would stay for ten seconds.
        let runtime = builder.thread_keep_alive(Duration::from_millis(1)).build()?;
        if wait == Wait::Spin {
            // A runtime that has something to run does not sleep, but looks for events and goes on.
            runtime.spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        let sleeper = Sleeper::default();
        {
            let _inside = runtime.enter();
            runtime.spawn(ring(Alarm::start()?, sleeper.clone()));
        }
        Ok(Self { runtime, sleeper, known: None })
    }

    /// Runs the future to its end, or until it is not worth waiting for.
    #[inline(always)]
    pub(super) fn wait_for<T>(
        &mut self,
        future: impl Future<Output = Result<T, RoundError>>,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<T, RoundError> {
        let Self { runtime, sleeper, known } = self;
        let mut future = pin!(future);
        runtime.block_on(poll_fn(|context| {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            if alive.due()
                && let Err(error) = alive.check(round)
            {
                return Poll::Ready(Err(error));
            }
            if !known.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *known = Some(context.waker().clone());
                sleeper.lock().unwrap_or_else(PoisonError::into_inner).clone_from(known);
            }
            Poll::Pending
        }))
    }

    /// Runs the future to its end, which the peer's or this process's brings.
    pub(super) fn serve<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The socket, as this runtime has it.
    pub(super) fn stream(&self, socket: OwnedFd) -> Result<UnixStream, CallError> {
        let adopt = || {
            let stream = StdUnixStream::from(socket);
            stream.set_nonblocking(true)?;
            let _inside = self.runtime.enter();
            UnixStream::from_std(stream)
        };
        adopt().while_doing("giving the socket to tokio")
    }
}

async fn ring(alarm: Alarm, sleeper: Sleeper) {
    while alarm.ring().await.is_ok() {
        if let Some(waker) = &*sleeper.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// The responder's runtime, and its end of a unix stream whose client has proved itself.
///
/// A socket pair has no name to be found, to be let into, or to be removed; once connected, it is the same as a socket
/// that had one.
pub(super) fn offer(
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(Runtime, OwnedFd), ServeError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .while_doing("making a socket pair")?;
    supervisor.ready("a socket pair", &[theirs.as_fd()])?;
    // Kept open, it would hide the client's death.
    drop(theirs);
    let socket = Socket(ours);
    proof::check_peer(&socket, &settings.token, supervisor)?;
    supervisor.proven()?;
    Ok((Runtime::new(settings.wait)?, socket.0))
}

/// The client's runtime, and its end of that stream.
pub(super) fn take(
    settings: &Settings,
    endpoint: Endpoint,
    watch: &mut Watch,
) -> Result<(Runtime, OwnedFd), ConnectError> {
    let [stream]: [OwnedFd; 1] =
        endpoint.descriptors.try_into().map_err(|_| ConnectError::Endpoint(endpoint.address))?;
    let socket = Socket(stream);
    proof::prove(&socket, &settings.token, watch)?;
    Ok((Runtime::new(settings.wait)?, socket.0))
}

/// What a client's round does under the runtime: sends the ping and receives the pong.
pub(super) trait Exchange: 'static {
    /// One round trip of the payload, whose round is stamped before and checked after.
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError>;
}

/// The client's side of a mechanism under tokio.
struct Client<E> {
    // Before the runtime, which it belongs to.
    exchange: E,
    runtime: Runtime,
    payload: Payload,
}

/// The client's rounds.
pub(super) fn rounds(exchange: impl Exchange, runtime: Runtime, settings: &Settings) -> Box<dyn Rounds> {
    Box::new(Client { exchange, runtime, payload: Payload::new(settings.size, &settings.token) })
}

impl<E: Exchange> Round for Client<E> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        let Self { exchange, runtime, payload } = self;
        runtime.wait_for(exchange.exchange(payload, round), watch, round)?;
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// How a responder that echoed until its stream ended has ended.
pub(super) fn served(end: Result<(), RoundError>) -> Result<Served, ServeError> {
    match end {
        Ok(()) | Err(RoundError::PeerClosed) => Ok(Served::ClientGone),
        Err(error) => Err(io::Error::other(error)).while_doing("echoing")?,
    }
}

/// What an error means to a round: of the stream, or of a library and caused by the stream's.
pub(super) fn broken(error: impl Error + Send + Sync + 'static) -> RoundError {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        // zbus shares it among those who wait.
        let shared = || error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
        let kind = error.downcast_ref::<io::Error>().or_else(shared).map(io::Error::kind);
        if matches!(kind, Some(BrokenPipe | ConnectionReset | UnexpectedEof)) {
            return RoundError::PeerClosed;
        }
        cause = error.source();
    }
    RoundError::System(io::Error::other(error))
}
