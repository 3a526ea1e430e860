//! What the mechanisms under tokio share: a runtime of one thread whose waits end, the unix stream below it, and the
//! client's rounds.
#![cfg_attr(not(feature = "full"), allow(dead_code, reason = "no single mechanism uses all of it"))]

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::net::SocketType;
use tokio::net::UnixStream;

use super::stream;
use crate::protocol::Wait;
use crate::shortage::explain_sandbox;
use crate::transports::contract::{CallError, ConnectError, Endpoint, RoundError, ServeError, While};
use crate::transports::payload::Payload;
use crate::transports::sys::Alarm;
use crate::transports::{Alive, Round, Rounds, Settings, Supervisor, Watch};

/// Whether tokio can start here.
pub(crate) fn probe() -> Result<(), CallError> {
    Runtime::new(Wait::Block).map(drop)
}

/// The future that the runtime waits for.
type Sleeper = Arc<Mutex<Option<Waker>>>;

/// A runtime of one thread.
///
/// tokio goes back to sleep when a signal interrupts it, so an [`Alarm`] wakes the future that it waits for; tokio's own
/// timers would put a clock read and a timeout into every wait.
#[derive(Debug)]
pub(crate) struct Runtime {
    runtime: tokio::runtime::Runtime,
    sleeper: Sleeper,
    /// What is in `sleeper`, to compare with: no lock is taken in a round.
    known: Option<Waker>,
}

impl Runtime {
    /// A runtime with this wait strategy, which is to block or to spin.
    pub(crate) fn new(wait: Wait) -> Result<Self, CallError> {
        Self::built(tokio::runtime::Builder::new_current_thread().enable_io(), wait)
    }

    /// As [`new`](Self::new), for a library that needs tokio's timers.
    #[cfg(feature = "zeromq")]
    pub(crate) fn with_timers(wait: Wait) -> Result<Self, CallError> {
        Self::built(tokio::runtime::Builder::new_current_thread().enable_io().enable_time(), wait)
    }

    fn built(builder: &mut tokio::runtime::Builder, wait: Wait) -> Result<Self, CallError> {
        Self::try_built(builder, wait).map_err(explain_sandbox).while_doing("starting tokio")
    }

    fn try_built(builder: &mut tokio::runtime::Builder, wait: Wait) -> io::Result<Self> {
        // A library may hand a call that blocks to a thread; idle, that would stay for ten seconds.
        let runtime = builder.thread_keep_alive(Duration::from_millis(1)).build()?;
        if wait == Wait::Spin {
            // A runtime with a task to run polls for events instead of sleeping.
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

    /// Runs the future to its end, or until a check of `alive` ends the wait.
    #[inline(always)]
    pub(crate) fn wait_for<T>(
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

    /// Runs the future until it, the peer or this process ends.
    pub(crate) fn serve<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The socket as a stream of this runtime.
    pub(crate) fn stream(&self, socket: OwnedFd) -> Result<UnixStream, CallError> {
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
/// A socket pair needs no name, no permissions and no removal; once connected, it is the same as a socket that had a name.
pub(crate) fn offer(
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<(Runtime, OwnedFd), ServeError> {
    let socket = stream::offer_pair(SocketType::STREAM, settings, supervisor)?;
    Ok((Runtime::new(settings.wait)?, socket.0))
}

/// The client's runtime, and its end of that stream.
pub(crate) fn take(
    settings: &Settings,
    endpoint: Endpoint,
    watch: &mut Watch,
) -> Result<(Runtime, OwnedFd), ConnectError> {
    let socket = stream::take_pair(settings, endpoint, watch)?;
    Ok((Runtime::new(settings.wait)?, socket.0))
}

/// What a client's round does under the runtime: sends the ping and receives the pong.
pub(crate) trait Exchange: 'static {
    /// One round trip of the payload, whose round is stamped before and checked after.
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError>;
}

/// The client's side of a mechanism under tokio.
struct Client<E> {
    // Dropped before the runtime that it belongs to.
    exchange: E,
    runtime: Runtime,
    payload: Payload,
}

/// The client's rounds.
pub(crate) fn rounds(exchange: impl Exchange, runtime: Runtime, settings: &Settings) -> Box<dyn Rounds> {
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

/// What an error of a stream, or of a library because of its stream, means to a round.
pub(crate) fn broken(error: impl Error + Send + Sync + 'static) -> RoundError {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        // zbus shares the error among its waiting tasks.
        let shared = || error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
        let kind = error.downcast_ref::<io::Error>().or_else(shared).map(io::Error::kind);
        if matches!(kind, Some(BrokenPipe | ConnectionReset | UnexpectedEof)) {
            return RoundError::PeerClosed;
        }
        cause = error.source();
    }
    RoundError::System(io::Error::other(error))
}
