//! `pipe`: two anonymous pipes, which are the responder's standard input and output.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use super::contract::While;
use super::payload::Payload;
use super::stream::{self, Files, StreamClient, echo};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, OptionSpec, Reach,
    Round, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::Wait;

static INFO: Info = Info {
    name: "pipe",
    aliases: &["stdout", "stdio"],
    group: Group::Pipes,
    summary: "two pipes, the responder's standard input and output",
    explanation: Explanation {
        choose: "Choose it between a process and the child that it starts: nothing to name, nothing to clean up, and the \
                 end of file tells of the peer's death.",
        limits: "A stream, in one direction each, between processes that inherit its ends or are handed them. 64 KiB \
                 are buffered by default.",
        round: "One write and one read on each side; the kernel copies through a page of its own.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[PREALLOCATE],
};

const PREALLOCATE: OptionSpec = OptionSpec {
    name: "preallocate",
    values: &["true", "false"],
    help: "pipe: receive into a buffer that is there, instead of allocating one for each round",
};

/// Two anonymous pipes.
pub(super) struct Pipe;

impl Mechanism for Pipe {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        {
            let (ping_reader, ping_writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            let (pong_reader, pong_writer) = pipe_with(PipeFlags::CLOEXEC).while_doing("making a pipe")?;
            dup2_stdin(&ping_reader).while_doing("making a pipe the standard input")?;
            dup2_stdout(&pong_writer).while_doing("making a pipe the standard output")?;
            supervisor.ready("stdin and stdout", &[pong_reader.as_fd(), ping_writer.as_fd()])?;
            // The client's ends close here: kept open, they would hide its death.
        }
        let pipe: Files<BorrowedFd<'_>, BorrowedFd<'_>> = Files { reader: stdin(), writer: stdout() };
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
        let [reader, writer]: [OwnedFd; 2] =
            endpoint.descriptors.try_into().map_err(|_| ConnectError::Endpoint(endpoint.address))?;
        let pipe = Files { reader, writer };
        proof::prove(&pipe, &settings.token, watch)?;
        let client = StreamClient::new(pipe, settings).while_doing("setting the wait strategy")?;
        Ok(if settings.is_on(PREALLOCATE.name) { Box::new(client) } else { Box::new(Allocating(client)) })
    }
}

/// A client's side that allocates a buffer for each round, as a simple program does.
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
