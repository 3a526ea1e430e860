//! Which runs and results of the history are meant, on the command line.

use clap::Args;

use super::super::choice::{Meaning, UnknownName, meaning};
use super::super::{Failure, parse};
use crate::client::history::{Filter, Label};
use crate::client::host::placement::Placement;
use crate::protocol::Wait;
use crate::units;

/// A filter of cells.
#[derive(Debug, Default, PartialEq, Args)]
pub(in crate::client::cli) struct CellArgs {
    /// Methods or groups of them, with commas between.
    #[arg(short, long = "method", value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
    /// Bytes carried each way in a round, with commas between.
    #[arg(long = "size", value_name = "BYTES,...", value_delimiter = ',', value_parser = units::parse_size)]
    sizes: Vec<u32>,
    /// How either side waited: block, spin, adaptive.
    #[arg(long = "wait", value_name = "WAIT,...", value_delimiter = ',', value_parser = parse::wait)]
    waits: Vec<Wait>,
    /// Where the two sides ran: unpinned, same-core, smt, cross-core, cross-socket.
    #[arg(long = "placement", value_name = "PLACEMENT,...", value_delimiter = ',')]
    placements: Vec<Placement>,
}

/// A filter of runs.
#[derive(Debug, Default, PartialEq, Args)]
pub(in crate::client::cli) struct RunsArgs {
    /// Runs since then: an age such as 7d, or a time such as 2026-03-01 or 2026-03-01T12:30:00Z (UTC).
    #[arg(long, value_name = "WHEN", value_parser = units::parse_date)]
    since: Option<u64>,
    /// Runs that began before then: an age or a time.
    #[arg(long, value_name = "WHEN", value_parser = units::parse_date)]
    until: Option<u64>,
    /// Runs of these hosts, with commas between.
    #[arg(long = "host", value_name = "NAME,...", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Runs with this label.
    #[arg(long, value_name = "NAME")]
    label: Option<Label>,
}

impl CellArgs {
    /// The filter that these arguments mean.
    pub(in crate::client::cli) fn filter(&self) -> Result<Filter, Failure> {
        let mut methods = Vec::new();
        for name in &self.methods {
            match meaning(name) {
                Ok(Meaning::One(mechanism)) => methods.push(mechanism.info().name.to_owned()),
                Ok(Meaning::Several(group)) => {
                    methods.extend(group.iter().map(|mechanism| mechanism.info().name.to_owned()));
                }
                // This build lacks it, and the history may have it.
                Err(UnknownName::Feature { name }) => methods.push(name),
                Err(error) => return Err(Failure::usage(error)),
            }
        }
        Ok(Filter {
            methods,
            sizes: self.sizes.clone(),
            waits: self.waits.clone(),
            placements: self.placements.clone(),
            ..Filter::default()
        })
    }
}

impl RunsArgs {
    /// The filter with these arguments too.
    pub(in crate::client::cli) fn narrow(&self, filter: Filter) -> Filter {
        Filter {
            hosts: self.hosts.clone(),
            label: self.label.clone(),
            since_unix_s: self.since,
            until_unix_s: self.until,
            ..filter
        }
    }
}
