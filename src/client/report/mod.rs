//! Reports: one model of what was measured, and its formats. Every format shows the model, so that all agree.
//!
//! | for | format |
//! |---|---|
//! | a terminal | [`text`] |
//! | a program | [`json`], whose layout `docs/json.md` tells; line by line, [`stream`] |
//! | a spreadsheet | [`csv`](mod@csv) |
//! | a forge | [`markdown`] |
//! | the HdrHistogram tools | [`hdr_log`] |
//!
//! [`matrix`] is another command's, with formats of its own.

mod charts;
mod columns;
mod cost;
pub(crate) mod csv;
pub(in crate::client) mod doubts;
mod escape;
pub(crate) mod file;
#[cfg(test)]
#[path = "tests/golden.rs"]
mod golden;
pub(crate) mod hdr_log;
pub(crate) mod html;
pub(crate) mod json;
mod latency;
pub(crate) mod markdown;
pub(crate) mod matrix;
mod model;
#[cfg(test)]
#[path = "tests/sample.rs"]
pub(in crate::client) mod sample;
pub(crate) mod stream;
pub(crate) mod text;
mod words;

use crate::client::host::Environment;

pub(crate) use cost::{Cost, Costs};
pub use latency::Latency;
pub(in crate::client) use latency::PS_PER_NS;
pub(crate) use latency::Span;
pub use model::Report;
pub(in crate::client) use model::confidence;
pub(crate) use model::{
    CellReport, Clock, LongestGap, ProbeReport, SCHEMA, Settings, Times, TrialReport, cell_name,
};
pub(crate) use stream::IntervalReport;
pub(in crate::client) use words::{
    clock as clock_line, host as host_line, method as cell_method, pace as cell_pace, samples as samples_line,
};
