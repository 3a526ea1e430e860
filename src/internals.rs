//! What the tests, benchmarks and fuzz targets of this package reach beneath the facade. No promise is made about any of it.

pub mod client {
    pub use crate::client::{
        Channel, Client, ClientError, LeaseWait, Private,
        cli::{command, main},
        history::{History, HistoryError, Label, Run, write_line},
        host::placement::{CpuPair, Placement, Topology},
        report::Report,
        stats::{Latency, median},
    };
}
pub mod daemon {
    pub use crate::{
        config::{Limit, Limits},
        daemon::cli::command,
        daemon::serve_client,
    };

    /// Runs `ipcd`. Its configuration also contains profiles, and the client has the rules for these.
    #[must_use]
    pub fn main() -> crate::exit::Exit {
        crate::daemon::cli::main(&crate::client::cli::PROFILE_RULES)
    }
}
pub mod protocol {
    pub use crate::{
        diagnostics::error_chain,
        exit::Exit,
        protocol::frame::{Assembler, HEADER_LEN, MAX_BODY, TooLong, frame},
        protocol::link::{Link, LinkError, send_part},
        protocol::{
            ChannelId, ChannelSpec, ChannelStatus, Confinement, DecodeError, DialError, End, Event,
            GREETING_LEN, Greeting, LimitUse, MAX_DECODED, MethodState, OverLimit, PROTOCOL_VERSION, Refusal,
            Reply, Request, Resource, Scope, SocketAddress, Status, Throttling, Token, Totals, Unavailable,
            Usage, UserUse, Wait, decode, dial, encode, role,
        },
    };
}
pub mod transports {
    pub use crate::transports::{
        ALL, FEATURES,
        contract::{
            ConnectError, Delivery, Endpoint, Exposure, Group, Info, Mechanism, Naming, Reach, RoundError,
        },
        find, memory_of,
        rounds::Rounds,
        settings::{Grant, Owner, Settings},
        states,
        supervisor::{Announcement, Assignment},
        sys::clock::{ClockSource, MonotonicClock},
        sys::mq::{End, MessageQueue},
        sys::signal::Words,
        sys::sysv::{Message, Queue},
        sys::{Region, Semaphore, VsockAddress, allow_descriptors, process_vm, reveal_sender, sender, usage},
        unique_name,
        watch::Watch,
    };
}
