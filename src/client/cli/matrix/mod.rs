//! `ipc-client matrix`: the median round trip for every ordered pair of CPUs.

mod plan;
mod progress;
mod run;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::{AutoStream, StripStream};
use clap::{Args, ValueEnum};
use log::Level;

use self::progress::Progress;
use super::args::SocketArgs;
use super::daemon::find_or_start;
use super::{Failure, choice, parse, terminal};
use crate::client::host::Environment;
use crate::client::host::placement::Topology;
use crate::client::report::file;
use crate::client::report::matrix::{Matrix, Subject, text};
use crate::client::{ClientError, LeaseWait};
use crate::diagnostics::{print_line, print_message, report_error};
use crate::exit::Exit;
use crate::protocol::Wait;
use crate::transports::Settings;
use crate::transports::sys::clock::{Calibration, ClockChoice};
use crate::units;

/// From which time on a run is announced with it.
const LONG: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct MatrixArgs {
    #[command(flatten)]
    socket: SocketArgs,

    /// The method.
    #[arg(short, long, value_name = "METHOD", default_value = "shmem")]
    method: String,
    /// Rounds of a trial, at least 20.
    #[arg(short = 'n', long, value_name = "N", value_parser = units::parse_rounds, conflicts_with = "duration")]
    rounds: Option<u64>,
    /// Time of a trial, such as 100ms [default: 10ms to 200ms, less where there are more pairs].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    duration: Option<Duration>,
    /// Trials of each pair, each with a fresh channel and a fresh responder, one pass over all pairs after the other.
    #[arg(long, value_name = "N", default_value = "3", value_parser = units::parse_in_range(1, 10_000))]
    trials: u32,
    /// Bytes carried each way in a round, such as 8, 64, 4k, 1M.
    #[arg(long, value_name = "BYTES", default_value = "8", value_parser = units::parse_size)]
    size: u32,
    /// How either side waits: block, spin, adaptive [default: the method's own].
    #[arg(long, value_name = "WAIT", value_parser = parse::wait)]
    wait: Option<Wait>,

    /// The format [default: by the end of --output's name (.txt, .csv, .svg), else text].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where the matrix goes: written whole at the end, or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Fail with exit code 7 instead of waiting while another measurement runs.
    #[arg(long)]
    no_wait: bool,
    /// Start a private daemon even where one runs.
    #[arg(long, conflicts_with = "socket")]
    private: bool,
}

/// Formats of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A heat map for a terminal.
    Text,
    /// A row a pair.
    Csv,
    /// A heat map for a browser.
    Svg,
}

impl MatrixArgs {
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// The format, which the name of the file must tell if nothing else does.
    fn format(&self) -> Result<Format, Failure> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let Some(file) = self.file() else { return Ok(Format::Text) };
        match file.extension().map(|extension| extension.to_string_lossy().to_lowercase()).as_deref() {
            None | Some("txt") => Ok(Format::Text),
            Some("csv") => Ok(Format::Csv),
            Some("svg") => Ok(Format::Svg),
            Some(other) => Err(Failure::usage(format!(
                "no format is known by the end \".{other}\" of {}; .txt, .csv and .svg are, and --format names one \
                 whatever the file is called",
                file.display()
            ))),
        }
    }
}

pub(super) fn run(args: &MatrixArgs, options: &BTreeMap<String, String>) -> Result<Exit, Failure> {
    let format = args.format()?;
    // A long run must not end with a file that cannot be written.
    args.file().map(file::check).transpose()?;
    // Before anything is pinned.
    let topology = Topology::read().map_err(Failure::unavailable)?;
    let plan = plan::plan(args, options, &topology)?;
    let mut client = find_or_start(&args.socket, args.private)?;
    let states = client.methods()?;
    choice::available(plan.mechanism, &plan.spec.options, &states)?;
    Settings::check_for(&plan.spec, choice::state(plan.mechanism, &states)).map_err(Failure::unavailable)?;
    if plan.estimate() > LONG {
        print_line(format_args!(
            "ipc-client: {} pairs of CPUs, {} trials each: about {}",
            plan.pairs.len(),
            plan.trials,
            humantime::format_duration(Duration::from_secs(plan.estimate().as_secs()))
        ));
    }
    let wait = if args.no_wait { LeaseWait::No } else { LeaseWait::Queue };
    client.acquire(wait, |place| {
        print_line(format_args!("ipc-client: another measurement runs; number {place} in line"))
    })?;
    let calibration = Calibration::run(ClockChoice::Auto).map_err(Failure::unavailable)?;

    let mut progress = Progress::new(plan.pairs.len(), plan.trials);
    let measured = run::run(&mut client, &plan, &calibration, &mut progress);
    drop(progress);
    // Nothing of the run is left when its results are told.
    drop(client);

    let set: Vec<String> = plan.spec.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let matrix = Matrix {
        subject: Subject {
            method: plan.spec.method.clone(),
            options: set.join(" "),
            size_bytes: plan.spec.size_bytes.into(),
            wait: plan.wait,
        },
        trials: plan.trials as usize,
        host: host(&Environment::capture()),
        cpus: topology.allowed().iter().collect(),
        pairs: measured.pairs,
    };
    match args.file() {
        Some(path) => {
            let mut plain = StripStream::new(Vec::new());
            write(&matrix, format, None, &mut plain)?;
            file::write_whole(path, |out| out.write_all(&plain.into_inner()))?;
        }
        None => {
            // Colours on a terminal only, and not where NO_COLOR says otherwise.
            let mut out = AutoStream::auto(io::stdout());
            write(&matrix, format, terminal::width(), &mut out)?;
            out.flush()?;
        }
    }
    Ok(exit(&measured.errors))
}

fn write(matrix: &Matrix, format: Format, width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => text::write(matrix, width, out),
        Format::Csv => matrix.write_csv(out),
        Format::Svg => matrix.write_svg(out),
    }
}

/// What failed, told once, however many pairs it met, and the exit code of the first.
fn exit(errors: &[ClientError]) -> Exit {
    let Some(first) = errors.first() else { return Exit::Success };
    report_error("ipc-client", first, first.advice());
    if errors.len() > 1 {
        let rest = format!("{} pairs of CPUs failed; that was the first", errors.len());
        print_message("ipc-client", Level::Error, &rest);
    }
    first.exit()
}

fn host(environment: &Environment) -> String {
    let kernel = environment.kernel.release.as_ref().map(|release| format!("Linux {release}"));
    let parts = [environment.hostname.clone(), environment.cpu.model.clone(), kernel];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::super::args::{Cli, Command, command};
    use super::*;

    fn format(line: &[&str]) -> Format {
        let line = ["ipc-client", "matrix"].iter().chain(line);
        let matches = command().try_get_matches_from(line).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            Command::Matrix(args) => args.format().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_format_is_the_files_unless_it_is_named() {
        assert_eq!(format(&[]), Format::Text);
        assert_eq!(format(&["--output", "a.svg"]), Format::Svg);
        assert_eq!(format(&["--output", "a.csv"]), Format::Csv);
        assert_eq!(format(&["--output", "a.SVG"]), Format::Svg);
        assert_eq!(format(&["--output", "a.csv", "--format", "text"]), Format::Text);
        assert_eq!(format(&["--output", "a.png", "--format", "svg"]), Format::Svg);
        assert_eq!(format(&["--output", "-"]), Format::Text);
    }
}
