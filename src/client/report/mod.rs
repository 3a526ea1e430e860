//! Reports: one model of what was measured, and its formats. Every format shows the model, so that all agree.

mod cost;
pub mod json;
mod latency;
mod model;
pub mod text;
mod units;

pub use cost::{Cost, Costs};
pub use latency::{Latency, Quantiles, Span};
pub use model::{CellReport, Clock, ProbeReport, Report, SCHEMA, Settings, Times, TrialReport};
