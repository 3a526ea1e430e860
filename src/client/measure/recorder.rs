//! Where latencies go: a histogram of fixed size, and what else is needed to judge them.

use hdrhistogram::Histogram;

use crate::transports::sys::clock::Scale;

/// The longest latency that is distinguished from longer ones: an hour, in picoseconds.
const LONGEST_PS: u64 = 3600 * 1_000_000_000_000;

/// Slices of a trial whose means are kept, for the test of drift. Twice as many are merged two by two.
const SLICES: usize = 64;

/// An empty histogram of latencies in picoseconds, to 3 significant digits: 0.3 MiB, however many are recorded.
#[must_use]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_PS, 3).expect("the bounds are valid")
}

/// Collects the latencies of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    /// In picoseconds.
    pub histogram: Histogram<u64>,
    /// At a fixed rate: from when each round should have started, in picoseconds.
    pub response: Option<Histogram<u64>>,
    slices: Vec<Slice>,
    slice_len: u64,
}

/// The sum of a run of latencies.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    count: u64,
    sum_ps: u128,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { histogram: histogram(), response: None, slices: Vec::with_capacity(2 * SLICES), slice_len: 1 }
    }
}

impl Recorder {
    /// For rounds at a fixed rate, if that is `paced`.
    pub(super) fn new(paced: bool) -> Self {
        Self { response: paced.then(histogram), ..Self::default() }
    }

    /// Takes in what a block has stored, in clock ticks.
    pub(crate) fn record(&mut self, ticks: &[u64], scale: Scale) {
        let mut slice = Slice::default();
        for ticks in ticks {
            let ps = scale.to_ps(*ticks).clamp(1, LONGEST_PS);
            self.histogram.saturating_record(ps);
            slice.count += 1;
            slice.sum_ps += u128::from(ps);
        }
        self.add_slice(slice);
    }

    /// Takes in a block that was timed as a whole: `count` rounds, `ticks` in all, as one sample of their mean.
    pub(crate) fn record_batch(&mut self, ticks: u64, count: usize, scale: Scale) {
        let mean = u64::try_from(count).ok().and_then(|rounds| scale.to_ps(ticks).checked_div(rounds));
        if let Some(ps) = mean {
            self.histogram.saturating_record(ps.clamp(1, LONGEST_PS));
            self.add_slice(Slice { count: 1, sum_ps: ps.into() });
        }
    }

    /// The means of the slices in their order, in picoseconds.
    #[must_use]
    pub(crate) fn series(&self) -> Vec<f64> {
        self.slices
            .iter()
            .filter(|slice| slice.count > 0)
            .map(|slice| slice.sum_ps as f64 / slice.count as f64)
            .collect()
    }

    /// The latencies of recorders that have run side by side. Slices are joined by their place in their series.
    pub(super) fn together<'a>(recorders: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut all = Self::default();
        let series = recorders.clone().map(|one| &one.slices).filter(|slices| !slices.is_empty());
        let len = series.clone().map(Vec::len).min().unwrap_or(0);
        all.slices.resize(len, Slice::default());
        for slices in series {
            for (index, slice) in slices.iter().enumerate() {
                all.slices[index * len / slices.len()].add(*slice);
            }
        }
        for one in recorders {
            // The bounds are the same, so that it cannot fail.
            let _ = all.histogram.add(&one.histogram);
            if let Some(response) = &one.response {
                let _ = all.response.get_or_insert_with(histogram).add(response);
            }
        }
        all
    }

    fn add_slice(&mut self, slice: Slice) {
        match self.slices.last_mut().filter(|last| last.count < self.slice_len) {
            Some(last) => last.add(slice),
            None => self.slices.push(slice),
        }
        if self.slices.len() == 2 * SLICES {
            for index in 0..SLICES {
                let mut merged = self.slices[2 * index];
                merged.add(self.slices[2 * index + 1]);
                self.slices[index] = merged;
            }
            self.slices.truncate(SLICES);
            self.slice_len = self.slices[0].count;
        }
    }
}

impl Slice {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum_ps += other.sum_ps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorders_side_by_side_keep_their_time() {
        let recorder = |len: u64| {
            let mut recorder = Recorder::default();
            (0..len)
                .for_each(|n| recorder.slices.push(Slice { count: 10, sum_ps: (10 * n / len * 100).into() }));
            recorder.histogram.record_n(5, len).unwrap();
            recorder
        };
        let recorders = [recorder(20), recorder(60), Recorder::default()];
        let all = Recorder::together(recorders.iter());
        assert_eq!((all.slices.len(), all.histogram.len()), (20, 80));
        assert_eq!(all.slices.iter().map(|slice| slice.count).sum::<u64>(), 800);
        assert!(all.series().is_sorted(), "what was at the same time stays so");
        assert_eq!(Recorder::together([].iter()).series(), Vec::<f64>::new());
    }

    #[test]
    fn memory_does_not_depend_on_the_number_of_rounds() {
        let mut recorder = Recorder::default();
        let buckets = recorder.histogram.distinct_values();
        for n in 0..10_000 {
            recorder.add_slice(Slice { count: 1000, sum_ps: 1000 * n });
        }
        assert!(recorder.slices.len() < 2 * SLICES && recorder.slices.capacity() == 2 * SLICES);
        assert_eq!(recorder.histogram.distinct_values(), buckets);
        let series = recorder.series();
        assert!(series.is_sorted(), "slices keep their order");
        assert!(series.len() >= SLICES / 2);
    }
}
