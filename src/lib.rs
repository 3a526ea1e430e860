//! `ipcd` measures what a round trip between two processes costs on this host.
//!
//! Three processes take part: a client that measures ([`client`]), a daemon that supervises ([`daemon`]), and one
//! responder process for each data channel, which echoes and does nothing else.
//!
//! | module | what stands there | may import |
//! |---|---|---|
//! | [`protocol`] | greeting, frames, messages, socket address rules, exit codes | nothing of this crate |
//! | [`transports`] | the contract of a mechanism, the list, one file for each, OS calls | `protocol` |
//! | [`config`] | configuration files, and the values that they share with the command lines | `protocol`, `transports` |
//! | `exposition` | the text format of metrics | nothing of this crate |
//! | [`daemon`] | control socket, queue, supervision of responders | all above |
//! | [`client`] | connection, measuring, reports, command line | all above but `daemon` |
//!
//! `daemon` and `client` never import each other. `unsafe` stands in `transports` only.
//!
//! # Example
//!
//! A program opens a channel and runs rounds on it. Here it starts a private daemon from its own executable, so
//! that nothing has to be running; [`client::Client::connect`] reaches one that is.
//!
//! ```standalone_crate
//! use ipcd::client::{Client, LeaseWait, Private};
//! use ipcd::protocol::ChannelSpec;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // This executable is also run as the private daemon and as its responders: those calls never return.
//!     ipcd::enter_role();
//!
//!     let private = Private::start()?;
//!     let mut client = Client::over(private)?;
//!     for method in client.methods()? {
//!         println!("{}: {:?}", method.name, method.unavailable);
//!     }
//!
//!     client.acquire(LeaseWait::Queue, |place| eprintln!("{place} in line"))?;
//!     let mut channel = client.open(&ChannelSpec::new("tcp"))?;
//!     let latencies = channel.timed(1000)?;
//!     assert_eq!(latencies.len(), 1000);
//!     let fastest = latencies.iter().min().expect("there are 1000");
//!     println!("fastest round trip: {fastest:?}");
//!     client.close(channel)?;
//!     Ok(())
//! }
//! ```

// These panic where nobody can be told (a full file system, a reader that is gone): `protocol::say`, or `writeln!` and its result.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod config;
pub mod daemon;
mod exposition;
pub mod protocol;
pub mod transports;

/// Becomes a private daemon or a responder, and never returns, if this process was started as one; else returns.
///
/// A program that uses [`client::Private`] calls this first in `main`: the private daemon and its responders are
/// the program's own executable, so that they can never be older than it.
///
/// It also has SIGXFSZ ignored: a file that would become too large (`RLIMIT_FSIZE`) is then an error and not the end.
pub fn enter_role() {
    transports::sys::survive_file_size_limit();
    daemon::enter_role();
}
