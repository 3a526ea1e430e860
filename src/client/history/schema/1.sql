-- Schema 1. A file of it is frozen in tests/history/: never change this, add the next number.

-- "ipcd": what `file` and a reader of the header know it by.
PRAGMA application_id = 0x69706364;

-- Environments, each once: the JSON of `environment`, as in docs/json.md.
CREATE TABLE environment (
    id INTEGER PRIMARY KEY,
    json TEXT NOT NULL UNIQUE
) STRICT;

-- A recorded run. AUTOINCREMENT, so that the id of a run that was removed never comes to mean another one.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    started_unix_s INTEGER NOT NULL,
    -- The host's name, or '' if it did not tell one.
    host TEXT NOT NULL,
    label TEXT,
    grade TEXT NOT NULL,
    environment INTEGER NOT NULL REFERENCES environment (id),
    -- The JSON of the report, without `environment` and `results`.
    report TEXT NOT NULL
) STRICT;

CREATE INDEX run_by_time ON run (started_unix_s);
CREATE INDEX run_by_environment ON run (environment);

-- A cell on a host: what is followed over time.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    -- The cell's name, as `cell` in the JSON.
    cell TEXT NOT NULL,
    method TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    wait TEXT NOT NULL,
    placement TEXT NOT NULL,
    UNIQUE (host, cell)
) STRICT;

-- What a cell came to in a run: the figures that are listed and followed. NULL is a statistic that the samples cannot
-- tell.
CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    series INTEGER NOT NULL REFERENCES series (id),
    started_unix_s INTEGER NOT NULL,
    grade TEXT NOT NULL,
    samples INTEGER NOT NULL,
    min_ns REAL,
    p50_ns REAL,
    p90_ns REAL,
    p99_ns REAL,
    p99_9_ns REAL,
    p99_99_ns REAL,
    max_ns REAL,
    mean_ns REAL
) STRICT;

CREATE INDEX result_by_run ON result (run);
CREATE INDEX result_by_series ON result (series, started_unix_s);

-- All of a result: its JSON, as in docs/json.md, and its histograms (HdrHistogram V2, deflated, in picoseconds), of
-- all trials together. Apart from `result`, so that lists do not read through it.
CREATE TABLE detail (
    result INTEGER PRIMARY KEY REFERENCES result (id) ON DELETE CASCADE,
    report TEXT NOT NULL,
    histogram BLOB NOT NULL,
    -- With a fixed rate: latencies from the intended start.
    response_histogram BLOB
) STRICT;

-- Runs that others are compared with, by name.
CREATE TABLE baseline (
    name TEXT PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (id)
) STRICT, WITHOUT ROWID;
