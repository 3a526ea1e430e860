//! A progress bar on stderr, on a terminal only, moved between blocks of rounds only.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::bench::{Cell, Observer};
use crate::client::measure::{Interval, Stop};

/// A run that is over sooner has no bar.
const AFTER: Duration = Duration::from_secs(1);

/// Redraws a second.
const HZ: u8 = 5;

/// Shows the progress of a benchmark.
pub(super) struct Progress {
    started: Instant,
    stop: Stop,
    cell: String,
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(stop: Stop) -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::hidden);
        Self { started: Instant::now(), stop, cell: String::new(), bar }
    }

    /// A trial begins.
    pub(super) fn begins(&mut self, cell: &Cell, trial: u32) {
        self.cell = format!("{}, {} bytes, trial {}", cell.spec.method, cell.spec.size_bytes, trial + 1);
    }

    /// Takes the bar away while something else is written to what may be the same terminal.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// So many rounds of the trial are done, which took so long.
    pub(super) fn show(&self, rounds: u64, elapsed: Duration) {
        let Some(bar) = &self.bar else { return };
        if bar.is_hidden() {
            if self.started.elapsed() < AFTER {
                return;
            }
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(HZ));
        }
        let (position, length) = match self.stop {
            Stop::Rounds(total) => (rounds, total),
            Stop::Time(total) => (millis(elapsed), millis(total)),
        };
        bar.set_message(self.cell.clone());
        bar.set_length(length);
        bar.set_position(position.min(length));
    }
}

/// For a run of which nothing but the bar is shown meanwhile.
impl Observer for Progress {
    fn begins(&mut self, _: usize, cell: &Cell, trial: u32) {
        Self::begins(self, cell, trial);
    }

    fn progress(&mut self, rounds: u64, elapsed: Duration) {
        self.show(rounds, elapsed);
    }

    fn interval(&mut self, _: usize, _: &Cell, _: u32, _: &Interval<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
