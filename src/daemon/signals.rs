//! Signals, as descriptors that become readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::low_level::pipe;

/// Signals of one kind: readable once one has come.
#[derive(Debug)]
pub(super) struct Signals {
    reader: OwnedFd,
}

impl Signals {
    /// Those that ask for the end: SIGINT, which is the same wherever there are terminals, and SIGTERM.
    pub(super) fn to_stop() -> io::Result<Self> {
        let (signals, writer) = Self::of(SIGTERM)?;
        // Full means that it is readable already.
        ctrlc::set_handler(move || _ = rustix::io::write(&writer, &[0])).map_err(io::Error::other)?;
        Ok(signals)
    }

    /// The one that asks for the configuration to be read again.
    pub(super) fn to_reload() -> io::Result<Self> {
        Ok(Self::of(SIGHUP)?.0)
    }

    /// Takes what has come, so that the next one is heard.
    pub(super) fn clear(&self) {
        while rustix::io::read(&self.reader, &mut [0; 64]).is_ok_and(|n| n > 0) {}
    }

    /// One signal, and what makes it readable for another reason.
    fn of(signal: i32) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The handler writes a byte; full means that it is readable already.
        pipe::register(signal, writer.try_clone()?)?;
        Ok((Self { reader }, writer))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
