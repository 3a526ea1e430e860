//! `fifo`: two named pipes, one for each direction.
//!
//! The responder opens both ends of each, and hands the client its own. From then on the end of file reports the peer's death,
//! which an end opened for both directions would hide.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, mkfifoat, open};

use super::families::stream::{self, Files};
use super::place::{Entry, MAKING_A_PIPE, no_pipe, place, probe_pipe};
use super::prelude::*;

static INFO: Info = Info {
    name: "fifo",
    group: Group::Pipes,
    summary: "two named pipes",
    choose: "Choose it where a shell script takes part, since a file name is all that it needs. Once open, it is a \
             pipe and costs the same.",
    limits: "A stream, in one direction each. Opening waits for the other side. Several writers' bytes mix beyond \
             4096 (PIPE_BUF), and the file outlives a process that does not remove it. 64 KiB are buffered by default.",
    round: "One write and one read on each side; the kernel copies through its own page.",
    naming: Naming::File,
    ..Info::DEFAULT
};

/// Two named pipes.
pub(super) struct Fifo;

impl Mechanism for Fifo {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_pipe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let pipe = {
            let (reader, pings) = make(settings, "-ping")?;
            let (pongs, writer) = make(settings, "-pong")?;
            supervisor.ready("two named pipes", &[pongs.as_fd(), pings.as_fd()])?;
            // The client's ends close here: kept open, they would hide its death.
            Files { reader, writer }
        };
        stream::serve(&pipe, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let [reader, writer] = endpoint.handed()?;
        stream::connect(Files { reader, writer }, settings, watch)
    }
}

/// Makes a named pipe and opens its ends, for reading and for writing. Neither waits, since the other is open.
fn make(settings: &Settings, end: &str) -> Result<(OwnedFd, OwnedFd), CallError> {
    let entry = Entry::of(settings, end);
    mkfifoat(CWD, &entry.0, Mode::RUSR | Mode::WUSR)
        .map_err(|error| no_pipe(error, &place()))
        .while_doing(MAKING_A_PIPE)?;
    let ends = || {
        let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let reader = open(&entry.0, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let writer = open(&entry.0, flags | OFlags::WRONLY, Mode::empty())?;
        fcntl_setfl(&reader, OFlags::empty())?;
        Ok::<_, Errno>((reader, writer))
    };
    ends().while_doing("opening a named pipe")
}
