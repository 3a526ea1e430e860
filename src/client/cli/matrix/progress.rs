//! A progress bar over all trials of all pairs, on stderr, on a terminal only, moved between trials only.

use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::bench::{Cell, Observer};
use crate::client::measure::Interval;

/// Redraws a second.
const HZ: u8 = 5;

/// Shows the progress of a matrix.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(pairs: usize, trials: u32) -> Self {
        let all = u64::try_from(pairs).unwrap_or(u64::MAX).saturating_mul(trials.into());
        let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr_with_hz(HZ));
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// A trial is done, or will not be made.
    pub(super) fn advance(&self) {
        self.0.inc(1);
    }
}

impl Observer for Progress {
    fn begins(&mut self, _: usize, cell: &Cell, _: u32) {
        if let (Some(client), Some(server)) = (cell.client_cpu, cell.spec.server_cpu) {
            self.0.set_message(format!("{}, CPU {client} to CPU {server}", cell.spec.method));
        }
    }

    fn progress(&mut self, _: u64, _: Duration) {}

    fn interval(&mut self, _: usize, _: &Cell, _: u32, _: &Interval<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
