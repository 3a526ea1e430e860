//! `fifo`: two named pipes, one for each direction.
//!
//! Each side opens each pipe for one direction only. That waits for the other side, both in the same order, and
//! from then on the end of file reports the peer's death, which an end opened for both directions would hide.
//!
//! A client that may not open them by name is handed its ends, which the responder opens for it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, mkfifoat, open};

use super::families::stream::{self, Files};
use super::place::{Access, Folder, MAKING_A_PIPE, give_to_client, no_pipe, probe_pipe};
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
    naming: Naming::Folder,
    ..Info::DEFAULT
};

/// The pipe that carries pings, and the one that carries pongs.
const PING: &str = "ping";
const PONG: &str = "pong";

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
        let folder = Folder::make(settings)?;
        let ((ping, access), (pong, _)) = (make(&folder, PING, settings)?, make(&folder, PONG, settings)?);
        let path = ping.parent().and_then(Path::to_str);
        let path = path.ok_or(Errno::ILSEQ).while_doing("naming the channel's folder")?;
        let pipe = if access == Access::Handed {
            let (reader, pings) = both_ends(&ping).while_doing(OPENING_PINGS)?;
            let (pongs, writer) = both_ends(&pong).while_doing(OPENING_PONGS)?;
            supervisor.ready(path, &[pongs.as_fd(), pings.as_fd()])?;
            Files { reader, writer }
        } else {
            supervisor.ready(path, &[])?;
            let reader = open_end(&ping, OFlags::RDONLY, supervisor)?.while_doing(OPENING_PINGS)?;
            let writer = open_end(&pong, OFlags::WRONLY, supervisor)?.while_doing(OPENING_PONGS)?;
            Files { reader, writer }
        };
        drop(folder);
        stream::serve(&pipe, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let pipe = if endpoint.descriptors.is_empty() && endpoint.address.starts_with('/') {
            let folder = Path::new(&endpoint.address);
            watch.restart();
            let writer = open_end(&folder.join(PING), OFlags::WRONLY, watch)?.while_doing(OPENING_PINGS)?;
            let reader = open_end(&folder.join(PONG), OFlags::RDONLY, watch)?.while_doing(OPENING_PONGS)?;
            Files { reader, writer }
        } else {
            let [reader, writer] = endpoint.handed()?;
            Files { reader, writer }
        };
        stream::connect(pipe, settings, watch)
    }
}

const OPENING_PINGS: &str = "opening the pipe of the pings";
const OPENING_PONGS: &str = "opening the pipe of the pongs";

/// Makes a pipe that the client may open or is handed.
fn make(folder: &Folder, name: &str, settings: &Settings) -> Result<(PathBuf, Access), CallError> {
    let path = folder.join(name);
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)
        .map_err(|error| no_pipe(error, &folder.path))
        .while_doing(MAKING_A_PIPE)?;
    let access = give_to_client(&path, settings.client).while_doing("opening a named pipe to the client")?;
    Ok((path, access))
}

/// Opens a pipe's ends for reading and for writing, and neither waits, since the other is open.
fn both_ends(path: &Path) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let reader = open(path, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let writer = open(path, flags | OFlags::WRONLY, Mode::empty())?;
    fcntl_setfl(&reader, OFlags::empty())?;
    Ok((reader, writer))
}

/// Opens one end, which waits until the other is opened. The outer error is the wait's, the inner one the system's.
fn open_end(
    path: &Path,
    access: OFlags,
    alive: &mut impl Alive,
) -> Result<Result<OwnedFd, Errno>, RoundError> {
    loop {
        match open(path, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::INTR) => alive.check(0)?,
            other => return Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::probe_name;
    use super::*;

    #[test]
    fn a_probe_removes_the_leftovers_of_a_killed_probe() {
        let left = std::env::temp_dir().join(probe_name());
        // It exists already if another test probes at the same time.
        let _ = mkfifoat(CWD, &left, Mode::RUSR | Mode::WUSR);
        Fifo.probe().unwrap();
        let start = std::time::Instant::now();
        while left.exists() {
            assert!(start.elapsed().as_secs() < 5, "it is left");
            std::thread::yield_now();
        }
    }
}
