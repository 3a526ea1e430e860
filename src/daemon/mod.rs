//! The daemon: holds the control socket, checks requests, queues measurements and supervises responders. It never
//! measures.
//!
//! One thread, which waits in `poll` for whatever comes next: a connection, a request, a responder's announcement or
//! end, the order to stop. Idle, it is not woken at all.
//!
//! A request goes through `connection` (bytes to requests), `server::requests` (what each asks for), `lease` (whose
//! turn it is), `channel` (a responder and its life) and `responder` (the other process); `server` is the loop around
//! them.

mod channel;
pub(crate) mod cli;
mod configure;
mod connection;
mod lease;
mod limits;
mod logging;
mod metrics;
mod notify;
mod ration;
mod responder;
mod server;
mod signals;
mod socket;

pub use crate::config::{Limit, Limits};
pub(crate) use metrics::Endpoint;
pub(crate) use metrics::Metrics;
pub use notify::Notify;
pub(crate) use server::{Again, Reload};
pub use server::{Config, Sources, Surroundings, run};
pub(crate) use socket::Access;
pub(crate) use socket::BindError;
pub(crate) use socket::{Handed, activated, bind};

use crate::protocol::role;

/// Becomes a private daemon or a responder, and never returns, if this process was started as one; else returns.
pub(crate) fn enter_role() {
    let code = match std::env::args_os().nth(1) {
        Some(arg) if arg == role::RESPONDER => responder::main(),
        Some(arg) if arg == role::PRIVATE_DAEMON => cli::private_daemon(),
        _ => return,
    };
    std::process::exit(code.code().into());
}
