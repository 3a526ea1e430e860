//! The queries, each run in a new process.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use ipcd::internals::client::MergedRuns;
use ipcd::internals::client::Statistic;
use ipcd::internals::client::prometheus;
use ipcd::internals::client::{Comparison, Side};
use ipcd::internals::client::{Filter, History, HistoryError, Pick};
use ipcd::internals::client::{TrendPlan, trends};

/// A question, and how many rows its answer has at least.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whether it has to be there at once; all of a history takes as long as it is large, in no more memory.
    pub(crate) at_once: bool,
    ask: fn(&History) -> Result<usize, HistoryError>,
}

pub(crate) const QUERIES: [Query; 16] = [
    Query { name: "list", what: "history", at_once: true, ask: |history| runs(history, Filter::default()) },
    Query { name: "host", what: "history --host", at_once: true, ask: |history| runs(history, host()) },
    Query {
        name: "label",
        what: "history --label",
        at_once: true,
        ask: |history| runs(history, Filter { label: "hundredth".parse().ok(), ..Filter::default() }),
    },
    Query {
        name: "host-label",
        what: "history --host --label",
        at_once: true,
        // Whose runs have it.
        ask: |history| {
            let hosts = vec!["host1".to_owned()];
            runs(history, Filter { hosts, label: "hundredth".parse().ok(), ..Filter::default() })
        },
    },
    Query {
        name: "span",
        what: "history --since --until, of the second quarter",
        at_once: true,
        ask: |history| runs(history, second_quarter(history)?),
    },
    Query {
        name: "cell",
        what: "history --method --size",
        at_once: true,
        ask: |history| results(history, cell()),
    },
    Query {
        name: "cell-host",
        what: "history --method --size --host --since --until, of the same",
        at_once: true,
        ask: |history| {
            let Filter { since_unix_s, until_unix_s, .. } = second_quarter(history)?;
            results(history, Filter { hosts: host().hosts, since_unix_s, until_unix_s, ..cell() })
        },
    },
    Query {
        name: "cell-label",
        what: "history --method --size --label",
        at_once: true,
        ask: |history| results(history, Filter { label: "hundredth".parse().ok(), ..cell() }),
    },
    Query {
        name: "show",
        what: "history show last~1000 (or the first)",
        at_once: true,
        ask: |history| {
            let id = history.find(&Pick::Last(1000)).or_else(|_| history.find(&Pick::Id(1)))?;
            Ok(history.run(id)?.report.results.len())
        },
    },
    Query {
        name: "trend",
        what: "trend --method --size --host",
        at_once: true,
        ask: |history| trend(history, Filter { hosts: host().hosts, ..cell() }),
    },
    Query {
        name: "trends",
        what: "trend, of all cells of all hosts",
        at_once: true,
        ask: |history| trend(history, Filter::default()),
    },
    Query {
        name: "trends-label",
        what: "trend --label, of all cells of all hosts",
        at_once: true,
        ask: |history| trend(history, Filter { label: "hundredth".parse().ok(), ..Filter::default() }),
    },
    Query { name: "compare", what: "compare last~4 last, of 20 cells", at_once: true, ask: compare },
    Query {
        name: "export",
        what: "export --prometheus, of 80 cells and a baseline",
        at_once: true,
        ask: |history| Ok(prometheus(history, &Filter::default())?.results),
    },
    Query { name: "list-all", what: "history -n 0 --json", at_once: false, ask: list_all },
    Query { name: "sum", what: "history show --label, the sum of all such", at_once: false, ask: sum },
];

/// Asks, and prints how long the answer took in microseconds, and this process's peak memory in KiB.
pub(crate) fn run(name: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let query = QUERIES.iter().find(|query| query.name == name).ok_or("no such query")?;
    let start = Instant::now();
    let rows = (query.ask)(&History::open(path)?)?;
    let took = start.elapsed();
    if rows == 0 {
        return Err("the answer is empty".into());
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("VmHWM is missing")?;
    println!("{} {}", took.as_micros(), peak.trim().trim_end_matches(" kB"));
    Ok(())
}

fn cell() -> Filter {
    Filter { methods: vec!["null".to_owned()], sizes: vec![64], ..Filter::default() }
}

fn host() -> Filter {
    Filter { hosts: vec!["host3".to_owned()], ..Filter::default() }
}

/// Neither the newest runs, which a list begins with, nor the oldest.
fn second_quarter(history: &History) -> Result<Filter, HistoryError> {
    let mut filter = Filter::default();
    history.runs(&filter.clone(), Some(1), &mut |newest| {
        // An hour lies between two.
        let quarter = newest.id.unsigned_abs() / 4 * 3600;
        filter.since_unix_s = Some(newest.started_unix_s - 3 * quarter);
        filter.until_unix_s = Some(newest.started_unix_s - 2 * quarter);
        ControlFlow::Break(())
    })?;
    Ok(filter)
}

fn runs(history: &History, filter: Filter) -> Result<usize, HistoryError> {
    let mut rows = 0;
    history.runs(&filter, Some(20), &mut |_| {
        rows += 1;
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn results(history: &History, filter: Filter) -> Result<usize, HistoryError> {
    let mut rows = 0;
    history.results(&filter, Some(20), &mut |_| {
        rows += 1;
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn trend(history: &History, filter: Filter) -> Result<usize, HistoryError> {
    let plan = TrendPlan { filter, statistic: Statistic::P50, runs: 500, least_change: 0.02 };
    Ok(trends(history, &plan)?.len())
}

/// Compares two runs of one host, with the noise from its history.
fn compare(history: &History) -> Result<usize, HistoryError> {
    let side = |back| Side::recorded(&Pick::Last(back), history);
    let comparison = Comparison::new(&side(4)?, &side(0)?, Statistic::P50, Some(history))?;
    let json = serde_json::to_value(&comparison).expect("a comparison is JSON");
    Ok(json["cells"]
        .as_array()
        .map_or(0, |cells| cells.iter().filter(|cell| !cell["noise"].is_null()).count()))
}

/// Every run as JSON, discarded.
fn list_all(history: &History) -> Result<usize, HistoryError> {
    let mut rows = 0;
    history.runs(&Filter::default(), None, &mut |row| {
        rows += 1;
        match serde_json::to_writer(std::io::sink(), &row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(rows)
}

fn sum(history: &History) -> Result<usize, HistoryError> {
    let mut ids = Vec::new();
    let filter = Filter { label: "hundredth".parse().ok(), ..Filter::default() };
    history.runs(&filter, None, &mut |row| {
        ids.push(row.id);
        ControlFlow::Continue(())
    })?;
    let mut sum: Option<MergedRuns> = None;
    for id in ids {
        let run = history.run(id)?;
        match &mut sum {
            None => sum = Some(MergedRuns::new(run)),
            // All are copies of one.
            Some(sum) => drop(sum.add(run)),
        }
    }
    Ok(sum.map_or(0, |sum| sum.report(Vec::new()).results.len()))
}
