-- Schema 2: what lists of one host's or one label's runs are read by. Without these they look at every run.
CREATE INDEX run_by_host ON run (host, started_unix_s);
CREATE INDEX run_by_label ON run (label, started_unix_s) WHERE label IS NOT NULL;
