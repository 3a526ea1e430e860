//! `pipe`: two anonymous pipes, which are the responder's standard input and output.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::net::{AddressFamily, SocketFlags, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use super::families::stream::{self, Files, StreamClient, prove};
use super::prelude::*;
use crate::protocol::link::{receive_part, send_part};

static INFO: Info = Info {
    name: "pipe",
    aliases: &["stdout", "stdio"],
    group: Group::Pipes,
    summary: "two pipes, the responder's standard input and output",
    choose: "Choose it between a process and the child that it starts: nothing to name, nothing to clean up, and the \
             end of file reports the peer's death.",
    limits: "A stream, in one direction each, between processes that inherit its ends or are handed them. 64 KiB \
             are buffered by default.",
    round: "One write and one read on each side; the kernel copies through its own page.",
    options: &[PREALLOCATE],
    ..Info::DEFAULT
};

const PREALLOCATE: OptionSpec = OptionSpec {
    name: "preallocate",
    values: &["true", "false"],
    help: "pipe: receive into an existing buffer instead of allocating one for each round",
};

/// Two anonymous pipes.
pub(super) struct Pipe;

impl Mechanism for Pipe {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                    .while_doing("making a pair of sockets")?;
            supervisor.ready("a socket to send two pipes to", &[theirs.as_fd()])?;
            // The client's end closes here: kept open, it would hide its death.
            drop(theirs);
            let [pings, pongs] = take_pipes(&ours, supervisor)?;
            dup2_stdin(&pings).while_doing("making a pipe the standard input")?;
            dup2_stdout(&pongs).while_doing("making a pipe the standard output")?;
        }
        let pipe: Files<BorrowedFd<'_>> = Files { reader: stdin(), writer: stdout() };
        stream::serve(&pipe, settings, supervisor)
    }

    /// The client makes the pipes, so that they count for its user, who may make them larger and keep them.
    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let pipe = {
            let [socket] = endpoint.handed()?;
            let (ping_reader, writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            let (reader, pong_writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            let ends = [ping_reader.as_fd(), pong_writer.as_fd()];
            send_part(socket.as_fd(), &[0], &ends).while_doing("handing the pipes over")?;
            Files { reader, writer }
        };
        prove(&pipe, &settings.token, watch)?;
        let client = StreamClient::new(pipe, settings)?;
        Ok(if settings.is_on(PREALLOCATE.name) { Box::new(client) } else { Box::new(Allocating(client)) })
    }
}

/// Waits for the client's pipes: of the pings to read, of the pongs to write.
fn take_pipes(socket: &OwnedFd, alive: &mut impl Alive) -> Result<[OwnedFd; 2], ServeError> {
    const TAKING: &str = "taking over the client's pipes";
    let mut pipes = Vec::new();
    loop {
        match receive_part(socket.as_fd(), &mut [0], &mut pipes) {
            Ok(0) => return Err(RoundError::PeerClosed.into()),
            Ok(_) => break,
            Err(Errno::INTR) => alive.check(0)?,
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(socket, PollFlags::IN)], None) {
                Ok(_) => {}
                Err(Errno::INTR) => alive.check(0)?,
                Err(error) => Err(error).while_doing(TAKING)?,
            },
            Err(error) => Err(error).while_doing(TAKING)?,
        }
    }
    // Anything else might take what is written for this process's word.
    let is_pipe = |file: &OwnedFd| {
        fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
    };
    let pipes = <[OwnedFd; 2]>::try_from(pipes).ok().filter(|pipes| pipes.iter().all(is_pipe));
    Ok(pipes.ok_or(Errno::BADMSG).while_doing(TAKING)?)
}

/// A client's side that allocates a buffer for each round, like a simple program.
struct Allocating<P>(StreamClient<P>);

impl<P: stream::Pipe> Round for Allocating<P> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.0.payload().reallocate();
        self.0.round(round, watch)
    }

    fn payload(&mut self) -> &mut Payload {
        self.0.payload()
    }
}
