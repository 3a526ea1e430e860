//! Metrics over HTTP: the daemon's own counters and the results in a file. No request starts a measurement.
//!
//! The daemon's loop serves them beside its clients. No call here blocks. A scraper has one request of bounded size and time,
//! and one answer; between scrapes nothing wakes the daemon.

mod http;
mod results;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::debug;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, sockopt};

use self::http::{Request, Scrape, Status};
use self::results::Results;
use super::counters::gauge;
use super::socket::{Access, BindError, Bound, bind};
use crate::config::MetricsAddress;
use crate::exposition::{self, Family};
use crate::protocol::SocketAddress;
use crate::transports::sys::refuse_descriptors;

/// How many scrapers are served at a time. Others are asked to retry.
pub(super) const MOST_SCRAPES: usize = 8;

/// How long no scraper is accepted after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint and its scrapers.
#[derive(Debug)]
pub(super) struct Metrics {
    listener: Listener,
    results: Option<Results>,
    scrapes: Vec<Scrape>,
    accept_paused: Option<Instant>,
    /// Answers by status code.
    answers: BTreeMap<u16, u64>,
}

/// Where metrics are served. The files of a unix socket are removed with it.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(Bound),
    /// A unix socket of the service manager's, which keeps it.
    Activated(OwnedFd),
}

impl Metrics {
    /// Serves metrics at `address`. A unix socket is open to those that `access` allows. `results` is the file of results.
    ///
    /// # Errors
    /// The address is in use, or the system refuses.
    pub(super) fn bind(
        address: &MetricsAddress,
        access: Access,
        results: Option<PathBuf>,
    ) -> Result<Self, BindError> {
        let listener = match address {
            MetricsAddress::Tcp(at) => {
                let listener = TcpListener::bind(at)
                    .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                    .map_err(|source| BindError::metrics(address, source))?;
                Listener::Tcp(listener)
            }
            MetricsAddress::Unix(path) => {
                let mut bound = bind(&SocketAddress::resolve(Some(path)))?;
                bound.set_access(access)?;
                Listener::Unix(bound)
            }
        };
        Ok(Self::new(listener, results))
    }

    /// Serves metrics at a socket of the service manager's.
    ///
    /// # Errors
    /// It is not a listening TCP or unix stream socket.
    pub(super) fn activated(socket: OwnedFd, results: Option<PathBuf>) -> Result<Self, BindError> {
        let wrong = |found| BindError::Activation { wanted: "TCP or unix stream socket for metrics", found };
        let inspect = || {
            let family = sockopt::socket_domain(&socket)?;
            let listens =
                sockopt::socket_type(&socket)? == SocketType::STREAM && sockopt::socket_acceptconn(&socket)?;
            ioctl_fionbio(&socket, true)?;
            Ok((family, listens))
        };
        let listener = match inspect().map_err(|error: Errno| wrong(error.to_string()))? {
            (AddressFamily::INET | AddressFamily::INET6, true) => Listener::Tcp(socket.into()),
            (AddressFamily::UNIX, true) => {
                refuse_descriptors(&socket);
                Listener::Activated(socket)
            }
            _ => return Err(wrong("one that does not listen, or of another kind".to_owned())),
        };
        Ok(Self::new(listener, results))
    }

    fn new(listener: Listener, results: Option<PathBuf>) -> Self {
        let (scrapes, answers) = (Vec::new(), BTreeMap::new());
        Self { listener, results: results.map(Results::new), scrapes, accept_paused: None, answers }
    }

    /// Whether other hosts may reach it.
    pub(super) fn is_open(&self) -> bool {
        match &self.listener {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or(true, |address| !address.ip().to_canonical().is_loopback())
            }
            Listener::Unix(_) | Listener::Activated(_) => false,
        }
    }

    /// Its address, in the form that curl takes.
    pub(super) fn address(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}/metrics"),
                Err(error) => format!("an unknown address: {error}"),
            },
            Listener::Unix(bound) => format!("{}, path /metrics", bound.path().display()),
            Listener::Activated(_) => "the service manager's socket, path /metrics".to_owned(),
        }
    }

    /// Its unix socket, if this process has made one.
    pub(super) fn bound(&self) -> Option<&Bound> {
        match &self.listener {
            Listener::Unix(bound) => Some(bound),
            Listener::Tcp(_) | Listener::Activated(_) => None,
        }
    }

    /// The same, to make its files again.
    pub(super) fn bound_mut(&mut self) -> Option<&mut Bound> {
        match &mut self.listener {
            Listener::Unix(bound) => Some(bound),
            Listener::Tcp(_) | Listener::Activated(_) => None,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(bound) => bound.as_fd(),
            Listener::Activated(socket) => socket.as_fd(),
        }
    }

    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = PollFd::from_borrowed_fd(self.fd(), PollFlags::IN);
        Some(listener)
            .filter(|_| self.accept_paused.is_none())
            .into_iter()
            .chain(self.scrapes.iter().map(Scrape::poll_fd))
    }

    /// When the next scraper is overdue, or accepting resumes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.scrapes.iter().map(Scrape::deadline).chain(self.accept_paused).min()
    }

    /// Whether no scraper is connected, and none can be waiting.
    pub(super) fn is_quiet(&self) -> bool {
        self.scrapes.is_empty() && self.accept_paused.is_none()
    }

    /// Accepts scrapers, reads and writes what their sockets allow, and ends those that are overdue. `own` returns the
    /// daemon's metrics.
    pub(super) fn serve(&mut self, own: impl Fn() -> Vec<Family>) {
        let now = Instant::now();
        self.accept(now);
        let mut scrapes = std::mem::take(&mut self.scrapes);
        scrapes.retain_mut(|scrape| {
            match scrape.read(now) {
                Ok(None) => {}
                Ok(Some(Request { status, is_head })) => {
                    *self.answers.entry(status.code()).or_default() += 1;
                    let (text, results) = match status {
                        Status::OK => self.exposition(own()),
                        other => (other.text(), None),
                    };
                    scrape.answer(now, status, is_head, text, results);
                }
                Err(()) => return false,
            }
            scrape.write(now)
        });
        self.scrapes = scrapes;
    }

    /// The text of the daemon's metrics, and the results to follow it.
    fn exposition(&mut self, mut families: Vec<Family>) -> (String, Option<Rc<str>>) {
        let mut answers = Family::counter(
            "ipcd_service_http_responses_total",
            "Responses to scrapers by status code, this one included.",
        );
        for (code, count) in &self.answers {
            answers.add(&[("code", &code.to_string())], *count as f64);
        }
        families.push(answers);
        let results = self.results.as_mut().map(Results::read);
        if let Some(results) = &results {
            families.push(gauge(
                "ipcd_service_results_up",
                "1 if the file of results is exported, 0 if it is missing or unusable.",
                f64::from(u8::from(results.is_some())),
            ));
        }
        (exposition::text(families), results.flatten())
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_paused.is_some_and(|until| until > now) {
            return;
        }
        self.accept_paused = None;
        // One more than the limit is turned away; the next turn continues.
        for _ in 0..=MOST_SCRAPES {
            match accept_with(self.fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => {
                    let mut scrape = Scrape::new(socket, now);
                    if self.scrapes.len() < MOST_SCRAPES {
                        self.scrapes.push(scrape);
                    } else {
                        *self.answers.entry(Status::BUSY.code()).or_default() += 1;
                        scrape.answer(now, Status::BUSY, false, Status::BUSY.text(), None);
                        // A new socket has room for it.
                        scrape.write(now);
                    }
                }
                Err(Errno::AGAIN) => return,
                // The scraper has disconnected.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    debug!("cannot accept a scraper for now: {error}");
                    self.accept_paused = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}
