//! What the command line may say. The mechanisms' own options come from the list of mechanisms.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::check::CheckArgs;
use super::compare::CompareArgs;
use super::explain::ExplainArgs;
use super::export::ExportArgs;
use super::history::HistoryArgs;
use super::matrix::MatrixArgs;
use super::options::MethodOptions;
use super::parse::{self, PlacementArg, WarmupArg};
use super::record::RecordArgs;
use super::report::ReportArgs;
use super::trend::TrendArgs;
use crate::client::host::placement::Placement;
use crate::client::judge::warnings::Grade;
use crate::client::measure::Timing;
use crate::exit::Exit;
use crate::protocol::Wait;
use crate::transports;
use crate::transports::sys::clock::ClockChoice;
use crate::units;

/// Measures what a round trip between two processes costs on this host.
#[derive(Debug, Parser)]
#[command(name = "ipc-client", version, after_help = exit_codes())]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The table for `--help`.
fn exit_codes() -> String {
    format!(
        "{}  Ended by a signal, as a shell tells it: 130 by Ctrl-C (SIGINT), 143 by SIGTERM\n",
        Exit::table()
    )
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure round trips. Without a daemon, a private one is started for this run.
    Bench(Box<BenchArgs>),
    /// List the methods by their groups, and which of them this host cannot do and why.
    Methods(QueryArgs),
    /// Explain a method: when to choose it, what limits it, what a round executes. Without a name, all in short.
    Explain(ExplainArgs),
    /// Check this host before a measurement, and tell the smallest difference that it can show.
    Doctor(DoctorArgs),
    /// Measure the median round trip for every ordered pair of the CPUs that this process may use (see taskset).
    Matrix(Box<MatrixArgs>),
    /// Compare two runs: by how much each cell differs, whether that is real, and what else differs.
    Compare(Box<CompareArgs>),
    /// Check a recorded run against a baseline, or against bounds: for jobs and timers, by its exit code.
    Check(Box<CheckArgs>),
    /// Find when a cell got slower or faster, and what else changed then.
    Trend(TrendArgs),
    /// Write runs as a page for a browser: figures, charts, history, and what they rest on, in one file.
    Report(Box<ReportArgs>),
    /// Tell the newest results of the history as metrics, for Prometheus.
    Export(Box<ExportArgs>),
    /// List, show and keep recorded runs.
    History(Box<HistoryArgs>),
    /// Tell what the running daemon does.
    Status(QueryArgs),
}

#[derive(Debug, Args)]
pub(super) struct SocketArgs {
    /// The daemon's control socket [default: $IPCD_SOCKET, else as configured, else ipcd.sock in $RUNTIME_DIRECTORY,
    /// $XDG_RUNTIME_DIR/ipcd, /run/ipcd or ipcd-UID in the temporary folder].
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// A configuration file, instead of $IPCD_CONFIG, or of /etc/ipcd/ipcd.toml and $XDG_CONFIG_HOME/ipcd/ipcd.toml.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) socket: SocketArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

/// Formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For a terminal.
    Text,
    /// One document, with everything.
    Json,
    /// A row a cell.
    Csv,
    /// A table for a forge.
    Markdown,
}

impl Format {
    /// What the end of a file's name asks for.
    pub(super) fn of_file(path: Option<&Path>) -> Self {
        match path.and_then(Path::extension).and_then(OsStr::to_str) {
            Some("json") => Self::Json,
            Some("csv") => Self::Csv,
            Some("md") => Self::Markdown,
            _ => Self::Text,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    pub(super) socket: SocketArgs,
    /// Take the flags of this profile of the configuration; those of the command line go before.
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// Methods or groups of them, with commas between: all, sockets, memory, pipes, queues, frameworks; "ipc-client
    /// methods" lists them.
    #[arg(short, long = "method", value_name = "METHOD,...", value_delimiter = ',', default_value = "all")]
    pub(super) methods: Vec<String>,
    /// Rounds of a trial. One trial, unless --trials says otherwise.
    #[arg(short = 'n', long = "rounds", value_name = "N", value_parser = units::parse_rounds, conflicts_with = "duration", allow_negative_numbers = true)]
    pub(super) rounds: Option<u64>,
    /// Time of a trial, such as 10s. One trial, unless --trials says otherwise.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(super) duration: Option<Duration>,
    /// Trials of each cell, each with a fresh channel and a fresh responder [default: 5 of 600 ms; 1 with -n or
    /// --duration]. With --precision, the fewest.
    #[arg(long, value_name = "N", value_parser = units::parse_in_range(1, 10_000))]
    pub(super) trials: Option<u32>,
    /// Rounds before those that count, by number or by time [default: a tenth of the trial: from 20 to 500 ms, or with -n
    /// from 100 to 100000 rounds in at most 100 ms].
    #[arg(long, value_name = "N|TIME", value_parser = parse::warmup)]
    pub(super) warmup: Option<WarmupArg>,
    /// Go on with trials until the median's 95 % confidence interval is this narrow, such as 2%.
    #[arg(long, value_name = "PERCENT", value_parser = units::parse_percent)]
    pub(super) precision: Option<f64>,
    /// When to give up on --precision; six trials are run in any case, since fewer tell too little [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(super) max_time: Option<Duration>,

    /// Bytes carried each way in a round, such as 8, 64, 4k, 1M; several make a sweep.
    #[arg(long = "size", value_name = "BYTES,...", value_delimiter = ',', default_value = "8", value_parser = units::parse_size)]
    pub(super) sizes: Vec<u32>,
    /// How either side waits: block, spin, adaptive; several make a sweep [default: the method's own].
    #[arg(long = "wait", value_name = "WAIT,...", value_delimiter = ',', value_parser = parse::wait)]
    pub(super) waits: Vec<Wait>,
    /// Where the two sides run: unpinned, same-core, smt, cross-core, cross-socket, or "all" that this host has; several
    /// make a sweep.
    #[arg(
        long = "placement", value_name = "PLACEMENT,...", value_delimiter = ',', value_parser = parse::placement,
        conflicts_with_all = ["client_cpu", "server_cpu"],
    )]
    pub(super) placements: Vec<PlacementArg>,
    /// The CPU that the client runs on.
    #[arg(long, value_name = "CPU", value_parser = units::parse_cpu, allow_negative_numbers = true)]
    pub(super) client_cpu: Option<u32>,
    /// The CPU that the responder runs on.
    #[arg(long, value_name = "CPU", value_parser = units::parse_cpu, allow_negative_numbers = true)]
    pub(super) server_cpu: Option<u32>,

    /// Channels open at once, each with a responder and a client thread of its own; the rate that is told is that of all
    /// together, while --rate is each channel's.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = units::parse_in_range(1, 1000))]
    pub(super) parallel: u32,

    /// Start rounds at a fixed rate, such as 10k/s, on each channel of --parallel, and tell latencies from the intended start beside service times.
    #[arg(long, value_name = "RATE", value_parser = units::parse_rate, conflicts_with = "gaps")]
    pub(super) rate: Option<Duration>,
    /// Idle time before each round, such as 0, 10us, 1ms; several make a sweep.
    #[arg(long = "gap", value_name = "TIME,...", value_delimiter = ',', value_parser = units::parse_gap)]
    pub(super) gaps: Vec<Duration>,
    /// What is timed: each round, batches of K rounds, or (auto) each round and, where rounds are fast, batches beside.
    #[arg(long, value_name = "round|batch:K|auto", default_value = "auto", value_parser = parse::timing)]
    pub(super) timing: Timing,
    /// The clock: auto, tsc, monotonic.
    #[arg(long, value_name = "CLOCK", default_value = "auto")]
    pub(super) clock: ClockChoice,

    /// Print one JSON document: the same as --format json.
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
    /// The report's format [default: by the end of --output's name (.json, .csv, .md), else text].
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// Where the report goes: written whole at the end, or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log, in nanoseconds: a line a trial, or an interval; its tag is the cell.
    #[arg(long, value_name = "FILE")]
    pub(super) hdr_log: Option<PathBuf>,
    /// Tell how each such part of a trial went, while it runs; with text, --json-stream or --hdr-log.
    #[arg(long, value_name = "TIME", value_parser = units::parse_interval)]
    pub(super) interval: Option<Duration>,
    /// Print lines of JSON: each interval, each cell's result, and the rest of the report.
    #[arg(long, conflicts_with = "json")]
    pub(super) json_stream: bool,
    /// Fail with exit code 11 if the results' grade, from A to F, is below this one.
    #[arg(long, value_name = "GRADE")]
    pub(super) require_grade: Option<Grade>,
    /// Say where the time of the run went.
    #[arg(short, long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) record: RecordArgs,

    /// Fail with exit code 7 instead of waiting while another measurement runs.
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Start a private daemon even where one runs.
    #[arg(long, conflicts_with = "socket")]
    pub(super) private: bool,
}

impl BenchArgs {
    /// What `bench` does when nothing is said.
    pub(super) fn defaults() -> Self {
        let matches = Self::augment_args(clap::Command::new("bench")).get_matches_from(["bench"]);
        Self::from_arg_matches(&matches).expect("no argument is required")
    }
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) socket: SocketArgs,

    /// Methods that are measured against themselves, with commas between them, or "all".
    #[arg(
        short,
        long = "method",
        value_name = "METHOD,...",
        value_delimiter = ',',
        default_value = "tcp,shmem"
    )]
    pub(super) methods: Vec<String>,
    /// Bytes carried each way in a round, such as 8, 64, 4k, 1M.
    #[arg(long, value_name = "BYTES", default_value = "8", value_parser = units::parse_size)]
    pub(super) size: u32,
    /// How either side waits: block, spin, adaptive [default: the method's own].
    #[arg(long, value_name = "WAIT", value_parser = parse::wait)]
    pub(super) wait: Option<Wait>,
    /// Where the two sides run: unpinned, same-core, smt, cross-core, cross-socket [default: unpinned].
    #[arg(long, value_name = "PLACEMENT")]
    pub(super) placement: Option<Placement>,
    /// Pairs of trials; from six on, the result assumes nothing about how trials are distributed.
    #[arg(long, value_name = "N", default_value = "7", value_parser = units::parse_in_range(2, 1_000))]
    pub(super) pairs: u32,
    /// Short trials: two seconds in all instead of ten, for a coarser answer.
    #[arg(long)]
    pub(super) quick: bool,

    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
    /// Fail with exit code 11 if the self-test's grade, from A to F, is below this one.
    #[arg(long, value_name = "GRADE")]
    pub(super) require_grade: Option<Grade>,
    /// Fail with exit code 7 instead of waiting while another measurement runs.
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Start a private daemon even where one runs.
    #[arg(long, conflicts_with = "socket")]
    pub(super) private: bool,
}

/// The commands that open channels, and so have the options of the mechanisms.
const MEASURING: [&str; 2] = [SWEEPING, "matrix"];

/// The one of them whose options may have several values.
const SWEEPING: &str = "bench";

/// The command line, with the options of the mechanisms.
pub(super) fn command() -> clap::Command {
    let mut options = BTreeMap::new();
    for option in transports::ALL.iter().flat_map(|mechanism| mechanism.info().options) {
        options.entry(option.name).or_insert(option);
    }
    MEASURING.into_iter().fold(Cli::command(), |cli, measuring| {
        cli.mut_subcommand(measuring, |measuring| {
            let sweeps = measuring.get_name() == SWEEPING;
            options.values().fold(measuring, |measuring, option| {
                let argument = Arg::new(option.name)
                    .long(option.name)
                    .value_parser(PossibleValuesParser::new(option.values))
                    .hide_possible_values(false);
                let (help, default) = (option.help, option.values[0]);
                measuring.arg(if sweeps {
                    let help = format!("{help}; several make a sweep [default: {default}]");
                    argument.value_name("VALUE,...").action(ArgAction::Append).value_delimiter(',').help(help)
                } else {
                    argument.value_name("VALUE").help(format!("{help} [default: {default}]"))
                })
            })
        })
    })
}

/// The options of the mechanisms that the command line names.
pub(super) fn method_options(matches: &ArgMatches) -> MethodOptions {
    let measuring = matches.subcommand().filter(|(name, _)| MEASURING.contains(name));
    measuring.map(|(_, matches)| MethodOptions::of(matches)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn bench_needs_no_argument() {
        assert_eq!(BenchArgs::defaults().sizes, [8]);
    }

    #[test]
    fn a_matrix_is_of_one_value_of_an_option() {
        let line = |command: &'static str| ["ipc-client", command, "--nodelay", "true,false"];
        assert!(command().try_get_matches_from(line("bench")).is_ok());
        assert!(command().try_get_matches_from(line("matrix")).is_err());
    }

    #[test]
    fn options_of_mechanisms_are_options_of_bench() {
        let matches = command().try_get_matches_from(["ipc-client", "bench", "--nodelay", "false"]).unwrap();
        Cli::from_arg_matches(&matches).unwrap();
        assert_eq!(method_options(&matches).first()["nodelay"], "false");
    }
}
