//! Whole runs: stored in one transaction, and read back with their histograms.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::list::LATENCY;
use super::{History, HistoryError, Label};
use crate::client::measure::histogram;
use crate::client::report::{CellReport, Report, json};
use crate::units::now_unix_s;

/// A recorded run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id in this history, from 1; never given to another run.
    pub id: i64,
    /// Its name in every history.
    pub uuid: Uuid,
    /// Its label.
    pub label: Option<String>,
    /// Its result, histograms included.
    pub report: Report,
}

impl History {
    /// Stores a run and returns its id. It is on the disk then; after an error, nothing of it is stored.
    ///
    /// # Errors
    /// The database's: a full disk, another writer that does not end.
    pub fn record(&mut self, report: &Report, label: Option<&Label>) -> Result<i64, HistoryError> {
        let label = label.map(Label::as_str);
        let encoded =
            |cell: &CellReport| (encode(&cell.histogram), cell.response_histogram.as_ref().map(encode));
        let histograms: Vec<Encoded> = report.results.iter().map(encoded).collect();
        let id = self.write(|transaction| {
            insert(transaction, Uuid::new_v4(), label, report, &histograms, Origin::Recorded)
        })?;
        Ok(id.expect("a random UUID is new"))
    }

    /// The run with this id.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn run(&self, id: i64) -> Result<Run, HistoryError> {
        let read = || {
            let mut run = self.db.prepare_cached(
                "SELECT uuid, label, report, json FROM run JOIN environment ON environment.id = run.environment
                 WHERE run.id = ?1",
            )?;
            run.query_row([id], |row| {
                let unreadable = |column, error: Cause| {
                    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
                };
                let json = |column| move |error: serde_json::Error| unreadable(column, error.into());
                let uuid = row.get_ref(0)?.as_str()?.parse();
                let mut keys: Keys<'_> = serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(json(2))?;
                keys.insert("environment", serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(json(3))?);
                let report = json::text(&keys).and_then(|report| serde_json::from_str(&report));
                Ok(Run {
                    id,
                    uuid: uuid.map_err(|error: uuid::Error| unreadable(0, error.to_string().into()))?,
                    label: row.get(1)?,
                    report: report.map_err(json(2))?,
                })
            })
            .optional()
        };
        let part = |parts: &'static [&str]| move |column: usize| format!("the {} of run {id}", parts[column]);
        let run = read().map_err(self.damaged(part(&["uuid", "label", "report", "environment"])))?;
        let results =
            self.results_of(id).map_err(self.damaged(part(&["result", "histogram", "histogram"])))?;
        self.check_unchanged()?;
        let mut run = run.ok_or_else(|| self.absent(HistoryError::NoRun(id)))?;
        run.report.results = results;
        Ok(run)
    }

    fn results_of(&self, run: i64) -> rusqlite::Result<Vec<CellReport>> {
        let mut results = self.db.prepare_cached(
            "SELECT report, histogram, response_histogram FROM result JOIN detail ON result = id
             WHERE run = ?1 ORDER BY id",
        )?;
        let results = results.query_map([run], |row| {
            let Json(mut cell): Json<CellReport> = row.get(0)?;
            cell.histogram = row.get::<_, Blob>(1)?.0;
            cell.response_histogram = row.get::<_, Option<Blob>>(2)?.map(|blob| blob.0);
            cell.complete();
            Ok(cell)
        })?;
        results.collect()
    }

    /// The error of a value that cannot be converted; `name` names the value by its column.
    pub(super) fn damaged(&self, name: impl Fn(usize) -> String) -> impl Fn(rusqlite::Error) -> HistoryError {
        move |error| match error {
            rusqlite::Error::FromSqlConversionFailure(column, _, source) => {
                HistoryError::Damaged { path: self.path.clone(), what: name(column), source }
            }
            error => self.failed("read")(error),
        }
    }
}

/// Where a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was measured now.
    Recorded,
    /// It is from another history.
    Imported,
}

/// Runs recorded here come after all others, in the order of their ids: the clock may have been wrong.
const RECORDED: i64 = 1 << 61;

/// A cell's histograms, [encoded](encode): of latencies and, at a fixed rate, of response times.
pub(super) type Encoded = (Vec<u8>, Option<Vec<u8>>);

/// Inserts a run with its cells' histograms and returns its id, or `None` if one with this UUID exists.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    uuid: Uuid,
    label: Option<&str>,
    report: &Report,
    histograms: &[Encoded],
    origin: Origin,
) -> rusqlite::Result<Option<i64>> {
    let host = report.environment.hostname.as_deref().unwrap_or_default();
    let started_unix_s = report.started_unix_s.cast_signed();
    let environment = json::text(&report.environment).map_err(to_sql_failure)?;
    transaction
        .prepare_cached("INSERT INTO environment (json) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([&environment])?;
    let environment: i64 = transaction
        .prepare_cached("SELECT id FROM environment WHERE json = ?1")?
        .query_row([&environment], |row| row.get(0))?;
    let rest = json::text(&Report { results: Vec::new(), ranking: Vec::new(), ..report.clone() })
        .map_err(to_sql_failure)?;
    let mut rest: Keys<'_> = serde_json::from_str(&rest).map_err(to_sql_failure)?;
    rest.remove("environment");
    let run: Option<i64> = transaction
        .prepare_cached(
            "INSERT INTO run (uuid, started_unix_s, host, label, grade, environment, report)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (uuid) DO NOTHING RETURNING id",
        )?
        .query_row(
            params![
                uuid.to_string(),
                started_unix_s,
                host,
                label,
                report.grade.to_string(),
                environment,
                Json(rest)
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(run) = run else { return Ok(None) };
    let ordinal = match origin {
        Origin::Recorded => RECORDED + run,
        Origin::Imported => started_unix_s.min(now_unix_s().cast_signed()),
    };
    transaction.prepare_cached("UPDATE run SET ordinal = ?2 WHERE id = ?1")?.execute([run, ordinal])?;
    for (cell, (latency_histogram, response_histogram)) in report.results.iter().zip(histograms) {
        transaction
            .prepare_cached(
                "INSERT INTO series (host, cell, method, size_bytes, wait, placement) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                host,
                cell.cell,
                cell.method,
                cell.size_bytes.cast_signed(),
                cell.wait.name(),
                cell.placement.name()
            ])?;
        let series: i64 = transaction
            .prepare_cached("SELECT id FROM series WHERE host = ?1 AND cell = ?2")?
            .query_row([host, &cell.cell], |row| row.get(0))?;
        let latency = &cell.headline_ns;
        let result = transaction
            .prepare_cached(&format!(
                "INSERT INTO result (run, series, ordinal, started_unix_s, grade, {LATENCY})
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
            ))?
            .insert(params![
                run,
                series,
                ordinal,
                started_unix_s,
                cell.grade.to_string(),
                latency.samples.cast_signed(),
                latency.min,
                latency.p50,
                latency.p90,
                latency.p99,
                latency.p99_9,
                latency.p99_99,
                latency.max,
                latency.mean,
            ])?;
        transaction
            .prepare_cached(
                "INSERT INTO detail (result, report, histogram, response_histogram) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![result, Json(cell), latency_histogram, response_histogram])?;
    }
    Ok(Some(run))
}

/// JSON in a column.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json::text(&self.0).map(Into::into).map_err(to_sql_failure)
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

fn to_sql_failure(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

/// A report's keys, with their values as they are written: a report is stored without its results and its environment.
type Keys<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Why bytes are not a histogram or a line is not a run.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A histogram in a column.
struct Blob(Histogram<u64>);

impl FromSql for Blob {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        decode(value.as_blob()?).map(Self).map_err(FromSqlError::Other)
    }
}

/// Before the deflated part: a cookie and its length, 4 bytes each.
const OUTER: usize = 8;
/// In the inner part: cookie and length, 4 bytes each, then the bounds and digits up to here, then the counts.
const COOKIE_AND_LENGTH: usize = 8;
const HEADER: usize = 40;
/// More than the inner part can have: 9 bytes for each of the some 36 thousand counts that the bounds allow for.
const MOST: u64 = 1 << 20;

/// A histogram as bytes: HdrHistogram V2, deflated, which other tools read as well. A report that was read without histograms
/// has smaller ones: they get the bounds that all others have.
pub(super) fn encode(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let histogram = if histogram.is_empty() { &self::histogram() } else { histogram };
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    written.expect("memory can be written, and counts are below 2^63");
    bytes
}

/// The histogram of these bytes, with the bounds that all histograms of a report have. Lengths are checked before
/// anything is allocated: the bytes may come from an untrusted file.
pub(super) fn decode(bytes: &[u8]) -> Result<Histogram<u64>, Cause> {
    let deflated = bytes.get(OUTER..).ok_or("it is too short for a histogram")?;
    let mut inner = Vec::new();
    ZlibDecoder::new(deflated).take(MOST).read_to_end(&mut inner)?;
    let common = COOKIE_AND_LENGTH..HEADER;
    if inner.get(..4) != EMPTY.get(..4) || inner.get(common.clone()) != EMPTY.get(common) {
        return Err("it is not an HdrHistogram V2 from 1 ps to an hour with 3 digits".into());
    }
    let length = u32::from_be_bytes(inner[4..8].try_into()?);
    if usize::try_from(length)? != inner.len() - HEADER {
        return Err(format!("it has {} bytes of counts and says {length}", inner.len() - HEADER).into());
    }
    Deserializer::new().deserialize(&mut &inner[..]).map_err(|error| error.to_string().into())
}

/// An empty histogram, not deflated: the header that all have in common.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram(), &mut bytes).expect("memory can be written, and it is small");
    bytes
});

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn a_histogram_comes_back_as_it_was() {
        let mut all = histogram();
        for n in 0..10_000_u64 {
            all.record(1 + n * n * 12_345).unwrap();
        }
        let bytes = encode(&all);
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        assert_eq!(decode(&bytes).unwrap(), all);
        assert_eq!(decode(&encode(&histogram())).unwrap(), histogram());
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = encode(&histogram());
        for other in [&bytes[..bytes.len() / 2], b"", b"no histogram, but more than forty bytes of text"] {
            assert!(decode(other).is_err());
        }
        let mut wide = Histogram::<u64>::new_with_bounds(1, 1 << 60, 3).unwrap();
        wide.record(1 << 55).unwrap();
        assert!(decode(&encode(&wide)).unwrap_err().to_string().contains("3 digits"));
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut lie = EMPTY.clone();
        lie[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut bytes = vec![0; OUTER];
        let mut deflate = ZlibEncoder::new(&mut bytes, Compression::default());
        deflate.write_all(&lie).unwrap();
        deflate.finish().unwrap();
        assert!(decode(&bytes).unwrap_err().to_string().contains("says 4294967295"));
    }
}
