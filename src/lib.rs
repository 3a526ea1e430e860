//! Measures what a round trip between two processes costs on this host, by every IPC mechanism it offers.
//!
//! Three processes take part: a client that measures, a daemon that supervises, and one responder process for each
//! data channel, which echoes and does nothing else.
//!
//! The programs `ipcd` and `ipc-client` are built from this crate. Its public interface is for programs that measure
//! on their own: connect ([`Client`]) or start a private daemon ([`Private`]), list the methods
//! ([`Client::methods`]), open a channel ([`Client::open`]) and run rounds on it ([`Channel`]).
//!
//! # Example
//!
//! A program opens a channel and runs rounds on it. This one starts a private daemon from its own executable;
//! [`Client::connect`] connects to a running daemon instead, by default at [`SocketAddress::resolve`]`(None)`.
//!
//! ```standalone_crate
//! use ipcd::{ChannelSpec, Client, LeaseWait, Private};
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
//!     client.acquire(LeaseWait::Queue, |position| eprintln!("position {position} in the queue"))?;
//!     let mut channel = client.open(&ChannelSpec::new("tcp"))?;
//!     let latencies = channel.timed(1000)?;
//!     assert_eq!(latencies.len(), 1000);
//!     let fastest = latencies.iter().min().expect("there are 1000");
//!     println!("fastest round trip: {fastest:?}");
//!     client.close(channel)?;
//!     Ok(())
//! }
//! ```

// These panic where the output cannot be written (a full file system, a closed pipe): use `writeln!` and its result.
#![warn(clippy::print_stdout, clippy::print_stderr)]

// Without the attributes below, this error would be followed by hundreds about names that other systems lack.
#[cfg(not(target_os = "linux"))]
compile_error!("ipcd measures Linux mechanisms and builds on Linux only");

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod diagnostics;
#[cfg(target_os = "linux")]
mod exit;
#[cfg(target_os = "linux")]
mod exposition;
#[doc(hidden)]
#[cfg(target_os = "linux")]
pub mod internals;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod shortage;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod transports;
#[cfg(target_os = "linux")]
mod units;

#[cfg(target_os = "linux")]
pub use client::{Channel, Client, ClientError, LeaseWait, Opened, Private, PrivateError};
#[cfg(target_os = "linux")]
pub use protocol::{
    ChannelId, ChannelSpec, ChannelStatus, DialError, End, LimitUse, MethodState, Refusal, Resource,
    SocketAddress, Status, Totals, Unavailable, UserUse, Wait, link::LinkError,
};
#[cfg(target_os = "linux")]
pub use transports::contract::{ConnectError, RoundError};

/// Runs as a private daemon or a responder, and never returns, if this process was started as one; otherwise returns.
///
/// A program that uses [`Private`] calls this first in `main`: the private daemon and its responders are the program's
/// own executable, so they are always the same version.
///
/// It also ignores SIGXFSZ, so that exceeding `RLIMIT_FSIZE` is an error instead of the end of the process.
#[cfg(target_os = "linux")]
pub fn enter_role() {
    transports::sys::survive_file_size_limit();
    daemon::enter_role();
}
