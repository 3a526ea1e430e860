//! What an attack is: attackers that go on until it is over, and count what they see.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ipcd::internals::protocol::{GREETING_LEN, Greeting};

use crate::harness::Daemon;

/// What attackers count, so that a flood that does not flood is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Connections that were made.
    Connected,
    /// Those of them that the daemon has greeted.
    Greeted,
    /// Those that the daemon has ended.
    Dropped,
    /// Channels that were opened.
    Opened,
    /// What was refused: channels, or connections with the reason.
    Refused,
    /// Bytes that the daemon was sent.
    Sent,
}

/// An attack that goes on.
pub(super) struct Attack<'a> {
    pub(super) daemon: &'a Daemon,
    pub(super) over: AtomicBool,
    /// Attackers that have begun.
    pub(super) in_place: AtomicUsize,
    pub(super) seen: [AtomicU64; 6],
}

impl Attack<'_> {
    pub(super) fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Said by each attacker once it does what it is there for.
    pub(super) fn in_place(&self) {
        self.in_place.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn count(&self, seen: Seen, count: usize) {
        self.seen[seen as usize].fetch_add(count as u64, Ordering::SeqCst);
    }

    pub(super) fn counted(&self, seen: Seen) -> u64 {
        self.seen[seen as usize].load(Ordering::SeqCst)
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.daemon.socket)?;
        self.count(Seen::Connected, 1);
        Ok(stream)
    }

    pub(super) fn greeted(&self) -> io::Result<UnixStream> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&Greeting::OURS.to_bytes())?;
        stream.read_exact(&mut [0; GREETING_LEN])?;
        self.count(Seen::Greeted, 1);
        Ok(stream)
    }

    /// Sends what is taken.
    pub(super) fn send(&self, mut stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
        self.count(Seen::Sent, stream.write(bytes)?);
        Ok(())
    }

    /// Keeps connections doing something bad; those that the daemon ends are opened anew.
    pub(super) fn keep<T>(
        &self,
        count: usize,
        pause: Duration,
        connect: impl Fn() -> io::Result<T>,
        act: impl Fn(&mut T) -> io::Result<()>,
    ) {
        let mut peers: Vec<Option<T>> = (0..count).map(|_| None).collect();
        let mut begun = false;
        while self.goes_on() {
            for peer in &mut peers {
                if peer.is_none() {
                    *peer = connect().ok();
                }
                match peer.as_mut().map(&act) {
                    None | Some(Ok(())) => {}
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Some(Err(_)) => {
                        self.count(Seen::Dropped, 1);
                        *peer = None;
                    }
                }
                if !self.goes_on() {
                    return;
                }
            }
            if !begun {
                begun = true;
                self.in_place();
            }
            thread::sleep(pause);
        }
    }
}
