//! Reports: one model of what was measured, and its formats. Every format shows the model, so that all agree.

pub mod json;
mod model;
pub mod text;
mod units;

pub use model::{
    CellReport, Clock, Cost, Costs, Latency, OpenLoop, ProbeReport, Quantiles, Report, SCHEMA, Settings,
    Span, Times, TrialReport,
};
