//! Judges results: warnings and a grade for one run, and the verdicts of `compare`, `check` and `trend` between runs.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod trend;
pub(crate) mod warnings;
