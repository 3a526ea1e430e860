//! Which daemon a command talks to.

use std::io::Write;

use super::Failure;
use super::args::{QueryArgs, SocketArgs};
use crate::client::{Client, ClientError, Private};
use crate::protocol::{DialError, Exit, SocketAddress};

/// The daemon that runs, or a private one if none does and none was named.
pub(super) fn find_or_start(args: &SocketArgs, private: bool) -> Result<Client, ClientError> {
    if private {
        return start("as asked for");
    }
    let address = SocketAddress::resolve(args.socket.as_deref());
    match Client::connect(&address) {
        Err(ClientError::Dial(DialError::NoDaemon { .. })) if !address.named => start("no daemon"),
        other => other,
    }
}

fn start(why: &str) -> Result<Client, ClientError> {
    let private = Private::start()?;
    eprintln!(
        "ipc-client: {why}: a private daemon, process {}, serves this run and ends with it",
        private.pid()
    );
    Client::over(private)
}

/// `ipc-client status`.
pub(super) fn status(args: &QueryArgs) -> Result<Exit, Failure> {
    let mut client = Client::connect(&SocketAddress::resolve(args.socket.socket.as_deref()))?;
    let status = client.status()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &status).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{status}")?;
    }
    Ok(Exit::Success)
}
