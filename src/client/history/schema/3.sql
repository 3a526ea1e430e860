-- Schema 3: the order of runs, whatever the clock said, and baselines of several runs.

-- The newest run has the greatest. A run recorded here: 2^61 and its id. An imported run, and one recorded before this schema:
-- when it began, at most the time of the import or of this change.
ALTER TABLE run ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE result ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0;
UPDATE run SET ordinal = min(started_unix_s, unixepoch());
UPDATE result SET ordinal = (SELECT ordinal FROM run WHERE run.id = result.run);

DROP INDEX run_by_time;
DROP INDEX run_by_host;
DROP INDEX run_by_label;
DROP INDEX result_by_series;
CREATE INDEX run_by_time ON run (ordinal);
CREATE INDEX run_by_host ON run (host, ordinal);
CREATE INDEX run_by_label ON run (label, ordinal) WHERE label IS NOT NULL;
CREATE INDEX result_by_series ON result (series, ordinal);

CREATE TABLE baseline_of_runs (
    name TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES run (id),
    PRIMARY KEY (name, run)
) STRICT, WITHOUT ROWID;
INSERT INTO baseline_of_runs SELECT name, run FROM baseline;
DROP TABLE baseline;
ALTER TABLE baseline_of_runs RENAME TO baseline;
