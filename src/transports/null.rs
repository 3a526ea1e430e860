//! `null`: no mechanism at all. The client echoes to itself, so that the measured time is the tool's own cost of a round.

use super::prelude::*;

static INFO: Info = Info {
    name: "null",
    group: Group::Tool,
    summary: "nothing: the client echoes to itself, which shows what measuring costs",
    choose: "Choose it to learn what measuring itself costs: subtract nothing, but trust no difference below it.",
    limits: "It carries nothing.",
    round: "The payload's numbers are written, copied and compared, and the clock is read once.",
    delivery: Delivery::None,
    waits: &[Wait::Block],
    exposure: Exposure::Unreachable("it carries nothing"),
    ..Info::DEFAULT
};

/// No mechanism.
pub(super) struct Null;

impl Mechanism for Null {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn respond(&self, _: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        supervisor.ready("inside the client", &[])?;
        supervisor.proven()?;
        supervisor.wait_for_end()
    }

    fn connect(&self, settings: &Settings, _: Endpoint, _: &mut Watch) -> Connected {
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
        // It never waits, but must still end when its responder does.
        if watch.due() {
            watch.check(round)?;
        }
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}
