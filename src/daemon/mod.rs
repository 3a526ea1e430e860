//! The daemon: holds the control socket, checks requests, queues measurements and supervises responders. It never
//! measures.
//!
//! One thread waits in `poll` for the next event: a connection, a request, a responder's announcement or exit, a signal. While
//! idle it is not woken at all.
//!
//! A request goes through `connection` (bytes to requests), `server` (what to do), `lease` (whose turn it is), `limits`, and
//! `channel` (a responder process and its life) to `responder` (the other process).

mod channel;
pub(crate) mod cli;
mod configure;
mod connection;
mod counters;
mod lease;
mod lent;
mod limits;
mod logging;
mod metrics;
mod peer;
mod responder;
mod server;
mod service_manager;
mod socket;

pub use server::serve_client;

use crate::protocol::role;

/// Runs as a private daemon or a responder, and never returns, if this process was started as one; otherwise returns.
pub(crate) fn enter_role() {
    let code = match std::env::args_os().nth(1) {
        Some(arg) if arg == role::RESPONDER => responder::main(),
        Some(arg) if arg == role::PRIVATE_DAEMON => cli::private_daemon(),
        _ => return,
    };
    std::process::exit(code.code().into());
}
