//! Which results of a history are exported, and as what.

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::*;
use crate::client::history::Label;
use crate::client::report::{Report, sample};

fn fresh() -> (TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("history.sqlite")).unwrap();
    (folder, history)
}

/// A run that began at this time, with all latencies multiplied by `factor`.
fn run(started_unix_s: u64, factor: f64) -> Report {
    let mut report = Report { started_unix_s, ..sample::sweep() };
    for cell in &mut report.results {
        let trials = cell.trials.iter_mut().map(|trial| &mut trial.latency_ns);
        for latency in trials.chain([&mut cell.latency_ns, &mut cell.headline_ns]) {
            latency.p50 = latency.p50.map(|ns| ns * factor);
        }
    }
    report
}

fn exported(history: &History, filter: &Filter) -> Vec<String> {
    prometheus(history, filter).unwrap().text.lines().map(str::to_owned).collect()
}

/// The value of the only metric of this name with these labels among others.
fn value(lines: &[String], name: &str, labels: &[&str]) -> Option<f64> {
    let of = |line: &&String| {
        let start = line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        start && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<_> = lines.iter().filter(of).collect();
    assert!(found.len() < 2, "{found:#?}");
    found.first().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn every_cell_exports_its_newest_result_and_every_metric_is_declared_once() {
    let (_folder, mut history) = fresh();
    for (began, factor) in [(2000, 1.0), (5000, 3.0), (3000, 2.0)] {
        history.record(&run(began, factor), None).unwrap();
    }
    history.record(&Report { started_unix_s: 500, ..sample::paced() }, None).unwrap();
    let lines = exported(&history, &Filter::default());
    let report = run(3000, 2.0);
    let shmem = &report.results[0];
    let labels = ["method=\"shmem\"", "client_cpu=\"0\",server_cpu=\"1\""];
    let median = value(&lines, "ipcd_round_trip_seconds", &[&labels[..], &["quantile=\"0.5\""]].concat());
    assert_eq!(median.unwrap(), shmem.headline_ns.p50.unwrap() / 1e9);
    assert_eq!(value(&lines, "ipcd_result_timestamp_seconds", &labels), Some(3000.0));
    assert_eq!(
        value(&lines, "ipcd_round_trip_seconds_count", &labels),
        Some(shmem.latency_ns.samples as f64)
    );
    let mean = shmem.latency_ns.mean.unwrap() / 1e9;
    let sum = value(&lines, "ipcd_round_trip_seconds_sum", &labels).unwrap();
    assert!((sum / shmem.latency_ns.samples as f64 / mean - 1.0).abs() < 1e-12);
    assert_eq!(
        value(&lines, "ipcd_result_warnings", &labels),
        Some((shmem.warnings.len() + report.warnings.len()) as f64)
    );
    // A failed result has no latency, and is marked as failed.
    assert_eq!(value(&lines, "ipcd_result_failed", &["method=\"pipe\""]), Some(1.0));
    assert_eq!(value(&lines, "ipcd_result_grade", &["method=\"pipe\""]), Some(5.0));
    assert_eq!(value(&lines, "ipcd_round_trip_seconds_count", &["method=\"pipe\""]), None);
    let paced = ["interval_seconds=\"0.0002\"", "quantile=\"0.5\""];
    assert!(
        value(&lines, "ipcd_response_seconds", &paced).unwrap()
            > value(&lines, "ipcd_round_trip_seconds", &paced).unwrap()
    );

    let metrics = lines.iter().filter(|line| !line.starts_with('#'));
    let names: Vec<_> = metrics.map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), different.len(), "no metric twice");
    let cells = report.results.len() + sample::paced().results.len();
    assert_eq!(prometheus(&history, &Filter::default()).unwrap().results, cells);
}

#[test]
fn filters_decide_what_is_newest() {
    let (_folder, mut history) = fresh();
    let nightly: Label = "nightly".parse().unwrap();
    history.record(&run(1000, 1.0), Some(&nightly)).unwrap();
    history.record(&run(2000, 2.0), None).unwrap();
    let exported =
        |filter| value(&exported(&history, &filter), "ipcd_result_timestamp_seconds", &["method=\"shmem\""]);
    assert_eq!(exported(Filter::default()), Some(2000.0));
    assert_eq!(exported(Filter { label: Some(nightly), ..Filter::default() }), Some(1000.0));
    assert_eq!(exported(Filter { methods: vec!["tcp".to_owned()], ..Filter::default() }), None);
    let none = prometheus(&history, &Filter { since_unix_s: Some(3000), ..Filter::default() }).unwrap();
    assert_eq!((none.results, none.text.as_str()), (0, ""));
}

#[test]
fn a_baseline_judges_its_own_host() {
    let (_folder, mut history) = fresh();
    let first = history.record(&run(1000, 1.0), None).unwrap();
    history.set_baseline(&"stable".parse().unwrap(), &[first]).unwrap();
    history.record(&run(2000, 1.5), None).unwrap();
    let mut other = run(3000, 9.0);
    other.environment.hostname = Some("elsewhere".to_owned());
    history.record(&other, None).unwrap();
    let lines = exported(&history, &Filter::default());
    let shmem = ["host=\"sample\"", "method=\"shmem\"", "baseline=\"stable\""];
    let slower = [&shmem[..], &["verdict=\"slower\""]].concat();
    assert_eq!(value(&lines, "ipcd_baseline_verdict", &slower), Some(1.0));
    let change = value(&lines, "ipcd_baseline_change_ratio", &shmem).unwrap();
    assert!((change - 0.5).abs() < 0.01, "{change}");
    let failed = ["method=\"pipe\"", "verdict=\"not_comparable\""];
    assert_eq!(value(&lines, "ipcd_baseline_verdict", &failed), Some(1.0));
    let elsewhere = lines.iter().filter(|line| line.contains("elsewhere") && line.contains("baseline"));
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn noise_is_exported_once_there_are_enough_runs() {
    let (_folder, mut history) = fresh();
    let noise = |history: &History, quantile: &str| {
        let labels = ["method=\"shmem\"", &format!("quantile=\"{quantile}\"")];
        value(&exported(history, &Filter::default()), "ipcd_round_trip_noise_ratio", &labels)
    };
    for day in 0..7 {
        assert_eq!(noise(&history, "0.5"), None, "after {day} runs");
        let odd = day % 2 == 1;
        let mut report = run(1000 + day, if odd { 1.02 } else { 1.0 });
        for cell in report.results.iter_mut().filter(|_| odd) {
            cell.headline_ns.p99 = cell.headline_ns.p99.map(|ns| ns * 1.3);
        }
        history.record(&report, None).unwrap();
    }
    // Each quantile has its own: a tail is noisier.
    for (quantile, step) in [("0.5", 1.02_f64), ("0.99", 1.3), ("0.9", 1.0)] {
        let value = noise(&history, quantile).unwrap();
        // Every other run is slower by the step: half of it is the standard deviation, but for one degree of freedom.
        let sd = step.ln() / 2.0 * (6.0_f64 / 5.0).sqrt();
        let expected = (2.570_6 * sd * 2.0_f64.sqrt()).exp_m1();
        assert!((value - expected).abs() < 0.02 * expected + 1e-9, "{quantile}: {value} and {expected}");
    }
}

#[test]
fn a_host_is_exported_in_its_latest_state_under_any_name() {
    let (_folder, mut history) = fresh();
    for (began, kernel) in [(2000, "6.1"), (1000, "6.8")] {
        let mut report = run(began, 1.0);
        report.environment.hostname = Some("a\"b\\c\nd".to_owned());
        report.environment.kernel.release = Some(kernel.to_owned());
        report.results.rotate_left(usize::from(kernel == "6.1"));
        history.record(&report, None).unwrap();
    }
    let lines = exported(&history, &Filter::default());
    let host = lines.iter().find(|line| line.starts_with("ipcd_host_info{")).unwrap();
    assert!(host.starts_with(r#"ipcd_host_info{host="a\"b\\c\nd","#), "{host}");
    assert!(host.contains("kernel=\"6.8\"") && host.contains("cpu_model=\"Sample CPU @ 3 GHz\""), "{host}");
}
