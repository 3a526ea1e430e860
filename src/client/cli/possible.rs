//! Leaves out what a group has named and this client cannot have, which shows when it opens a channel: its user, its sandbox or
//! its namespaces may keep it from what the daemon can do.

use std::collections::BTreeMap;

use super::Failure;
use super::choice::skip;
use super::options::told;
use crate::client::bench::{Bench, Cell};
use crate::client::{Client, ClientError};
use crate::diagnostics::error_chain;

/// Opens a channel of each method that only a group has named, once for each choice of its options, and leaves the cells of
/// those out that cannot be, with a line on stderr. It takes the lease.
pub(super) fn keep_possible(client: &mut Client, bench: &mut Bench) -> Result<(), Failure> {
    let private = client.path().is_none();
    let mut tried = BTreeMap::new();
    let mut kept = Vec::new();
    for cell in bench.cells.drain(..) {
        // A private daemon may do what this process may, and has looked at the host for options at their defaults.
        let known = !cell.optional || (private && cell.spec.options.is_empty());
        let channel = (cell.spec.method.clone(), cell.spec.options.clone());
        let possible = match tried.get(&channel) {
            _ if known => true,
            Some(possible) => *possible,
            None => {
                let possible = is_possible(client, &cell)?;
                tried.insert(channel, possible);
                possible
            }
        };
        if possible {
            kept.push(cell);
        }
    }
    bench.cells = kept;
    if bench.cells.is_empty() {
        return Err(Failure::unavailable("nothing is left to measure"));
    }
    Ok(())
}

/// Whether this client can have the cell's channel. What else goes wrong with it shows when it is measured.
fn is_possible(client: &mut Client, cell: &Cell) -> Result<bool, ClientError> {
    match client.open(&cell.spec) {
        Ok(channel) => client.close(channel).map(|()| true),
        Err(error) if error.is_lack() => {
            let what = told(&cell.spec.method, &cell.spec.options);
            match error.advice() {
                Some(advice) => skip(what, format_args!("{}; {advice}", error_chain(&error))),
                None => skip(what, error_chain(&error)),
            }
            Ok(false)
        }
        Err(error @ (ClientError::Link(_) | ClientError::Stopping | ClientError::Unexpected(_))) => {
            Err(error)
        }
        Err(_) => Ok(true),
    }
}
