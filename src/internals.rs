//! What the tests, benchmarks and fuzz targets of this package reach beneath the facade. No promise is made about any of it.

pub mod client {
    pub use crate::client::{Channel, Client, ClientError, LeaseWait, Private};
    pub mod cli {
        pub use crate::client::cli::{command, main};
    }
    pub mod export {
        pub use crate::client::export::prometheus;
    }
    pub mod history {
        pub use crate::client::history::{
            Filter, History, HistoryError, Imported, Label, Pick, Run, write_line,
        };
    }
    pub mod host {
        pub mod placement {
            pub use crate::client::host::placement::{CpuPair, Placement, Topology};
        }
    }
    pub mod judge {
        pub mod compare {
            pub use crate::client::judge::compare::{Comparison, Side};
        }
        pub mod trend {
            pub use crate::client::judge::trend::{TrendPlan, trends};
        }
    }
    pub mod report {
        pub use crate::client::report::{Latency, Report};
    }
    pub mod stats {
        pub use crate::client::stats::{Statistic, median};
    }
    pub mod sum {
        pub use crate::client::sum::Sum;
    }
}
pub mod config {
    pub use crate::config::{Config, Source};
}
pub mod daemon {
    pub use crate::config::{Limit, Limits};
    pub use crate::daemon::serve_client;
    pub mod cli {
        pub use crate::daemon::cli::{command, main};
    }
}
pub mod protocol {
    pub use crate::diagnostics::error_chain;
    pub use crate::exit::Exit;
    pub use crate::protocol::{
        ChannelId, ChannelSpec, ChannelStatus, DecodeError, DialError, End, Event, GREETING_LEN, Greeting,
        LimitUse, MAX_DECODED, MethodState, OverLimit, PROTOCOL_VERSION, Refusal, Reply, Request, Resource,
        Scope, SocketAddress, Status, Token, Totals, Unavailable, Usage, UserUse, Wait, decode, dial, encode,
        role,
    };
    pub mod frame {
        pub use crate::protocol::frame::{Assembler, HEADER_LEN, MAX_BODY, TooLong, frame};
    }
    pub mod link {
        pub use crate::protocol::link::{Link, LinkError, send_part};
    }
}
pub mod transports {
    pub use crate::transports::{
        ALL, Announcement, Assignment, ConnectError, Delivery, Endpoint, Exposure, FEATURES, Grant, Group,
        Info, Mechanism, Naming, Owner, Reach, RoundError, Rounds, Settings, Watch, find, instance_name,
        memory_of, states,
    };
    pub mod sys {
        pub use crate::transports::sys::{
            Region, Semaphore, VsockAddress, allow_descriptors, process_vm, usage,
        };
        pub mod clock {
            pub use crate::transports::sys::clock::{Calibration, ClockChoice, ClockSource};
        }
        pub mod mq {
            pub use crate::transports::sys::mq::{End, MessageQueue};
        }
        pub mod signal {
            pub use crate::transports::sys::signal::Words;
        }
        pub mod sysv {
            pub use crate::transports::sys::sysv::{Message, Queue};
        }
    }
}
