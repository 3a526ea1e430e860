//! Judges results: warnings and a grade for one run, the verdicts of `compare`, `check` and `trend` between runs, and the
//! checks of `doctor`.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod differences;
pub(crate) mod doctor;
pub(crate) mod noise;
pub(crate) mod trend;
pub(crate) mod warnings;
