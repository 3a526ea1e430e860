//! `ipc-client methods`: the mechanisms, as the daemon's side of this host has them.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};

use super::Failure;
use super::args::SocketArgs;
use crate::client::{Client, ClientError};
use crate::protocol::{DialError, Exit, MethodState, SocketAddress};
use crate::transports::{self, Mechanism};

pub(super) fn run(args: &SocketArgs) -> Result<Exit, Failure> {
    let address = SocketAddress::resolve(args.socket.as_deref());
    // A daemon may run where less is allowed than here (a sandbox); without one, this process's view is the one.
    let states = match Client::connect(&address) {
        Ok(mut client) => client.methods()?,
        Err(ClientError::Dial(DialError::NoDaemon { .. })) if !address.named => {
            eprintln!("ipc-client: no daemon runs: this is what a private one can do");
            transports::states()
        }
        Err(error) => return Err(error.into()),
    };

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size() {
        table.set_width(width);
    }
    table.set_header(["method", "also", "delivery", "bytes", "waits", "options", "what it is"]);
    for state in &states {
        if let Ok(mechanism) = transports::find(&state.name) {
            table.add_row(row(mechanism, state));
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table.trim_fmt())?;
    for state in &states {
        if let Some(reason) = &state.unavailable {
            writeln!(out, "{} is not to be had on this host: {reason}", state.name)?;
        }
    }
    Ok(Exit::Success)
}

fn row(mechanism: &dyn Mechanism, state: &MethodState) -> [String; 7] {
    let info = mechanism.info();
    // The first is the default.
    let mut waits: Vec<_> = info.waits.iter().map(|wait| wait.name()).collect();
    let first = format!("{}*", waits[0]);
    waits[0] = &first;
    let options: Vec<_> =
        info.options.iter().map(|option| format!("--{} {}", option.name, option.values.join("|"))).collect();
    [
        info.name.to_owned(),
        info.aliases.join(", "),
        info.delivery.name().to_owned(),
        format!("{} to {}", mechanism.capabilities().min_size, state.max_size_bytes),
        waits.join(", "),
        options.join(", "),
        info.summary.to_owned(),
    ]
}
