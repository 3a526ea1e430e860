//! `fifo`: two named pipes, one for each direction.
//!
//! Each side opens each pipe for its one direction only. That waits for the other side, both in the same order, and
//! from then on the end of file tells of the peer's death, which an end that was opened both ways would hide.
//!
//! A client that may not open them by their names is handed its ends, which the responder opens for it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, mkfifoat, open};
use rustix::io::Errno;

use super::contract::While;
use super::place::{Access, Folder, MAKING_A_PIPE, give_to_client, probe_pipe, remove_folder, remove_pipe};
use super::proof::proof_broke_off;
use super::stream::{Files, StreamClient, echo};
use super::{
    Alive, CallError, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism,
    Reach, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "fifo",
    aliases: &[],
    group: Group::Pipes,
    summary: "two named pipes",
    explanation: Explanation {
        choose: "Choose it where a shell script takes part, since a file name is all that it needs. Once open, it is a \
                 pipe and costs what a pipe costs.",
        limits: "A stream, in one direction each. Opening waits for the other side. Several writers' bytes mix beyond \
                 4096 (PIPE_BUF), and the file outlives a process that does not remove it. 64 KiB are buffered by default.",
        round: "One write and one read on each side; the kernel copies through a page of its own.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
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

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_pipe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let folder = Folder::make(settings)?;
        let ((ping, access), (pong, _)) = (make(&folder, PING, settings)?, make(&folder, PONG, settings)?);
        let path = ping.parent().and_then(Path::to_str);
        let path = path.ok_or(Errno::ILSEQ).while_doing("naming the channel's folder")?;
        let pipe = if access == Access::Handed {
            let (reader, pings) = both_ends(&ping).while_doing("opening the pipe of the pings")?;
            let (pongs, writer) = both_ends(&pong).while_doing("opening the pipe of the pongs")?;
            supervisor.ready(path, &[pongs.as_fd(), pings.as_fd()])?;
            Files { reader, writer }
        } else {
            supervisor.ready(path, &[])?;
            let reader = open_end(&ping, OFlags::RDONLY, supervisor)
                .map_err(proof_broke_off)?
                .while_doing("opening the pipe of the pings")?;
            let writer = open_end(&pong, OFlags::WRONLY, supervisor)
                .map_err(proof_broke_off)?
                .while_doing("opening the pipe of the pongs")?;
            Files { reader, writer }
        };
        drop(folder);
        proof::check_peer(&pipe, &settings.token, supervisor)?;
        supervisor.proven()?;
        echo(&pipe, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let pipe = match <[OwnedFd; 2]>::try_from(endpoint.descriptors) {
            Ok([reader, writer]) => Files { reader, writer },
            Err(none) if none.is_empty() && endpoint.address.starts_with('/') => {
                let folder = Path::new(&endpoint.address);
                watch.restart();
                let writer = open_end(&folder.join(PING), OFlags::WRONLY, watch)?
                    .while_doing("opening the pipe of the pings")?;
                let reader = open_end(&folder.join(PONG), OFlags::RDONLY, watch)?
                    .while_doing("opening the pipe of the pongs")?;
                Files { reader, writer }
            }
            Err(_) => return Err(ConnectError::Endpoint(endpoint.address)),
        };
        proof::prove(&pipe, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(pipe, settings).while_doing("setting the wait strategy")?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
        remove_pipe(name);
    }
}

/// Makes a pipe that the client may open, or has to be handed.
fn make(folder: &Folder, name: &str, settings: &Settings) -> Result<(PathBuf, Access), CallError> {
    let path = folder.join(name);
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)
        .map_err(|error| folder.no_pipe(error))
        .while_doing(MAKING_A_PIPE)?;
    let access = give_to_client(&path, settings.client).while_doing("opening a named pipe to the client")?;
    Ok((path, access))
}

/// Opens a pipe's end for reading and its end for writing, which wait for nobody: each is there for the other.
fn both_ends(path: &Path) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let reader = open(path, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let writer = open(path, flags | OFlags::WRONLY, Mode::empty())?;
    fcntl_setfl(&reader, OFlags::empty())?;
    Ok((reader, writer))
}

/// Opens one end, for which the other must be opened too. The outer error is of the wait, the inner one the system's.
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
    fn a_look_at_the_host_removes_what_one_that_was_killed_has_left() {
        let left = std::env::temp_dir().join(probe_name());
        // It is there already if another test looks just now.
        let _ = mkfifoat(CWD, &left, Mode::RUSR | Mode::WUSR);
        Fifo.probe().unwrap();
        let start = std::time::Instant::now();
        while left.exists() {
            assert!(start.elapsed().as_secs() < 5, "it is left");
            std::thread::yield_now();
        }
    }
}
