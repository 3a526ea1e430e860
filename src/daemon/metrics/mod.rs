//! Metrics over HTTP: who asks is told the daemon's own counters and the results in a file, never a measurement.
//!
//! The daemon's loop serves them beside its clients. No call here blocks; a scraper has a request of bounded size and
//! time, one answer, and is gone: between two of them nothing wakes the daemon.

mod endpoint;
mod request;
mod results;
mod scrape;
mod serve;

pub(crate) use endpoint::Endpoint;
pub(super) use endpoint::MOST_SCRAPES;
use request::{Request, Status};
use scrape::Scrape;
pub(crate) use serve::Metrics;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::debug;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

/// How long nobody is accepted after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is told beside the daemon's own counters.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The results; `None` without a file for them, or if it cannot be used.
    pub(super) results: Option<Rc<str>>,
    /// Whether it can, if there is one.
    pub(super) usable: Option<bool>,
}

/// The endpoint and those that ask, of whom there may be none.
#[derive(Debug)]
pub(super) struct Scrapes {
    endpoint: Endpoint,
    asking: Vec<Scrape>,
    accept_again: Option<Instant>,
    /// Answers by their codes.
    answers: BTreeMap<u16, u64>,
}

impl Scrapes {
    pub(super) fn at(endpoint: Endpoint) -> Self {
        Self { endpoint, asking: Vec::new(), accept_again: None, answers: BTreeMap::new() }
    }

    /// What to wait for, first the endpoint.
    pub(super) fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listening = Some(&self.endpoint).filter(|_| self.accept_again.is_none()).into_iter();
        let listening = listening.map(|endpoint| PollFd::from_borrowed_fd(endpoint.fd(), PollFlags::IN));
        listening
            .chain(self.asking.iter().map(|scrape| PollFd::from_borrowed_fd(scrape.fd(), scrape.interest())))
    }

    /// By when something has to have happened.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asking.iter().map(Scrape::deadline).chain(self.accept_again).min()
    }

    /// Whether there is nobody, and nothing to wait for.
    pub(super) fn is_quiet(&self) -> bool {
        self.asking.is_empty() && self.accept_again.is_none()
    }

    /// Answers so far, by their codes.
    pub(super) fn answers(&self) -> &BTreeMap<u16, u64> {
        &self.answers
    }

    /// What is in the file of results now.
    pub(super) fn told(&mut self) -> Told {
        match self.endpoint.results() {
            None => Told { results: None, usable: None },
            Some(results) => {
                let text = results.read();
                Told { usable: Some(text.is_some()), results: text }
            }
        }
    }

    /// Accepts who is there, reads and writes what can be, and ends what takes too long. `text` makes the metrics.
    pub(super) fn serve(&mut self, mut text: impl FnMut(&mut Self) -> (String, Option<Rc<str>>)) {
        let now = Instant::now();
        self.accept(now);
        let mut asking = std::mem::take(&mut self.asking);
        asking.retain_mut(|scrape| {
            match scrape.read(now) {
                Ok(None) => {}
                Ok(Some(Request { status, is_head })) => {
                    *self.answers.entry(status.code()).or_default() += 1;
                    let (own, results) = match status {
                        Status::Ok => text(self),
                        other => (other.text(), None),
                    };
                    scrape.answer(now, status, is_head, own, results);
                }
                Err(()) => return false,
            }
            scrape.write(now)
        });
        self.asking = asking;
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|again| again > now) {
            return;
        }
        self.accept_again = None;
        // One more than there may be: it is told so, and the next turn goes on.
        for _ in 0..=MOST_SCRAPES {
            match self.endpoint.accept() {
                Ok(socket) => {
                    let mut scrape = Scrape::new(socket, now);
                    if self.asking.len() < MOST_SCRAPES {
                        self.asking.push(scrape);
                    } else {
                        *self.answers.entry(Status::Busy.code()).or_default() += 1;
                        scrape.answer(now, Status::Busy, false, Status::Busy.text(), None);
                        // A fresh socket takes so much at once.
                        scrape.write(now);
                    }
                }
                Err(Errno::AGAIN) => return,
                // It went away again.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    debug!("cannot accept who asks for metrics for now: {error}");
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}
