//! Holds `ipc-client bench` against the floor: plain C that does nothing but the same ping-pong.
//!
//! `cargo bench --bench floor [-- OPTIONS]` builds `floor.c` with the machine's C compiler (`$CC`, else `cc`) and runs,
//! for each row, the floor and the client in turn: the same CPUs, size, wait strategy and number of rounds. With
//! `IPCD_PP=/path/to/pp.c` a second table holds the floor itself against that yardstick.

mod compare;
mod programs;
mod rows;

use std::process::ExitCode;

use clap::Parser;
use ipcd::internals::client::{Placement, Topology};

use compare::{Effort, compare, print_header, print_result};
use programs::Programs;
use rows::Places;

/// Holds ipc-client against the floor, mechanism by mechanism.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench floor --")]
struct Options {
    /// Methods, with commas between them [default: each that both programs have].
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
    /// Bytes carried each way; methods that do not support a size are skipped.
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "8,64,1k,64k,1M", value_parser = size)]
    sizes: Vec<u32>,
    /// Pairs of runs in a row.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Short runs, for a first look.
    #[arg(long)]
    quick: bool,
    /// Only show that it works: a few rounds of everything, and no figure is judged.
    #[arg(long)]
    test: bool,
    /// Said by `cargo bench`, and not by `cargo test`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn size(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(['k', 'M']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" => 10,
        "M" => 20,
        _ => return Err("one unit at the most".to_owned()),
    };
    digits
        .parse::<u32>()
        .map_err(|error| error.to_string())?
        .checked_mul(1 << shift)
        .ok_or("too large".to_owned())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let Some(programs) = Programs::build()? else {
        println!("floor: no C compiler (tried $CC and cc): nothing is compared");
        return Ok(());
    };
    let topology = Topology::read()?;
    let places = Places {
        same_core: topology.resolve(Placement::SameCore)?.ok_or("one CPU is needed")?,
        cross_core: topology.resolve(Placement::CrossCore).ok().flatten(),
    };
    let effort = match (options.test || !options.bench, options.quick) {
        (true, _) => Effort::TEST,
        (false, true) => Effort { pairs: options.pairs, ..Effort::QUICK },
        (false, false) => Effort { pairs: options.pairs, ..Effort::FULL },
    };
    if places.cross_core.is_none() {
        println!("one core only: no rows across cores");
    }

    let plan = rows::against_client(&options.methods, &options.sizes, places)?;
    let mut failures = 0;
    print_header("floor", "ipc-client", &effort);
    for row in &plan {
        failures += u32::from(!print_result(row, &compare(&programs, row, &effort)));
    }
    if programs.has_pp() {
        println!();
        print_header("pp", "floor", &effort);
        for row in &rows::against_pp(&plan) {
            failures += u32::from(!print_result(row, &compare(&programs, row, &effort)));
        }
    }
    if failures > 0 { Err(format!("{failures} rows could not be measured").into()) } else { Ok(()) }
}
