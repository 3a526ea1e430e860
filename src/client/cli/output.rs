//! Where a command's results go: standard output, files, and a progress bar on stderr while a run is going on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anstream::adapter::strip_bytes;
use anstream::{AutoStream, ColorChoice};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use terminal_size::{Width, terminal_size_of};

use crate::client::Failure;
use crate::client::bench::{Bench, Cell, Observer};
use crate::client::history::{History, HistoryError, Label, history_path};
use crate::client::measure::{Interval, Recorder, Stop};
use crate::client::report::file::{self, FileError};
use crate::client::report::hdr_log::{HdrLog, RESPONSE};
use crate::client::report::text::Style;
use crate::client::report::{IntervalReport, Report, cell_name, csv, json, markdown, text};
use crate::diagnostics::{Printable, print_line, to_stdout};
use crate::exit::Exit;
use crate::units;

/// Formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For a terminal.
    #[value(alias = "txt")]
    Text,
    /// One document, with everything.
    Json,
    /// A row a cell.
    Csv,
    /// A table for a forge.
    #[value(alias = "md")]
    Markdown,
    /// Text without the tables, for a journal.
    #[value(hide = true)]
    Summary,
}

/// Where results go. Their format `F` has text as its first value; the names and aliases of the values are file endings.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Also write the results to this file, completely or not at all, in the format of its ending; may be repeated.
    #[arg(short, long = "output", value_name = "FILE")]
    outputs: Vec<PathBuf>,
    /// Print no results on stdout.
    #[arg(short, long)]
    quiet: bool,
}

impl TargetArgs {
    /// The files, and the format of each: by its ending, else the `named` one, else text. `-` and other names of standard
    /// output are none of them.
    fn files<F: ValueEnum>(&self, named: Option<&F>) -> Result<Vec<(&Path, F)>, Failure> {
        let mut files: Vec<(&Path, F)> = Vec::new();
        for path in self.outputs.iter().map(PathBuf::as_path).filter(|path| !is_stdout(path)) {
            if files.iter().any(|(other, _)| *other == path) {
                return Err(Failure::usage(format!("--output names {} twice", path.display())));
            }
            let ending = path.extension().map(OsStr::to_string_lossy);
            let format = match (&ending, named) {
                (Some(ending), _) if let Ok(format) = F::from_str(ending, true) => format,
                (_, Some(named)) => named.clone(),
                (None, None) => text(),
                (Some(ending), None) => return Err(unknown_ending::<F>(ending, path)),
            };
            files.push((path, format));
        }
        Ok(files)
    }

    /// The format on standard output, if results go there.
    fn stdout<F: ValueEnum>(&self, named: Option<&F>) -> Option<F> {
        let is_named = self.outputs.iter().any(|path| is_stdout(path));
        (!self.quiet || is_named).then(|| named.cloned().unwrap_or_else(text))
    }

    /// Checks, before a long run, that the files can be written.
    pub(super) fn check<F: ValueEnum>(&self, named: Option<&F>) -> Result<(), Failure> {
        Ok(self.files(named)?.into_iter().try_for_each(|(path, _)| file::check(path))?)
    }

    /// Writes the results: to files first, and to standard output if they are for the `screen`, because a reader of standard output sees the end of the run in it. A file that
    /// cannot be written does not prevent the others; the first error is returned.
    pub(super) fn write<F: ValueEnum>(
        &self,
        named: Option<&F>,
        screen: bool,
        write: impl Fn(F, Option<u16>, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let files = self.files(named)?.into_iter();
        let write_file =
            |(path, format): (_, F)| file::write_whole(path, |out| write(format.clone(), None, out));
        let written: Vec<_> = files.map(write_file).collect();
        if let Some(format) = self.stdout(named).filter(|_| screen) {
            to_stdout(|out| write(format, terminal_width(), out))?;
        }
        Ok(written.into_iter().collect::<Result<_, _>>()?)
    }
}

/// The format for a terminal.
fn text<F: ValueEnum>() -> F {
    F::value_variants()[0].clone()
}

fn unknown_ending<F: ValueEnum>(ending: &str, path: &Path) -> Failure {
    let shortest =
        |value: PossibleValue| value.get_name_and_aliases().min_by_key(|name| name.len()).map(str::to_owned);
    let known = F::value_variants().iter().filter_map(|format| format.to_possible_value());
    let known = known.filter(|value| !value.is_hide_set()).filter_map(shortest);
    Failure::usage(format!(
        "unknown ending \".{ending}\" of {}: known are .{}; with --format, any ending is accepted",
        path.display(),
        known.collect::<Vec<_>>().join(", .")
    ))
}

/// Whether a path is a name of standard output.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || file::descriptor(path) == Some(1)
}

/// Where a report goes, and in which formats.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Print one JSON document: the same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The format on stdout, and of files whose ending names none: text, json, csv, markdown, or
    /// summary, which is text without tables [default: text].
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    #[command(flatten)]
    targets: TargetArgs,
    /// Show every figure of each cell, each warning with advice, and, after a run, where its time went.
    #[arg(short, long)]
    pub(super) verbose: bool,
}

impl ReportArgs {
    fn named_format(&self) -> Option<&Format> {
        if self.json { Some(&Format::Json) } else { self.format.as_ref() }
    }

    /// Checks, before a long run, that the files can be written.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.targets.check(self.named_format())
    }

    /// Refuses a histogram log that would go where the report goes.
    pub(super) fn check_hdr_log(&self, hdr_log: Option<&Path>) -> Result<(), Failure> {
        let Some(hdr_log) = hdr_log else { return Ok(()) };
        if is_stdout(hdr_log) {
            return Err(Failure::usage("--hdr-log needs a file: stdout has the report"));
        }
        if self.targets.outputs.iter().any(|path| path == hdr_log) {
            return Err(Failure::usage("--output and --hdr-log need different files"));
        }
        Ok(())
    }

    /// Writes the report to files and, if it is for the `screen`, to standard output.
    pub(super) fn write(&self, report: &Report, screen: bool) -> Result<(), Failure> {
        self.targets.write(self.named_format(), screen, |format, width, out| match format {
            Format::Text | Format::Summary => {
                let summary = format == Format::Summary;
                // Only a terminal has a width.
                let color = width.is_some() && AutoStream::choice(&io::stdout()) != ColorChoice::Never;
                text::write(report, Style { width, verbose: self.verbose, summary, color }, out)
            }
            Format::Json => json::write(report, out),
            Format::Csv => csv::write(report, &mut Printable::new(out)),
            Format::Markdown => markdown::write(report, &mut Printable::new(out)),
        })
    }
}

/// What `bench` writes.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    #[command(flatten)]
    pub(super) report: ReportArgs,
    /// Write the latencies as an HdrHistogram log, in nanoseconds: a line per trial or interval, tagged with its cell.
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,
    /// Report each interval of this length while a trial runs; with text, --json-stream or --hdr-log.
    #[arg(long, value_name = "TIME", value_parser = units::parse_interval)]
    pub(super) interval: Option<Duration>,
    /// Print lines of JSON: each interval, each cell's result, and the rest of the report.
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    json_stream: bool,
}

impl OutputArgs {
    /// Checks, before a long run, that the arguments agree and that the files can be written.
    pub(super) fn check(&self, parallel: u32) -> Result<(), Failure> {
        if self.json_stream && self.report.named_format().is_some() && self.report.targets.outputs.is_empty()
        {
            return Err(Failure::usage(
                "--json-stream writes to stdout: --format needs a file, named by --output",
            ));
        }
        if self.interval.is_some() && self.interval_writer().is_none() && self.hdr_log.is_none() {
            return Err(Failure::usage(
                "--interval reports parts of a trial as text, and a report in JSON, CSV or Markdown has none: drop it, \
                 or add --json-stream or --hdr-log",
            ));
        }
        if parallel > 1 && self.interval.is_some() {
            return Err(Failure::usage("--interval reports on one channel, and --parallel asks for several"));
        }
        self.report.check_hdr_log(self.hdr_log.as_deref())?;
        self.report.check()?;
        Ok(self.hdr_log.as_deref().map_or(Ok(()), file::check)?)
    }

    /// How an interval is written to standard output, if it is.
    fn interval_writer(&self) -> Option<IntervalWriter> {
        match self.report.targets.stdout(self.report.named_format()) {
            _ if self.json_stream => {
                Some(|interval, out| json::write_line(&json::Line::Interval(interval), out))
            }
            Some(Format::Text) => Some(|interval, out| text::write_interval(interval, out)),
            _ => None,
        }
    }

    /// Writes everything that is due at the end of a run. `hdr_log` is the log's temporary file.
    pub(super) fn write(&self, report: &Report, hdr_log: Option<File>) -> Result<(), Failure> {
        let mut logged = Ok(());
        if let (Some(path), Some(mut log)) = (&self.hdr_log, hdr_log) {
            logged = file::write_whole(path, |out| {
                log.rewind()?;
                io::copy(&mut log, out).map(drop)
            });
        }
        self.report.write(report, !self.json_stream)?;
        if self.json_stream {
            to_stdout(|out| json::write_end(report, out))?;
        }
        Ok(logged?)
    }
}

type IntervalWriter = fn(&IntervalReport, &mut dyn Write) -> io::Result<()>;

/// What `bench` writes while it measures: the progress bar, intervals, and lines of the HdrHistogram log.
pub(super) struct LiveOutput {
    progress: Progress,
    write_interval: Option<IntervalWriter>,
    hdr_log: Option<Log>,
    /// When the run began, which the log's times count from.
    start: Instant,
    /// When the last block of rounds ended, and for how long its trial's rounds had run by then.
    block_end: Instant,
    trial_elapsed: Duration,
    /// The first error of writing, which ends the run.
    error: Option<FileError>,
}

/// The log, in a temporary file without a name: a killed run leaves nothing behind, and a long one needs no memory.
struct Log {
    /// The file to be written at the end.
    path: PathBuf,
    log: HdrLog<BufWriter<File>>,
    /// Whether a line is an interval instead of a trial.
    by_interval: bool,
}

impl LiveOutput {
    /// For a run that began at `start`, on the date `started_at`.
    pub(super) fn new(
        args: &OutputArgs,
        bench: &Bench,
        start: Instant,
        started_at: SystemTime,
    ) -> Result<Self, FileError> {
        let begin = |path: &PathBuf| {
            let file = tempfile::tempfile().and_then(|file| HdrLog::begin(BufWriter::new(file), started_at));
            let by_interval = bench.plan.interval.is_some();
            file.map(|log| Log { path: path.clone(), log, by_interval })
                .map_err(|source| FileError { path: path.clone(), source })
        };
        Ok(Self {
            progress: Progress::new(bench.cells.len(), bench.trials, bench.plan.stop),
            write_interval: args.interval_writer(),
            hdr_log: args.hdr_log.as_ref().map(begin).transpose()?,
            start,
            block_end: start,
            trial_elapsed: Duration::ZERO,
            error: None,
        })
    }

    /// Ends the output and returns the log's temporary file.
    ///
    /// # Errors
    /// Something could not be written: the reader is gone, or the disk is full.
    pub(super) fn end(self) -> Result<Option<File>, FileError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Some(Log { path, log, .. }) = self.hdr_log else { return Ok(None) };
        let file = log.into_inner().into_inner();
        file.map(Some).map_err(|error| FileError { path, source: error.into_error() })
    }

    /// Logs the `length` of time that ended with the last block.
    fn log(
        &mut self,
        cell: &Cell,
        service: &Histogram<u64>,
        response: Option<&Histogram<u64>>,
        length: Duration,
    ) {
        let since_start = (self.block_end - self.start).saturating_sub(length);
        let Some(Log { path, log, .. }) = &mut self.hdr_log else { return };
        let name = cell_name(cell);
        let mut written = log.line(&name, service, since_start, length);
        if let (Ok(()), Some(response)) = (&written, response) {
            written = log.line(&format!("{name}{RESPONSE}"), response, since_start, length);
        }
        if let Err(source) = written {
            self.error.get_or_insert(FileError { path: path.clone(), source });
        }
    }
}

impl Observer for LiveOutput {
    fn begins(&mut self, cell: &Cell, trial: u32, median_ns: Option<f64>) {
        self.progress.begins(cell, trial, median_ns);
    }

    fn progress(&mut self, rounds: u64, elapsed: Duration, latencies: Option<&Histogram<u64>>) {
        self.block_end = Instant::now();
        self.trial_elapsed = elapsed;
        self.progress.progress(rounds, elapsed, latencies);
    }

    fn interval(&mut self, cell: &Cell, trial: u32, interval: &Interval<'_>) -> ControlFlow<()> {
        if let Some(write) = self.write_interval {
            let report = IntervalReport::of(cell, trial, interval);
            // stdout and stderr may be one terminal.
            let written = self.progress.bar.suspend(|| to_stdout(|out| write(&report, out)));
            self.error = self.error.take().or(written.map_err(FileError::stdout).err());
        }
        if self.hdr_log.as_ref().is_some_and(|log| log.by_interval) {
            self.log(cell, interval.histogram, interval.response, interval.length);
        }
        if self.error.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn ends(&mut self, cell: &Cell, latencies: &Recorder) {
        self.progress.ends(cell, latencies);
        if self.hdr_log.as_ref().is_some_and(|log| !log.by_interval) {
            self.log(cell, &latencies.histogram, latencies.response.as_ref(), self.trial_elapsed);
        }
    }
}

/// A run that ends sooner shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// How often the bar is redrawn.
const REDRAWS_PER_S: u8 = 5;

/// The length of the bar for each trial.
const TRIAL: u64 = 1000;

/// A progress bar over a whole run, with its share done, the time left and the running median: on stderr, on a terminal only,
/// redrawn between blocks of rounds only.
pub(super) struct Progress {
    started: Instant,
    /// When the bar last changed.
    changed: Instant,
    bar: ProgressBar,
    stop: Stop,
    /// Trials of each cell; with a precision, more may follow.
    trials: u32,
    /// Trials of the whole run that are complete.
    done: u64,
    /// The cell that is measured, and which trial of it.
    current: String,
    /// The median over the trials of the current cell, if it has any.
    median_ns: Option<f64>,
    drawn: bool,
}

impl Progress {
    /// For a number of cells and of trials of each.
    pub(super) fn new(cells: usize, trials: u32, stop: Stop) -> Self {
        let bar = ProgressBar::hidden();
        let all = u64::try_from(cells).unwrap_or(u64::MAX).saturating_mul(trials.into());
        bar.set_length(all.max(1).saturating_mul(TRIAL));
        let (started, current, median_ns) = (Instant::now(), String::new(), None);
        Self { started, changed: started, bar, stop, trials, done: 0, current, median_ns, drawn: false }
    }

    /// Shows the bar, on a terminal, unless the run ends soon.
    fn draw(&mut self) {
        if !self.drawn && self.started.elapsed() >= BAR_AFTER {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S));
            self.drawn = true;
        }
    }

    /// `share` is how much of the current trial is done; `median_ns` the running median of its cell.
    fn show(&mut self, share: f64, median_ns: Option<f64>) {
        let trial = (share.clamp(0.0, 1.0) * TRIAL as f64) as u64;
        // With a precision, the trials that follow are not known.
        let most = self.bar.length().unwrap_or(TRIAL).saturating_sub(1);
        self.bar.set_position((self.done.saturating_mul(TRIAL) + trial).min(most));
        let median = median_ns.map(|ns| format!(", p50 {}", units::latency(ns)));
        self.bar.set_message(format!("{}{}", self.current, median.unwrap_or_default()));
        self.draw();
    }
}

impl Observer for Progress {
    fn begins(&mut self, cell: &Cell, trial: u32, median_ns: Option<f64>) {
        let cpus = match (cell.client_cpu, cell.spec.server_cpu) {
            (Some(client), Some(server)) => format!(", CPU {client} to CPU {server}"),
            _ => String::new(),
        };
        let trial =
            if self.trials > 1 { format!(", trial {} of {}", trial + 1, self.trials) } else { String::new() };
        self.current =
            format!("{}, {}{cpus}{trial}", cell.spec.method, units::size(cell.spec.size_bytes.into()));
        self.median_ns = median_ns;
        self.show(0.0, median_ns);
    }

    fn progress(&mut self, rounds: u64, elapsed: Duration, latencies: Option<&Histogram<u64>>) {
        // Nothing is computed that no terminal shows.
        if self.drawn && self.bar.is_hidden() {
            return;
        }
        if self.changed.elapsed() < Duration::from_secs(1) / REDRAWS_PER_S.into() {
            return;
        }
        self.changed = Instant::now();
        let share = match self.stop {
            Stop::Rounds(total) => rounds as f64 / total.max(1) as f64,
            Stop::Time(total) => elapsed.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE),
        };
        let first = latencies.filter(|histogram| !histogram.is_empty());
        let first_ns = || Some(first?.value_at_quantile(0.5) as f64 / 1000.0);
        self.show(share, self.median_ns.or_else(first_ns));
    }

    fn interval(&mut self, _: &Cell, _: u32, _: &Interval<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn ends(&mut self, _: &Cell, _: &Recorder) {
        self.done += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The columns of the terminal; `None` if stdout is not one.
pub(super) fn terminal_width() -> Option<u16> {
    terminal_size_of(io::stdout()).map(|(Width(width), _)| width)
}

/// Text for standard output: its colours are for a terminal, unless NO_COLOR is set.
pub(super) fn for_stdout(text: Vec<u8>) -> Vec<u8> {
    match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => strip_bytes(&text).into_vec(),
        _ => text,
    }
}

/// The width to wrap prose to: longer lines are hard to read, shorter ones hold too few words.
pub(super) fn prose_width() -> usize {
    terminal_width().unwrap_or(80).clamp(30, 100).into()
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(Exit::Failure, error)
    }
}

/// Commands write to standard output themselves, and to files by [`file`](mod@file).
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        FileError::stdout(error).into()
    }
}

/// Whether a run is recorded, and where.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Record the complete result in the history.
    #[arg(long)]
    record: bool,
    /// With --record: a name for this run; several runs may have the same.
    #[arg(long, value_name = "NAME", requires = "record")]
    label: Option<Label>,
    /// With --record: the history [default: $IPCD_HISTORY, else history.sqlite in $STATE_DIRECTORY or
    /// $XDG_STATE_HOME/ipcd].
    #[arg(long, value_name = "FILE", requires = "record")]
    history: Option<PathBuf>,
}

impl RecordArgs {
    /// Checks, before a long run, that it can be recorded.
    pub(super) fn check(&self) -> Result<(), HistoryError> {
        if self.record { History::create(&history_path(self.history.as_deref())?).map(drop) } else { Ok(()) }
    }

    /// Records the run, if asked for.
    pub(super) fn record(&self, report: &Report) -> Result<(), HistoryError> {
        if self.record {
            let mut history = History::create(&history_path(self.history.as_deref())?)?;
            let id = history.record(report, self.label.as_ref())?;
            print_line(format_args!("ipc-client: recorded as run {id} in {}", history.path().display()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::measure::histogram;

    #[test]
    fn progress_is_that_of_the_whole_run_with_the_running_median() {
        let (tcp, udp, latencies) = (Cell::sample("tcp"), Cell::sample("udp"), Recorder::default());
        let mut progress = Progress::new(2, 3, Stop::Rounds(100));
        let shown = |progress: &Progress| {
            let share = progress.bar.position() as f64 / progress.bar.length().unwrap() as f64;
            (progress.bar.message(), (share * 12.0).round() / 12.0)
        };
        progress.begins(&tcp, 0, None);
        assert_eq!(shown(&progress), ("tcp, 8 B, trial 1 of 3".to_owned(), 0.0));
        // A block that ends before the bar is drawn again changes nothing.
        progress.progress(25, Duration::ZERO, None);
        assert_eq!(shown(&progress).1, 0.0);
        let mut so_far = histogram();
        so_far.record_n(4_000_000, 10).unwrap();
        progress.changed -= Duration::from_secs(1);
        progress.progress(50, Duration::ZERO, Some(&so_far));
        assert_eq!(shown(&progress), ("tcp, 8 B, trial 1 of 3, p50 4.00 µs".to_owned(), 1.0 / 12.0));
        progress.ends(&tcp, &latencies);
        progress.begins(&udp, 0, None);
        assert_eq!(shown(&progress), ("udp, 8 B, trial 1 of 3".to_owned(), 2.0 / 12.0));
        progress.ends(&udp, &latencies);
        progress.begins(&tcp, 1, Some(6_000.0));
        progress.changed -= Duration::from_secs(1);
        progress.progress(50, Duration::ZERO, Some(&so_far));
        assert_eq!(shown(&progress), ("tcp, 8 B, trial 2 of 3, p50 6.00 µs".to_owned(), 5.0 / 12.0));
        // With a precision more trials follow: the bar waits for the end.
        (0..9).for_each(|_| progress.ends(&tcp, &latencies));
        progress.begins(&tcp, 9, None);
        assert!(progress.bar.position() < progress.bar.length().unwrap());
    }
}
