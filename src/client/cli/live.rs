//! What a run tells while it goes on: the progress bar, intervals, and the HdrHistogram log's lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;

use super::Failure;
use super::output::Output;
use super::progress::Progress;
use crate::client::bench::{Cell, Observer};
use crate::client::measure::{Interval, Plan, Trial};
use crate::client::report::file::FileError;
use crate::client::report::hdr_log::{HdrLog, RESPONSE};
use crate::client::report::{IntervalReport, cell_name, stream, text};

/// Listens to a run and tells of it.
pub(super) struct Live {
    bar: Progress,
    intervals: Intervals,
    hdr_log: Option<Log>,
    /// When the run's clock was started, for the log.
    start: Instant,
    /// When the last block ended, and how long its trial's rounds have taken until then.
    block_end: Instant,
    trial_elapsed: Duration,
    /// What ended the telling.
    failure: Option<Failure>,
}

enum Intervals {
    Untold,
    Text,
    Json,
}

/// The log, in a file without a name: a run that is killed leaves nothing, and a long one takes no memory.
struct Log {
    /// What it will be.
    path: PathBuf,
    log: HdrLog<BufWriter<File>>,
    /// Whether a line is an interval, rather than a trial.
    by_interval: bool,
}

impl Live {
    /// The run began at `start`, which the log's times count from; the date was `started_at` then.
    pub(super) fn new(
        output: &Output,
        plan: &Plan,
        start: Instant,
        started_at: SystemTime,
    ) -> Result<Self, Failure> {
        let hdr_log = output.hdr_log.as_ref().map(|path| {
            let begun = tempfile::tempfile().and_then(|file| HdrLog::begin(BufWriter::new(file), started_at));
            match begun {
                Ok(log) => Ok(Log { path: path.clone(), log, by_interval: plan.interval.is_some() }),
                Err(source) => Err(FileError { path: path.clone(), source }),
            }
        });
        Ok(Self {
            bar: Progress::new(plan.stop),
            intervals: match output {
                output if output.stream => Intervals::Json,
                output if output.tells_intervals_as_text() => Intervals::Text,
                _ => Intervals::Untold,
            },
            hdr_log: hdr_log.transpose()?,
            start,
            block_end: start,
            trial_elapsed: Duration::ZERO,
            failure: None,
        })
    }

    /// Ends the telling, and gives back the log's file.
    ///
    /// # Errors
    /// What could not be told: whoever listened is gone, or the disk is full.
    pub(super) fn end(self) -> Result<Option<File>, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Some(Log { path, log, .. }) = self.hdr_log else { return Ok(None) };
        match log.into_inner().into_inner() {
            Ok(file) => Ok(Some(file)),
            Err(error) => Err(FileError { path, source: error.into_error() }.into()),
        }
    }

    /// Logs what ended with the last block and was so long.
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
            self.failure.get_or_insert(FileError { path: path.clone(), source }.into());
        }
    }

    fn tell(&self, interval: &IntervalReport) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            match self.intervals {
                Intervals::Untold => Ok(()),
                Intervals::Text => text::write_interval(interval, &mut out),
                Intervals::Json => stream::write(&stream::Line::Interval(interval), &mut out),
            }?;
            out.flush()
        })
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Observer for Live {
    fn begins(&mut self, _: usize, cell: &Cell, trial: u32) {
        self.bar.begins(cell, trial);
    }

    fn progress(&mut self, rounds: u64, elapsed: Duration) {
        self.block_end = Instant::now();
        self.trial_elapsed = elapsed;
        self.bar.show(rounds, elapsed);
    }

    fn interval(&mut self, _: usize, cell: &Cell, trial: u32, interval: &Interval<'_>) -> ControlFlow<()> {
        if !matches!(self.intervals, Intervals::Untold)
            && let Err(error) = self.tell(&IntervalReport::of(cell, trial, interval))
        {
            self.failure.get_or_insert(FileError::stdout(error).into());
        }
        if self.hdr_log.as_ref().is_some_and(|log| log.by_interval) {
            self.log(cell, interval.histogram, interval.response, interval.length);
        }
        self.flow()
    }

    fn ends(&mut self, _: usize, cell: &Cell, _: u32, result: &Trial) {
        if self.hdr_log.as_ref().is_some_and(|log| !log.by_interval) {
            self.log(cell, &result.recorder.histogram, result.response.as_ref(), self.trial_elapsed);
        }
    }
}
