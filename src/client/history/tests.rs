//! The history as its users in this crate see it.

use std::path::PathBuf;

use tempfile::TempDir;

use super::open::SCHEMA;
use super::*;
use crate::client::report::{Report, sample};
use crate::client::stats::{Latency, median};
use crate::exit::Exit;

/// A history in a new folder.
fn fresh() -> (TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("new/state/history.sqlite")).unwrap();
    (folder, history)
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

#[test]
fn a_run_comes_back_as_it_was_with_its_histograms() {
    let (_folder, mut history) = fresh();
    for report in [sample::sweep(), sample::single(), sample::paced(), sample::parallel()] {
        let id = history.record(&report, Some(&label("before"))).unwrap();
        let run = history.run(id).unwrap();
        assert_eq!((run.id, run.label.as_deref()), (id, Some("before")));
        assert_eq!(history.find(&Pick::Uuid(run.uuid)).unwrap(), id);
        // It follows from the results.
        assert_eq!(run.report, Report { ranking: Vec::new(), ..report });
    }
    assert!(sample::paced().results[0].response_histogram.is_some(), "so that it was compared");
}

#[test]
fn ids_begin_at_one_and_are_different() {
    let (_folder, mut history) = fresh();
    let ids: Vec<i64> = (0..3).map(|_| history.record(&sample::single(), None).unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert!(matches!(history.run(4), Err(HistoryError::NoRun(4))));
}

#[test]
fn a_file_that_is_not_a_history_is_rejected_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(
        &path,
        "not a database, but longer than the hundred bytes of an SQLite header: ".repeat(9),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = History::create(&path).unwrap_err();
    assert!(matches!(&error, HistoryError::Foreign(_)), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let other = folder.path().join("other.sqlite");
    let db = Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE somebody_elses (a)").unwrap();
    drop(db);
    assert!(matches!(History::create(&other), Err(HistoryError::Foreign(_))));
    assert!(matches!(History::open(&folder.path().join("none")), Err(HistoryError::NotThere(_))));
    assert!(!folder.path().join("none").exists(), "looking makes nothing");
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let (_folder, history) = fresh();
    history.db.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
    let path: PathBuf = history.path().to_owned();
    drop(history);
    let before = std::fs::read(&path).unwrap();
    let error = History::create(&path).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&format!("schema {}", SCHEMA + 1)), "{said}");
    assert!(said.contains(&format!("up to {SCHEMA}")), "{said}");
    assert_eq!(error.exit(), Exit::Failure);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_begins_empty_becomes_a_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    std::fs::write(&path, "").unwrap();
    assert_eq!(History::create(&path).unwrap().record(&sample::single(), None).unwrap(), 1);
}

/// The rows of a list.
fn runs(history: &History, filter: &Filter, limit: Option<u32>) -> Vec<RunRow> {
    let mut rows = Vec::new();
    history
        .runs(filter, limit, |row| {
            rows.push(row);
            Ok::<_, HistoryError>(())
        })
        .unwrap();
    rows
}

fn results(history: &History, filter: &Filter, limit: Option<u32>) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    history
        .results(filter, limit, |row| {
            rows.push(row);
            Ok::<_, HistoryError>(())
        })
        .unwrap();
    rows
}

/// Ten runs, a day apart, on two hosts in turn; every third is labelled.
fn ten() -> (TempDir, History) {
    let (folder, mut history) = fresh();
    let (sweep, paced) = (sample::sweep(), sample::paced());
    for day in 0..10 {
        let mut report = if day == 7 { paced.clone() } else { sweep.clone() };
        report.started_unix_s = day * 86_400;
        report.environment.hostname = Some(if day % 2 == 0 { "even" } else { "odd" }.to_owned());
        history.record(&report, (day % 3 == 0).then(|| label("third")).as_ref()).unwrap();
    }
    (folder, history)
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let (_folder, history) = ten();
    let ids = |filter: &Filter, limit| -> Vec<i64> {
        let ids: Vec<i64> = runs(&history, filter, limit).iter().map(|row| row.id).collect();
        // A filter of runs finds the results of the same runs.
        let mut of_results: Vec<i64> = results(&history, filter, None).iter().map(|row| row.run).collect();
        of_results.dedup();
        assert_eq!(of_results[..ids.len()], ids);
        ids
    };
    let all = Filter::default();
    assert_eq!(ids(&all, None), (1..=10).rev().collect::<Vec<_>>());
    assert_eq!(ids(&all, Some(2)), [10, 9]);
    assert_eq!(ids(&Filter { hosts: vec!["odd".to_owned()], ..all.clone() }, None), [10, 8, 6, 4, 2]);
    assert_eq!(ids(&Filter { label: Some(label("third")), ..all.clone() }, None), [10, 7, 4, 1]);
    assert_eq!(ids(&Filter { since_unix_s: Some(7 * 86_400), ..all.clone() }, None), [10, 9, 8]);
    let week = Filter { since_unix_s: Some(3 * 86_400), until_unix_s: Some(6 * 86_400), ..all.clone() };
    assert_eq!(ids(&week, None), [6, 5, 4], "the last day begins where it ends");
    assert_eq!(results(&history, &week, Some(2)), results(&history, &week, None)[..2]);
    let udp = Filter { methods: vec!["udp".to_owned()], ..all.clone() };
    assert_eq!(ids(&udp, None), [10, 9, 7, 6, 5, 4, 3, 2, 1], "the eighth had none");
    let both = Filter { label: Some(label("third")), since_unix_s: Some(86_400), ..udp };
    assert_eq!(ids(&both, Some(2)), [10, 7]);
    assert_eq!(ids(&Filter { methods: vec!["vsock".to_owned()], ..all }, None), Vec::<i64>::new());
}

#[test]
fn results_are_those_that_the_filter_means() {
    let (_folder, history) = ten();
    let large = Filter { methods: vec!["tcp".to_owned()], sizes: vec![65_536], ..Filter::default() };
    let rows = results(&history, &large, Some(3));
    assert!(
        rows.iter().all(|row| row.cell.starts_with("tcp:") && row.cell.contains(":65536B:")),
        "{rows:#?}"
    );
    assert_eq!(rows.iter().map(|row| row.run).collect::<Vec<_>>(), [10, 10, 9], "two cells a run");
    let first = history.run(10).unwrap().report;
    assert!(
        first.results.iter().any(|cell| cell.headline_ns == rows[0].latency_ns && cell.cell == rows[0].cell)
    );
    for filter in [
        Filter { waits: vec![crate::protocol::Wait::Spin], ..Filter::default() },
        Filter { placements: vec![crate::client::host::placement::Placement::SameCore], ..Filter::default() },
    ] {
        let rows = results(&history, &filter, None);
        assert!(rows.len() == 9 && rows.iter().all(|row| row.cell.starts_with("udp:")), "{rows:#?}");
    }
    // With a limit and without, by two ways through the indexes, in the same order.
    let all = results(&history, &Filter::default(), None);
    assert_eq!(results(&history, &Filter::default(), Some(17)), all[..17]);
}

#[test]
fn runs_are_found_by_every_name() {
    let (_folder, mut history) = ten();
    let uuid = history.run(5).unwrap().uuid.to_string();
    history.set_baseline(&label("stable"), &[5]).unwrap();
    for (pick, id) in [
        ("3", 3),
        ("last", 10),
        ("last~4", 6),
        ("third", 10),
        ("third~1", 7),
        ("stable", 5),
        (uuid.as_str(), 5),
    ] {
        assert_eq!(history.find(&pick.parse().unwrap()).unwrap(), id, "{pick}");
    }
    for pick in ["11", "last~10", "third~4", "nobody", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
        let error = history.find(&pick.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains(pick), "{error}");
        assert_eq!(error.exit(), Exit::Nothing);
    }
}

#[test]
fn the_last_runs_are_those_that_have_results() {
    let (_folder, mut history) = ten();
    let mut failed = sample::single();
    failed.started_unix_s += 1_000_000_000;
    failed.results.iter_mut().for_each(|cell| {
        (cell.latency_ns.samples, cell.headline_ns.samples) = (0, 0);
    });
    let id = history.record(&failed, Some(&label("third"))).unwrap();
    for (pick, expected) in [("last", 10), ("last~1", 9), ("third", 10), ("11", id)] {
        assert_eq!(history.find(&pick.parse().unwrap()).unwrap(), expected, "{pick}");
    }
    history.record(&failed, Some(&label("never"))).unwrap();
    assert!(matches!(history.find(&"never".parse().unwrap()), Err(HistoryError::NoSuchRun { .. })));
    failed.results.clear();
    history.record(&failed, None).unwrap();
    assert_eq!(history.find(&Pick::Last(0)).unwrap(), 10);
    assert_eq!(runs(&history, &Filter::default(), Some(1)).len(), 1, "a list has them all");
}

#[test]
fn the_last_run_is_the_one_recorded_last_whatever_the_clock_said() {
    let (_folder, mut history) = fresh();
    let year = 365 * 86_400;
    let mut record = |started_unix_s| {
        let report = Report { started_unix_s, ..sample::single() };
        history.record(&report, Some(&label("nightly"))).unwrap()
    };
    let now = crate::units::now_unix_s();
    let ids = [now - 60, now + year, now - 30, now].map(&mut record);
    let last = |history: &History, pick: &str| history.find(&pick.parse().unwrap()).unwrap();
    for (pick, id) in [("last", ids[3]), ("last~2", ids[1]), ("nightly", ids[3]), ("nightly~1", ids[2])] {
        assert_eq!(last(&history, pick), id, "{pick}");
    }
    assert_eq!(history.newest(&Filter::default()).unwrap()[0].run, ids[3]);
    let [series] = &history.series(&Filter::default()).unwrap()[..] else { panic!("one cell on one host") };
    let points = history.points(series, &Filter::default(), 2).unwrap();
    assert_eq!(points.iter().map(|point| point.run).collect::<Vec<_>>(), [ids[2], ids[3]]);

    // Runs of other histories come before them, by their times.
    let (_other_folder, mut other) = fresh();
    for started_unix_s in [now - 10, now - year] {
        other.record(&Report { started_unix_s, ..sample::single() }, None).unwrap();
    }
    let lines = exported(&other);
    history.import(&lines[..], &mut Imported::default(), Err).unwrap();
    assert_eq!(last(&history, "last"), ids[3]);
    let (_third_folder, mut third) = fresh();
    third.import(&lines[..], &mut Imported::default(), Err).unwrap();
    assert_eq!(third.run(last(&third, "last")).unwrap().report.started_unix_s, now - 10);
}

#[test]
fn age_removes_runs_but_no_baselines_and_gives_room_back() {
    let (_folder, mut history) = ten();
    history.set_baseline(&label("stable"), &[2]).unwrap();
    let size = |history: &History| std::fs::metadata(history.path()).unwrap().len();
    let would = history.prune(8 * 86_400, false).unwrap();
    assert_eq!((would.runs, would.baselines_kept), (7, 1));
    assert_eq!(runs(&history, &Filter::default(), None).len(), 10, "nothing was done");
    history.db.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(())).unwrap();
    let before = size(&history);
    assert_eq!(history.prune(8 * 86_400, true).unwrap(), would);
    let left: Vec<i64> = runs(&history, &Filter::default(), None).iter().map(|row| row.id).collect();
    assert_eq!(left, [10, 9, 2]);
    assert_eq!(history.run(2).unwrap().report.results.len(), 5, "with all its results");
    let count = |table: &str| -> i64 {
        history.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("result"), count("detail"), count("environment")), (15, 15, 2));
    assert!(size(&history) < before / 2, "{} of {before}", size(&history));
    // An id never comes to mean another run.
    history.prune(u64::from(u32::MAX), true).unwrap();
    assert_eq!(history.record(&sample::single(), None).unwrap(), 11);
}

#[test]
fn a_baseline_is_moved_by_naming_it_again() {
    let (_folder, mut history) = ten();
    assert_eq!(history.set_baseline(&label("stable"), &[2]).unwrap(), Vec::<i64>::new());
    assert_eq!(history.set_baseline(&label("stable"), &[5, 2]).unwrap(), [2]);
    assert_eq!(history.find(&"stable".parse().unwrap()).unwrap(), 5, "the newest");
    assert_eq!(history.find_all(&"stable".parse().unwrap()).unwrap(), [5, 2]);
    assert_eq!(history.find_all(&"third".parse().unwrap()).unwrap(), [10], "a label is one run");
    assert_eq!(history.set_baseline(&label("stable"), &[3]).unwrap(), [5, 2]);
    assert!(matches!(history.set_baseline(&label("stable"), &[3, 99]), Err(HistoryError::NoRun(99))));
    let names: Vec<_> = history.baselines().unwrap().into_iter().map(|one| (one.name, one.run)).collect();
    assert_eq!(names, [("stable".to_owned(), 3)]);
    assert_eq!(runs(&history, &Filter::default(), None)[7].baselines, ["stable"]);
    assert!(history.remove_baseline(&label("stable")).unwrap());
    assert!(!history.remove_baseline(&label("stable")).unwrap());
}

/// All runs of a history as lines.
fn exported(history: &History) -> Vec<u8> {
    let mut lines = Vec::new();
    for row in runs(history, &Filter::default(), None) {
        write_line(&history.run(row.id).unwrap(), &mut lines).unwrap();
    }
    lines
}

#[test]
fn exported_runs_are_imported_once_and_are_the_same() {
    let (_folder, history) = ten();
    let lines = exported(&history);
    let (_other_folder, mut other) = fresh();
    other.record(&sample::single(), None).unwrap();
    let mut imported = Imported::default();
    other.import(&lines[..], &mut imported, Err).unwrap();
    assert_eq!(imported, Imported { new: 10, ..Imported::default() });
    let mut again = Imported::default();
    other.import(&lines[..], &mut again, Err).unwrap();
    assert_eq!(again, Imported { known: 10, ..Imported::default() });
    for row in runs(&history, &Filter::default(), None) {
        let run = history.run(row.id).unwrap();
        let copy = other.find(&Pick::Uuid(run.uuid)).unwrap();
        assert_eq!(Run { id: run.id, ..other.run(copy).unwrap() }, run);
    }
}

#[test]
fn lines_that_are_no_runs_are_named_and_those_before_them_stay() {
    let (_folder, history) = ten();
    let lines = String::from_utf8(exported(&history)).unwrap();
    let good: Vec<&str> = lines.lines().take(2).collect();
    let newer = good[1].replacen("\"ipcd_history\":1", "\"ipcd_history\":2", 1);
    let other_report = good[1].replacen("\"schema\":1", "\"schema\":7", 1);
    let no_uuid = good[1].replacen("\"uuid\":\"", "\"uuid\":\"x", 1);
    let lied = good[1].replacen("\"latency_ns\":{\"samples\":", "\"latency_ns\":{\"samples\":9", 1);
    let host = good[1].replacen("\"hostname\":\"", "\"hostname\":\"\\u001b[2J", 1);
    let cell = good[1].replacen("\"cell\":\"", "\"cell\":\"\\u009b2J", 1);
    for (bad, why) in [
        ("{}", "no key `ipcd_history`"),
        ("not JSON", "expected"),
        (&good[1][..=good[1].rfind('{').unwrap()], "EOF"),
        (&newer, "format 2"),
        (&other_report, "schema 7"),
        (&no_uuid, "is not a UUID"),
        (&lied, "samples of 9"),
        (&host, "control character: \\u{1b}[2J"),
        (&cell, "control character: \\u{9b}2J"),
    ] {
        let (_folder, mut other) = fresh();
        let mut imported = Imported::default();
        let error =
            other.import(format!("{}\n\n{bad}\n", good[0]).as_bytes(), &mut imported, Err).unwrap_err();
        let said = crate::diagnostics::error_chain(&error);
        assert!(said.contains("line 3") && said.contains(why), "{said}");
        assert_eq!(imported, Imported { new: 1, ..Imported::default() });
        assert_eq!(runs(&other, &Filter::default(), None).len(), 1);
    }
}

/// The numbers of the files in a folder that are called so.
fn numbers(folder: &str, before: &str, behind: &str) -> Vec<i64> {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let number = |name: String| name.strip_prefix(before)?.strip_suffix(behind)?.parse().ok();
    let mut numbers: Vec<i64> = names.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn every_schema_has_a_frozen_history() {
    let schemas: Vec<i64> = (1..=SCHEMA).collect();
    assert_eq!(numbers("src/client/history/schema", "", ".sql"), schemas, "each is a step of schema.rs");
    let frozen = numbers("tests/history", "schema-", ".sqlite");
    assert_eq!(frozen, schemas, "CONTRIBUTING.md describes how to make one");
    for schema in frozen {
        a_frozen_history_is_read_and_written_on(schema);
    }
}

/// Runs that were recorded when this was the newest schema.
fn a_frozen_history_is_read_and_written_on(schema: i64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/history/schema-{schema}.sqlite"));
    std::fs::copy(frozen, &path).unwrap();
    let was = Connection::open(&path).unwrap();
    assert_eq!(was.pragma_query_value(None, "user_version", |row| row.get(0)), Ok(schema));
    drop(was);
    let mut history = History::open(&path).unwrap();
    let version: i64 = history.db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA);

    let rows = runs(&history, &Filter::default(), None);
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(rows[3].baselines, ["stable"]);
    assert_eq!(rows[3].label.as_deref(), Some("before"));
    let run = history.run(1).unwrap();
    assert_eq!(run.report.results.len(), 5);
    let cell = &run.report.results[0];
    assert_eq!(
        (cell.cell.as_str(), cell.histogram.len()),
        ("shmem:8B:adaptive:cross-core:client=0:server=1", 100_000)
    );
    assert_eq!(Latency::of(&cell.histogram), cell.latency_ns);
    // Recorded before there were headline figures: they are taken from its trials.
    let medians: Vec<f64> = cell.trials.iter().filter_map(|trial| trial.latency_ns.p50).collect();
    assert_eq!((cell.headline_ns.p50, medians.len()), (median(&medians), 5));
    let response = history.run(3).unwrap().report.results[0].response_histogram.clone().unwrap();
    assert_eq!(Some(Latency::of(&response)), history.run(3).unwrap().report.results[0].response_ns);
    assert_eq!(history.record(&sample::single(), None).unwrap(), 5);
}

#[test]
fn a_labels_points_are_the_newest_of_its_runs_by_series() {
    let (_folder, mut history) = fresh();
    let mut record = |started_unix_s, name: Option<&str>| {
        let report = Report { started_unix_s, ..sample::single() };
        history.record(&report, name.map(label).as_ref()).unwrap()
    };
    let _none = record(1_000, None);
    let old = record(2_000, Some("a"));
    let middle = record(3_000, Some("a"));
    let _other = record(4_000, Some("b"));
    let new = record(5_000, Some("a"));
    let [series] = &history.series(&Filter::default()).unwrap()[..] else { panic!("one cell on one host") };
    let runs = |filter: Filter, limit| -> Vec<i64> {
        let of_series = history.points_of_label(&label("a"), &filter, limit).unwrap();
        of_series.get(&series.id).into_iter().flatten().map(|point| point.run).collect()
    };
    assert_eq!(runs(Filter::default(), 10), [old, middle, new]);
    assert_eq!(runs(Filter::default(), 2), [middle, new]);
    let span = Filter { since_unix_s: Some(2_500), until_unix_s: Some(5_000), ..Filter::default() };
    assert_eq!(runs(span.clone(), 10), [middle]);
    assert_eq!(history.points(series, &span, 10).unwrap().len(), 2, "whatever their label");
    assert!(history.points_of_label(&label("c"), &Filter::default(), 10).unwrap().is_empty());
}
