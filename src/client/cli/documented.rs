//! The command line as manual pages and completions show it: with the names that an option's value may have.
//!
//! The one that parses leaves those to parsers of its own, whose errors say more than that a value is not in a list.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, Command};

use super::args;
use super::choice;
use crate::client::host::placement::Placement;
use crate::client::judge::warnings::Grade;
use crate::protocol::Wait;
use crate::transports::{self, Group};

/// The whole command line of `ipc-client`, for whoever documents or completes it. It is not the one that parses.
#[must_use]
pub fn command() -> Command {
    args::command().mut_subcommands(documented)
}

/// A command with what its arguments may be, and those below it.
fn documented(command: Command) -> Command {
    command.mut_args(with_values).mut_subcommands(documented)
}

/// The argument with the values that it may have, if they are names.
fn with_values(arg: Arg) -> Arg {
    let values = match arg.get_id().as_str() {
        // The pages list them with what they are; everything else says in its help which there are.
        "methods" => return arg.value_parser(PossibleValuesParser::new(methods(true))),
        "method" => return arg.value_parser(PossibleValuesParser::new(methods(false))),
        "wait" | "waits" => Wait::ALL.map(Wait::name).to_vec(),
        "placement" => Placement::ALL.map(Placement::name).to_vec(),
        "placements" => Placement::ALL.map(Placement::name).into_iter().chain([choice::ALL]).collect(),
        "clock" => vec!["auto", "tsc", "monotonic"],
        "require_grade" => {
            let letters = Grade::ALL.map(|grade| PossibleValue::new(grade.letter()).help(grade.meaning()));
            return arg.value_parser(PossibleValuesParser::new(letters));
        }
        _ => return arg,
    };
    arg.value_parser(PossibleValuesParser::new(values)).hide_possible_values(true)
}

/// The methods, with what they are; before them, where several may be meant, the names of groups.
fn methods(groups: bool) -> Vec<PossibleValue> {
    let several = [PossibleValue::new(choice::ALL).help("every method that this host has")]
        .into_iter()
        .chain(Group::ALL.map(|group| {
            PossibleValue::new(group.name()).help("every method of this group that this host has")
        }));
    let each = transports::ALL
        .iter()
        .map(|mechanism| PossibleValue::new(mechanism.info().name).help(mechanism.info().summary));
    several.filter(|_| groups).chain(each).collect()
}
