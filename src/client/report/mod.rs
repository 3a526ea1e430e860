//! Reports: one model of what was measured, and its formats. Every format shows the model, so that all agree.
//!
//! | for | format |
//! |---|---|
//! | a terminal | [`text`] |
//! | a program | [`json`], described in `docs/json.md` |
//! | a spreadsheet | [`csv`](mod@csv) |
//! | a forge | [`markdown`] |
//! | the HdrHistogram tools | [`hdr_log`] |
//!
//! [`matrix`] belongs to another command and has its own formats.

mod cells;
mod charts;
pub(crate) mod csv;
mod escape;
pub(crate) mod file;
#[cfg(test)]
#[path = "tests/golden.rs"]
mod golden;
pub(crate) mod hdr_log;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod matrix;
mod model;
pub(in crate::client) mod ranking;
#[cfg(test)]
#[path = "tests/sample.rs"]
pub(in crate::client) mod sample;
mod sizes;
pub(crate) mod text;
pub(in crate::client) mod warnings;

pub(in crate::client) use cells::short_names;
pub(crate) use json::IntervalReport;
#[cfg(test)]
pub(crate) use model::Quantiles;
pub use model::Report;
pub(crate) use model::{
    CellReport, Clock, Cost, Costs, HeadlineOf, LongestGap, ProbeReport, Ranked, Ranking, Ratio, SCHEMA,
    Settings, Span, Times, TrialReport, cell_name,
};
