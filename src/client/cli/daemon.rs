//! Which daemon a command talks to.

use std::io::Write;

use log::Level;

use super::Failure;
use super::args::{QueryArgs, SocketArgs};
use crate::client::report::json;
use crate::client::{Client, ClientError, Private};
use crate::config::{Config, sources};
use crate::diagnostics::{Printable, print_message};
use crate::exit::Exit;
use crate::protocol::{DialError, SocketAddress};

/// The daemon that runs, or a private one if none does and none was named.
pub(super) fn find_or_start(args: &SocketArgs, private: bool) -> Result<Client, Failure> {
    if private {
        return Ok(start("as asked for")?);
    }
    let address = address(args)?;
    match Client::connect(&address) {
        Err(ClientError::Dial(DialError::NoDaemon { .. })) if !address.named => Ok(start("no daemon")?),
        other => Ok(other?),
    }
}

/// Where the daemon is, by flag, environment, configuration or the usual places.
pub(super) fn address(args: &SocketArgs) -> Result<SocketAddress, Failure> {
    let config = Config::read(&sources(args.config.as_deref()))?;
    Ok(config.address(args.socket.as_deref()))
}

fn start(why: &str) -> Result<Client, ClientError> {
    let private = Private::start()?;
    let pid = private.pid();
    let told = format!("{why}: a private daemon, process {pid}, serves this run and ends with it");
    print_message("ipc-client", Level::Info, &told);
    Client::over(private)
}

/// `ipc-client status`.
pub(super) fn status(args: &QueryArgs) -> Result<Exit, Failure> {
    let mut client = Client::connect(&address(&args.socket)?)?;
    let status = client.status()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        json::write(&status, &mut out)?;
    } else {
        writeln!(Printable::new(out), "{status}")?;
    }
    Ok(Exit::Success)
}
