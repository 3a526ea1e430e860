//! Parts of a trial, reported while it runs.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::histogram;

/// A part of a trial. The intervals of a trial follow each other without a gap, so that their counts and histograms
/// add up to the trial's; the last one is shorter.
#[derive(Debug)]
pub(crate) struct Interval<'a> {
    /// Its end, from the start of the trial's timed rounds.
    pub since_start: Duration,
    /// Its length. Intervals end between blocks of rounds, so that it is a little more than the plan's.
    pub length: Duration,
    /// Rounds completed in it, timed one by one or not.
    pub rounds: u64,
    /// Datagrams lost in it.
    pub lost: u64,
    /// Latencies of those rounds that were timed one by one, or means of batches, in picoseconds.
    pub histogram: &'a Histogram<u64>,
    /// With a fixed rate: latencies from the intended start, in picoseconds.
    pub response: Option<&'a Histogram<u64>>,
}

/// Collects what the running interval has so far.
pub(super) struct Intervals {
    every: Duration,
    start: Instant,
    begin: Instant,
    due: Instant,
    rounds_before: u64,
    lost_before: u64,
    pub(super) histogram: Histogram<u64>,
    pub(super) response: Option<Histogram<u64>>,
}

impl Intervals {
    pub(super) fn new(every: Duration, open_loop: bool) -> Self {
        let start = Instant::now();
        Self {
            every,
            start,
            begin: start,
            due: start + every,
            rounds_before: 0,
            lost_before: 0,
            histogram: histogram(),
            response: open_loop.then(histogram),
        }
    }

    /// Reports the interval if it is over, or if the trial is. `rounds` and `lost` are the trial's so far.
    pub(super) fn report(
        &mut self,
        rounds: u64,
        lost: u64,
        trial_over: bool,
        hear: &mut dyn FnMut(&Interval<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let now = Instant::now();
        let empty = rounds == self.rounds_before && lost == self.lost_before;
        if if trial_over { empty } else { now < self.due } {
            return ControlFlow::Continue(());
        }
        let flow = hear(&Interval {
            since_start: now - self.start,
            length: now - self.begin,
            rounds: rounds - self.rounds_before,
            lost: lost - self.lost_before,
            histogram: &self.histogram,
            response: self.response.as_ref(),
        });
        // Not `clear`, which keeps the shortest and the longest.
        self.histogram.reset();
        if let Some(response) = &mut self.response {
            response.reset();
        }
        (self.begin, self.rounds_before, self.lost_before) = (now, rounds, lost);
        // A long round may span several intervals; they are reported as one.
        while self.due <= now {
            self.due += self.every;
        }
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds, samples, and the longest.
    fn reported(intervals: &mut Intervals, rounds: u64, over: bool) -> Vec<(u64, u64, u64)> {
        let mut reported = Vec::new();
        let _ = intervals.report(rounds, 0, over, &mut |interval| {
            reported.push((interval.rounds, interval.histogram.len(), interval.histogram.max()));
            ControlFlow::Continue(())
        });
        reported
    }

    #[test]
    fn intervals_add_up_to_the_trial() {
        let mut intervals = Intervals::new(Duration::from_millis(5), false);
        intervals.histogram.record(1000).unwrap();
        assert_eq!(reported(&mut intervals, 2, false), [], "it is not over yet");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(reported(&mut intervals, 3, false), [(3, 1, 1000)], "several that passed at once are one");
        intervals.histogram.record(10).unwrap();
        assert_eq!(reported(&mut intervals, 7, true), [(4, 1, 10)], "the rest is reported at the end");
        assert_eq!(reported(&mut intervals, 7, true), [], "an empty rest is not reported");
    }
}
