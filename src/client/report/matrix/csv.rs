//! CSV: a row a pair. What there is no figure for is empty.

use std::io::{self, Write};

use super::Matrix;

const HEADER: [&str; 14] = [
    "method",
    "options",
    "size_bytes",
    "wait",
    "client_cpu",
    "server_cpu",
    "placement",
    "trials",
    "rounds",
    "min_ns",
    "p50_ns",
    "p50_95_low_ns",
    "p50_95_high_ns",
    "error",
];

/// Writes a header and the rows.
///
/// # Errors
/// The writer's.
pub(crate) fn write(matrix: &Matrix, out: impl Write) -> io::Result<()> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(HEADER)?;
    let options: Vec<_> = matrix.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let options = options.join(" ");
    // To a picosecond, which is finer than any clock.
    let ns = |ns: Option<f64>| ns.map(|ns| format!("{ns:.3}")).unwrap_or_default();
    for pair in &matrix.pairs {
        let interval = pair.p50_95_ns();
        out.write_record([
            matrix.method.clone(),
            options.clone(),
            matrix.size_bytes.to_string(),
            matrix.wait.to_string(),
            pair.client_cpu.to_string(),
            pair.server_cpu.to_string(),
            pair.placement.map(|placement| placement.to_string()).unwrap_or_default(),
            pair.trials.len().to_string(),
            pair.rounds().to_string(),
            ns(pair.min_ns()),
            ns(pair.p50_ns()),
            ns(interval.map(|interval| interval.low)),
            ns(interval.map(|interval| interval.high)),
            pair.error.clone().unwrap_or_default(),
        ])?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{two_cpus, two_sockets};
    use super::*;
    use crate::client::report::golden::assert_golden;

    fn written(matrix: &Matrix) -> String {
        let mut out = Vec::new();
        write(matrix, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn two_cpus_are_written_to_the_byte() {
        assert_golden("matrix.csv", written(&two_cpus()).as_bytes());
    }

    #[test]
    fn every_ordered_pair_has_a_row() {
        assert_eq!(written(&two_sockets()).lines().count(), 1 + 64 * 64);
    }
}
