//! What is asked of the history, each in a process of its own.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use ipcd::client::history::{Filter, History, HistoryError, Pick};
use ipcd::client::measure::stats::Statistic;
use ipcd::client::trend::{TrendPlan, trends};

/// A question, and how many rows its answer has at least.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    ask: fn(&History) -> Result<usize, HistoryError>,
}

pub(crate) const QUERIES: [Query; 9] = [
    Query { name: "list", what: "history", ask: |history| runs(history, Filter::default()) },
    Query { name: "host", what: "history --host", ask: |history| runs(history, host()) },
    Query {
        name: "label",
        what: "history --label",
        ask: |history| runs(history, Filter { label: "hundredth".parse().ok(), ..Filter::default() }),
    },
    Query { name: "cell", what: "history --method --size", ask: |history| results(history, cell()) },
    Query {
        name: "cell-host",
        what: "history --method --size --host --since",
        ask: |history| results(history, Filter { hosts: host().hosts, since_unix_s: Some(1), ..cell() }),
    },
    Query {
        name: "cell-label",
        what: "history --method --size --label",
        ask: |history| results(history, Filter { label: "hundredth".parse().ok(), ..cell() }),
    },
    Query {
        name: "show",
        what: "history show last~1000 (or the first)",
        ask: |history| {
            let id = history.find(&Pick::Last(1000)).or_else(|_| history.find(&Pick::Id(1)))?;
            Ok(history.run(id)?.report.results.len())
        },
    },
    Query {
        name: "trend",
        what: "trend --method --size --host",
        ask: |history| trend(history, Filter { hosts: host().hosts, ..cell() }),
    },
    Query {
        name: "trends",
        what: "trend, of all cells of all hosts",
        ask: |history| trend(history, Filter::default()),
    },
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
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak is told")?;
    println!("{} {}", took.as_micros(), peak.trim().trim_end_matches(" kB"));
    Ok(())
}

fn cell() -> Filter {
    Filter { methods: vec!["null".to_owned()], sizes: vec![64], ..Filter::default() }
}

fn host() -> Filter {
    Filter { hosts: vec!["host3".to_owned()], ..Filter::default() }
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
    Ok(trends(history, &plan)?.iter().map(|trend| trend.points.len()).sum())
}
