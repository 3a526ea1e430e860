//! A large history: one real run, and copies for other days and hosts with different figures.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

/// Sizes, each a cell.
const SIZES: &str = "8,16,24,32,48,64,96,128,192,256,384,512,768,1k,1536,2k,3k,4k,8k,16k";

/// What was made.
pub(crate) struct Filled {
    pub(crate) results: u64,
    /// When the first run began.
    pub(crate) began_unix_s: u64,
    pub(crate) took: Duration,
}

/// Copies of run 1, of four hosts in turn, an hour apart; in the newer half all is a tenth slower. Each host has had ten
/// kernels, and every seventh run went through the service. A run in a hundred has a label, and one is a baseline. By SQL, since a million runs by themselves would be a million waits for the disk.
const COPIES: &str = "
    INSERT INTO series (host, cell, method, size_bytes, wait, placement)
        SELECT 'host' || value, cell, method, size_bytes, wait, placement
        FROM series, (SELECT 1 AS value UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) WHERE host = (SELECT host FROM run WHERE id = 1);
    WITH RECURSIVE number (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < :runs)
    INSERT INTO run (id, uuid, started_unix_s, host, label, grade, environment, report)
        SELECT n, lower(hex(randomblob(16))), started_unix_s + n * 3600, 'host' || (n % 4 + 1),
            CASE WHEN n % 100 = 0 THEN 'hundredth' END, grade, 2 + (n % 4) * 10 + min(9, n * 10 / :runs),
            iif(n % 7 = 0, :of_service, report)
        FROM number, run WHERE run.id = 1;
    INSERT INTO result (run, series, started_unix_s, grade, samples, min_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns,
            max_ns, mean_ns)
        SELECT run.id, other.id, run.started_unix_s, one.grade, samples, min_ns * by, p50_ns * by, p90_ns * by, p99_ns * by,
            p99_9_ns * by, p99_99_ns * by, max_ns * by, mean_ns * by
        FROM (SELECT *, (CASE WHEN id * 2 > :runs THEN 1.1 ELSE 1.0 END) * (0.99 + abs(random() % 1000) / 5e4) AS by
              FROM run WHERE id > 1) AS run
        JOIN result AS one ON one.run = 1
        JOIN series ON series.id = one.series
        JOIN series AS other ON other.cell = series.cell AND other.host = run.host;
    INSERT INTO detail (result, report, histogram)
        SELECT result.id, detail.report, detail.histogram
        FROM result JOIN result AS one ON one.run = 1
        JOIN series ON series.id = one.series JOIN series AS other ON other.id = result.series AND other.cell = series.cell
        JOIN detail ON detail.result = one.id WHERE result.run > 1;
    INSERT INTO baseline (name, run) VALUES ('good', 6);";

pub(crate) fn fill(path: &Path, runs: u32) -> Result<Filled, Box<dyn Error>> {
    let start = Instant::now();
    let client = Command::new(env!("CARGO_BIN_EXE_ipc-client"))
        .args(["bench", "-m", "null", "--size", SIZES, "-n", "5000", "--trials", "5", "--private"])
        .args(["--record", "--history"])
        .arg(path)
        .output()?;
    if !client.status.success() {
        return Err(String::from_utf8_lossy(&client.stderr).into_owned().into());
    }
    let db = Connection::open(path)?;
    db.execute_batch("PRAGMA synchronous = off; BEGIN;")?;
    let of_service = insert_environments(&db)?;
    for statement in COPIES.split(';').filter(|statement| !statement.trim().is_empty()) {
        let mut statement = db.prepare(statement)?;
        if let Some(at) = statement.parameter_index(":runs")? {
            statement.raw_bind_parameter(at, runs)?;
        }
        if let Some(at) = statement.parameter_index(":of_service")? {
            statement.raw_bind_parameter(at, &of_service)?;
        }
        statement.raw_execute()?;
    }
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")?;
    let results: i64 = db.query_row("SELECT count(*) FROM result", [], |row| row.get(0))?;
    let began: i64 = db.query_row("SELECT min(started_unix_s) FROM run", [], |row| row.get(0))?;
    Ok(Filled {
        results: results.cast_unsigned(),
        began_unix_s: began.cast_unsigned(),
        took: start.elapsed(),
    })
}

/// Puts in the environments of four hosts with ten kernels each, and returns run 1's report as if a service had measured it.
fn insert_environments(db: &Connection) -> Result<String, Box<dyn Error>> {
    let (environment, report): (String, String) = db.query_row(
        "SELECT environment.json, run.report FROM run JOIN environment ON environment.id = run.environment WHERE run.id = 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut environment: Value = serde_json::from_str(&environment)?;
    for (host, kernel) in (0..4).flat_map(|host| (0..10).map(move |kernel| (host, kernel))) {
        environment["hostname"] = format!("host{}", host + 1).into();
        environment["kernel"]["release"] = format!("6.{kernel}").into();
        db.execute(
            "INSERT INTO environment (id, json) VALUES (?1, ?2)",
            (2 + host * 10 + kernel, environment.to_string()),
        )?;
    }
    let mut report: Value = serde_json::from_str(&report)?;
    report["settings"]["private_daemon"] = false.into();
    Ok(report.to_string())
}
