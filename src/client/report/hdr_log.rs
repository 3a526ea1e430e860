//! HdrHistogram V2 interval logs, which the public HdrHistogram tools read: a line for each trial, or for each interval
//! of one, with the cell's name as its tag and values in nanoseconds. Lines with the same tag add up to the cell.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::Report;
use crate::client::stats::PS_PER_NS;

/// The suffix of the tag of latencies from the intended start.
pub(crate) const RESPONSE: &str = ":response";

/// The longest latency of the log, an hour; longer ones are recorded as it.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Writes such a log.
pub(crate) struct HdrLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
}

impl<W: Write> HdrLog<W> {
    /// Writes the header. Times in the log count from `start`.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn begin(mut out: W, start: SystemTime) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(concat!("[ipcd ", env!("CARGO_PKG_VERSION"), ": round trips, in nanoseconds]"))
            .with_start_time(start)
            // Without it, readers guess from the size of a number whether it counts from the start.
            .with_base_time(start)
            .begin_log_with(&mut out, &mut serializer)?;
        writeln!(
            out,
            r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
        )?;
        Ok(Self { out, serializer })
    }

    /// Writes a line for a histogram in picoseconds.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn line(
        &mut self,
        tag: &str,
        picoseconds: &Histogram<u64>,
        since_start: Duration,
        length: Duration,
    ) -> io::Result<()> {
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut self.out, &mut self.serializer)?;
        let written = log.write_histogram(&in_nanoseconds(picoseconds), since_start, length, Tag::new(tag));
        written.map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })
    }

    /// Ends the log and gives the writer back.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }
}

/// Writes the log of a recorded report, which has only the histogram of all of a cell's rounds: a line for each cell, as
/// long as its rounds took.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, out: impl Write) -> io::Result<()> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(report.started_unix_s);
    let mut log = HdrLog::begin(out, start)?;
    for cell in &report.results {
        let length = Duration::try_from_secs_f64(cell.elapsed_ns / 1e9).unwrap_or_default();
        log.line(&cell.cell, &cell.histogram, Duration::ZERO, length)?;
        if let Some(response) = &cell.response_histogram {
            log.line(&format!("{}{RESPONSE}", cell.cell), response, Duration::ZERO, length)?;
        }
    }
    log.into_inner().flush()
}

/// The same samples in nanoseconds. Each is moved to the middle of its bucket, as in the report, and rounded.
fn in_nanoseconds(picoseconds: &Histogram<u64>) -> Histogram<u64> {
    let mut nanoseconds = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are valid");
    for bucket in picoseconds.iter_recorded() {
        let middle = picoseconds.median_equivalent(bucket.value_iterated_to());
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an unsigned number, divided"
        )]
        let ns = (middle as f64 / PS_PER_NS).round() as u64;
        nanoseconds.saturating_record_n(ns.clamp(1, LONGEST_NS), bucket.count_at_value());
    }
    nanoseconds
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::client::measure::histogram;

    #[test]
    fn a_log_has_what_was_recorded() {
        let mut ps = histogram();
        for n in 1..=100_000_u64 {
            ps.record(n * 12_345).unwrap();
        }
        let mut log = HdrLog::begin(Vec::new(), SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        log.line("tcp:8B:block:unpinned", &ps, Duration::from_millis(1500), Duration::from_secs(2)).unwrap();
        log.line("empty", &histogram(), Duration::from_secs(4), Duration::from_secs(1)).unwrap();
        let log = log.into_inner();

        let entries: Vec<_> = IntervalLogIterator::new(&log).map(|entry| entry.unwrap()).collect();
        let [
            LogEntry::StartTime(start),
            LogEntry::BaseTime(base),
            LogEntry::Interval(one),
            LogEntry::Interval(_),
        ] = &entries[..]
        else {
            panic!("{entries:?}")
        };
        assert_eq!((start.as_secs(), base.as_secs()), (1000, 1000));
        assert_eq!(one.tag(), Tag::new("tcp:8B:block:unpinned"));
        assert_eq!(one.start_timestamp(), Duration::from_millis(1500));
        assert_eq!(one.duration(), Duration::from_secs(2));
        let bytes = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(one.encoded_histogram()).unwrap()
        };
        let ns: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(ns.len(), 100_000);
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (expected, shown) =
                (ps.value_at_quantile(quantile) as f64 / 1e3, ns.value_at_quantile(quantile));
            // Half a nanosecond by rounding, 0.1 % by the bucket.
            assert!(
                (shown as f64 - expected).abs() < 0.5 + 0.002 * expected,
                "{quantile}: {shown} for {expected}"
            );
        }
    }

    #[test]
    fn a_recorded_report_has_a_line_for_each_cell() {
        let report = crate::client::report::sample::paced();
        let mut log = Vec::new();
        write(&report, &mut log).unwrap();
        let mut lines = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(line) = entry.unwrap() {
                lines.push((line.tag().unwrap().as_str().to_owned(), line.duration()));
            }
        }
        let mut wanted = Vec::new();
        for cell in &report.results {
            let length = Duration::from_millis((cell.elapsed_ns / 1e6).round() as u64);
            wanted.push((cell.cell.clone(), length));
            wanted.extend(
                cell.response_histogram.as_ref().map(|_| (format!("{}{RESPONSE}", cell.cell), length)),
            );
        }
        assert!(lines.len() > 1 && lines.iter().any(|(tag, _)| tag.ends_with(RESPONSE)), "{lines:?}");
        let whole = |(tag, length): &(String, Duration)| (tag.clone(), length.as_millis());
        assert_eq!(lines.iter().map(whole).collect::<Vec<_>>(), wanted.iter().map(whole).collect::<Vec<_>>());
    }
}
