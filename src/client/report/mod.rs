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

mod columns;
mod cost;
pub mod csv;
pub(in crate::client) mod doubts;
pub mod file;
#[cfg(test)]
#[path = "tests/golden.rs"]
mod golden;
pub mod hdr_log;
pub mod html;
pub mod json;
mod latency;
pub mod markdown;
pub mod matrix;
mod model;
#[cfg(test)]
#[path = "tests/sample.rs"]
pub(in crate::client) mod sample;
pub mod stream;
pub mod text;
pub(in crate::client) mod units;
mod words;

use crate::client::host::Environment;

pub use cost::{Cost, Costs};
pub(in crate::client) use latency::PS_PER_NS;
pub use latency::{Latency, Quantiles, Span};
pub(in crate::client) use model::confidence;
pub use model::{
    CellReport, Clock, LongestGap, ProbeReport, Report, SCHEMA, Settings, Times, TrialReport, cell_name,
};
pub use stream::IntervalReport;
pub(in crate::client) use units::{latency, percent, rate, size, utc};
pub(in crate::client) use words::{
    clock as clock_line, host as host_line, method as cell_method, pace as cell_pace, samples as samples_line,
};
