//! `pipe`: two anonymous pipes, which are the responder's standard input and output.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use super::families::stream::{self, Files, StreamClient, prove};
use super::prelude::*;

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
            let (ping_reader, ping_writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            let (pong_reader, pong_writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            dup2_stdin(&ping_reader).while_doing("making a pipe the standard input")?;
            dup2_stdout(&pong_writer).while_doing("making a pipe the standard output")?;
            supervisor.ready("stdin and stdout", &[pong_reader.as_fd(), ping_writer.as_fd()])?;
            // The client's ends close here: kept open, they would hide its death.
        }
        let pipe: Files<BorrowedFd<'_>> = Files { reader: stdin(), writer: stdout() };
        stream::serve(&pipe, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let [reader, writer] = endpoint.handed()?;
        let pipe = Files { reader, writer };
        prove(&pipe, &settings.token, watch)?;
        let client = StreamClient::new(pipe, settings)?;
        Ok(if settings.is_on(PREALLOCATE.name) { Box::new(client) } else { Box::new(Allocating(client)) })
    }
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
