//! Statistics of a measurement: pure functions of numbers, no I/O, no chance; the same input gives the same
//! report.
//!
//! | question | answer |
//! |---|---|
//! | what did the rounds of one trial, or of all, cost? | [`Latency`], [`Outliers`] |
//! | how sure is that, over trials? | [`median_interval`], [`relative_half_width`] |
//! | do the trials agree? | [`spread`](spread()) |
//! | did latencies rise or fall while they were measured? | [`drift`](drift()) |
//! | since when is it different, over months of runs? | [`change_points`](change_points()) |
//! | are two things different within one session? | [`compare_pairs`], [`compare_groups`] |
//! | are runs different from other runs? | [`RunEstimate`], [`RunSpread`], [`holm`] |
//!
//! Apart from [`Latency`], nothing here depends on the unit. The unit of chance is the trial, never the round:
//! rounds of one trial share a process, its memory and its CPUs, so they resemble each other, and an interval
//! over a million rounds is narrow and wrong (Kalibera & Jones, "Rigorous Benchmarking in Reasonable Time",
//! ISMM'13).
//!
//! # Why these intervals
//! By simulation: how often does an interval that claims 95 % hold the true value, over five shapes that
//! trial medians take (normal, skewed, exponential, two modes, long tails)? Lowest to highest, in percent:
//!
//! | trials | chosen: median | percentile bootstrap: median | Student's t: mean | BCa bootstrap: mean |
//! |---|---|---|---|---|
//! | 2 | 93–96 | 50–51 | 81–96 | |
//! | 3 | 93–96 | 75–76 | 62–96 | 48–72 |
//! | 5 | 94–96 | 94 | 67–96 | 66–83 |
//! | 7 | 94–95 | 87–88 | 78–96 | 78–88 |
//! | 10 | 94–95 | 93–94 | 89–96 | 86–90 |
//! | 30 | 95–96 | 94–95 | 93–96 | 90–96 |
//!
//! Hence neither a bootstrap nor an interval for the mean over trials: one slow trial in five decides the
//! mean, and whether it was drawn is luck. `tests/statistics/coverage.py` ran this; all figures, those of the
//! comparisons too, are in `tests/statistics/coverage.txt`; those of the drift test are in `inference.txt` beside it.
//!
//! Against an independent computation the functions are tested with `tests/statistics/reference.json`.

mod change_points;
mod comparison;
mod drift;
#[cfg(test)]
#[path = "../../../tests/statistics/inference.rs"]
mod inference;
mod interval;
#[cfg(test)]
#[path = "tests/reference.rs"]
mod reference;
mod runs;
mod summary;

pub(crate) use change_points::{FEWEST_FOR_A_CHANGE, change_points};
pub(crate) use comparison::{Comparison, compare_groups, compare_pairs};
pub(crate) use drift::{Drift, drift};
pub use interval::median;
pub(crate) use interval::{CONFIDENCE, Interval, median_interval, relative_half_width, spread};
pub(crate) use runs::{ASSUMED_RUN_SD, RunEstimate, RunSpread, geometric_mean, holm};
pub use summary::Latency;
pub(crate) use summary::{MIN_SAMPLES_BEYOND, Outliers, PS_PER_NS, Statistic, quantile};
