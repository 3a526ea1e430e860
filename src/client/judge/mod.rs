//! Judges results: warnings and a grade for one run, and the verdicts of `compare`, `check` and `trend` between runs.

pub mod check;
pub mod compare;
pub mod trend;
pub mod warnings;
