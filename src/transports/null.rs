//! `null`: no mechanism at all. The client echoes to itself, so that what is measured is this tool's own cost a round.

use super::payload::Payload;
use super::{
    Alive, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Round,
    RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::Wait;

static INFO: Info = Info {
    name: "null",
    aliases: &[],
    group: Group::Tool,
    summary: "nothing: the client echoes to itself, which tells what measuring costs",
    explanation: Explanation {
        choose: "Choose it to learn what measuring itself costs: subtract nothing, but trust no difference below it.",
        limits: "It carries nothing to anybody.",
        round: "The payload's numbers are written, copied and compared, and the clock is read once.",
    },
    delivery: Delivery::None,
    reach: Reach::Anyone,
    waits: &[Wait::Block],
    options: &[],
};

/// No mechanism.
pub(super) struct Null;

impl Mechanism for Null {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn respond(&self, _: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        supervisor.ready("inside the client", &[])?;
        supervisor.proven()?;
        supervisor.wait_for_end()
    }

    fn connect(
        &self,
        settings: &Settings,
        _: Endpoint,
        _: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        Ok(Box::new(NullClient { payload: Payload::new(settings.size, &settings.token) }))
    }
}

struct NullClient {
    payload: Payload,
}

impl Round for NullClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        self.payload.echo();
        // It never waits, and still has to end when its responder does.
        if watch.due() {
            watch.check(round)?;
        }
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}
