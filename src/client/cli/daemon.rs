//! Which daemon a command talks to, and `ipc-client status`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use log::Level;

use super::profile::RULES;
use crate::client::report::json;
use crate::client::{Client, ClientError, Failure, LeaseWait, Private};
use crate::config::{Config, sources};
use crate::diagnostics::{Printable, print_line, print_message, to_stdout};
use crate::exit::Exit;
use crate::protocol::{DialError, SocketAddress};
use crate::units;

/// Where the daemon is.
#[derive(Debug, Args)]
pub(super) struct SocketArgs {
    /// The daemon's control socket [default: $IPCD_SOCKET, else as configured, else ipcd.sock in $RUNTIME_DIRECTORY,
    /// $XDG_RUNTIME_DIR/ipcd, /run/ipcd or ipcd-UID in the temporary folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A configuration file, instead of $IPCD_CONFIG, or of /etc/ipcd/ipcd.toml and $XDG_CONFIG_HOME/ipcd/ipcd.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SocketArgs {
    /// The daemon's address, by flag, environment, configuration or default.
    pub(super) fn address(&self) -> Result<SocketAddress, Failure> {
        let config = Config::read(&sources(self.config.as_deref()), &RULES).map_err(Failure::usage)?;
        Ok(config.address(self.socket.as_deref()))
    }
}

/// How a command that measures connects to a daemon and acquires the lease.
#[derive(Debug, Args)]
pub(super) struct LeaseArgs {
    /// Fail with exit code 7 instead of waiting while another measurement runs.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most this long while another measurement runs, such as 10m, then fail with exit code 7.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, conflicts_with = "no_wait")]
    wait_at_most: Option<Duration>,
    /// Start a private daemon even if one is running.
    #[arg(long, conflicts_with = "socket")]
    private: bool,
}

impl LeaseArgs {
    /// Connects to the running daemon, or starts a private one if none is running and none was named.
    pub(super) fn connect(&self, socket: &SocketArgs) -> Result<Client, Failure> {
        if self.private {
            return Ok(start("as asked for")?);
        }
        let address = socket.address()?;
        match Client::connect(&address) {
            Err(ClientError::Dial(DialError::NoDaemon { .. })) if !address.named => Ok(start("no daemon")?),
            other => Ok(other?),
        }
    }

    /// Acquires the lease and reports the position in the queue meanwhile.
    pub(super) fn acquire(&self, client: &mut Client) -> Result<(), ClientError> {
        let wait = match self.wait_at_most {
            _ if self.no_wait => LeaseWait::No,
            Some(limit) => LeaseWait::AtMost(limit),
            None => LeaseWait::Queue,
        };
        client.acquire(wait, |position| {
            print_line(format_args!(
                "ipc-client: another measurement is running; position {position} in the queue"
            ))
        })
    }
}

fn start(why: &str) -> Result<Client, ClientError> {
    let private = Private::start()?;
    let pid = private.pid();
    let notice = format!("{why}: a private daemon, process {pid}, serves this run and ends with it");
    print_message("ipc-client", Level::Info, &notice);
    Client::over(private)
}

/// A command that only asks the daemon.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) socket: SocketArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

/// `ipc-client status`.
pub(super) fn status(args: &QueryArgs) -> Result<Exit, Failure> {
    let mut client = Client::connect(&args.socket.address()?)?;
    let status = client.status()?;
    to_stdout(|out| match args.json {
        true => json::write(&status, out),
        false => writeln!(Printable::new(out), "{status}"),
    })?;
    Ok(Exit::Success)
}
