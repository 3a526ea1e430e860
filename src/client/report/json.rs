//! JSON: the report's model as it is.

use std::io::{self, Write};

use serde::Serialize;

/// Writes one JSON document, for a person to read as well.
///
/// The writer is any, so that what serializes a type is compiled once, whoever is to have it.
///
/// # Errors
/// The writer's.
pub(crate) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes one JSON document on the line at hand.
///
/// # Errors
/// The writer's.
pub(crate) fn write_in_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, value)?)
}

/// A JSON document in one line.
///
/// # Errors
/// If a map's key is none in JSON.
pub(crate) fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    serde_json::to_writer(&mut text as &mut dyn Write, value)?;
    Ok(String::from_utf8(text).expect("JSON is UTF-8"))
}
