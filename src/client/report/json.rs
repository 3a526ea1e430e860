//! JSON: the report's model as it is.

use std::io::{self, Write};

use super::Report;

/// Writes one JSON document.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)
}
