//! The families of metrics: one for each figure of a result, with a metric for each cell, and one for the hosts.

use std::collections::BTreeMap;

use super::Judged;
use crate::client::history::Newest;
use crate::client::host::Environment;
use crate::client::judge::compare::Noise;
use crate::client::judge::warnings::Grade;
use crate::client::report::{CellReport, HeadlineOf, Span};
use crate::client::stats::{Latency, Statistic};
use crate::exposition::Family;

const NS_PER_S: f64 = 1e9;

/// The exported quantiles.
const QUANTILES: [(f64, Statistic); 5] = [
    (0.5, Statistic::P50),
    (0.9, Statistic::P90),
    (0.99, Statistic::P99),
    (0.999, Statistic::P99_9),
    (0.9999, Statistic::P99_99),
];

/// A figure of a result: the name of its family, what it is, and how it is found.
type Figure = (&'static str, &'static str, fn(&Newest) -> Option<f64>);

/// The figures of every result, in the order of the text.
const FIGURES: [Figure; 8] = [
    ("ipcd_round_trip_min_seconds", "The shortest round trip.", |newest| {
        seconds(newest.result.latency_ns.min)
    }),
    ("ipcd_round_trip_max_seconds", "The longest round trip.", |newest| {
        seconds(newest.result.latency_ns.max)
    }),
    (
        "ipcd_round_trip_median_low_seconds",
        "Lower end of the median's 95 % confidence interval over trials; with a fixed rate, of the response time.",
        |newest| seconds(median(newest).map(|span| span.low)),
    ),
    (
        "ipcd_round_trip_median_high_seconds",
        "Upper end of the median's 95 % confidence interval over trials; with a fixed rate, of the response time.",
        |newest| seconds(median(newest).map(|span| span.high)),
    ),
    ("ipcd_result_timestamp_seconds", "When the run of the newest result began.", |newest| {
        Some(newest.started_unix_s as f64)
    }),
    ("ipcd_result_grade", "How far it can be trusted: 0 is grade A, 5 is grade F.", |newest| {
        Grade::ALL.iter().position(|one| *one == newest.result.grade).map(|place| place as f64)
    }),
    ("ipcd_result_warnings", "Warnings of the result and of its run.", |newest| {
        Some((newest.result.warnings.len() + newest.run_warnings) as f64)
    }),
    ("ipcd_result_lost_rounds", "Rounds whose datagrams were lost.", |newest| {
        Some(newest.result.lost as f64)
    }),
];

fn seconds(ns: Option<f64>) -> Option<f64> {
    ns.map(|ns| ns / NS_PER_S)
}

fn median(newest: &Newest) -> Option<Span> {
    newest.result.confidence_95_ns.as_ref().and_then(|all| all.p50)
}

/// The families.
pub(super) struct Results {
    round_trip: Family,
    response: Family,
    figures: [Family; FIGURES.len()],
    noise: Family,
    failed: Family,
    info: Family,
    change: Family,
    verdict: Family,
}

impl Default for Results {
    fn default() -> Self {
        Self {
            round_trip: Family::summary(
                "ipcd_round_trip_seconds",
                "Round trips of the newest result. Sum and count are of this one result: they do not add up over time.",
            ),
            response: Family::summary(
                "ipcd_response_seconds",
                "With a fixed rate: the same from each round's intended start.",
            ),
            figures: FIGURES.map(|(name, help, _)| Family::gauge(name, help)),
            noise: Family::gauge(
                "ipcd_round_trip_noise_ratio",
                "By how much a quantile of this cell on this host differs between runs where nothing has changed.",
            ),
            failed: Family::gauge("ipcd_result_failed", "1 if the measurement was aborted."),
            info: Family::gauge(
                "ipcd_result_info",
                "Which run it is of: its id in the history, UUID and label.",
            ),
            change: Family::gauge(
                "ipcd_baseline_change_ratio",
                "How far the median is from a baseline's, as a fraction of it: above 0 is slower.",
            ),
            verdict: Family::gauge(
                "ipcd_baseline_verdict",
                "The verdict against the baseline: faster, slower, no_difference or not_comparable.",
            ),
        }
    }
}

/// The labels of a cell.
struct CellLabels(Vec<(&'static str, String)>);

impl CellLabels {
    fn of(newest: &Newest) -> Self {
        let CellReport { options, gap_ns, interval_ns, parallel, client_cpu, server_cpu, .. } =
            &newest.result;
        let options: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let in_seconds = |ns: &Option<u64>| seconds(ns.map(|ns| ns as f64)).map(|time| time.to_string());
        let cpu = |cpu: &Option<u32>| cpu.map(|cpu| cpu.to_string());
        Self(vec![
            ("host", newest.series.host.clone()),
            ("method", newest.result.method.clone()),
            ("options", options.join(",")),
            ("size_bytes", newest.result.size_bytes.to_string()),
            ("wait", newest.result.wait.name().to_owned()),
            ("placement", newest.result.placement.name().to_owned()),
            ("client_cpu", cpu(client_cpu).unwrap_or_default()),
            ("server_cpu", cpu(server_cpu).unwrap_or_default()),
            ("gap_seconds", in_seconds(gap_ns).unwrap_or_default()),
            ("interval_seconds", in_seconds(interval_ns).unwrap_or_default()),
            ("parallel", if *parallel > 1 { parallel.to_string() } else { String::new() }),
        ])
    }

    fn and<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
    }
}

impl Results {
    /// Adds a result, with its noise.
    pub(super) fn add(&mut self, newest: &Newest, noise: &Noise) {
        let result = &newest.result;
        let cell = CellLabels::of(newest);
        let labels = cell.and(&[]);
        summary(&mut self.round_trip, &labels, &result.round_trip_ns(), &result.latency_ns);
        match (result.headline_of, &result.response_ns) {
            (HeadlineOf::Response, Some(all)) => {
                summary(&mut self.response, &labels, &result.headline_ns, all);
            }
            // Trials of older runs lack response times.
            (_, Some(all)) => summary(&mut self.response, &labels, all, all),
            (_, None) => {}
        }
        for (family, (_, _, figure)) in self.figures.iter_mut().zip(FIGURES) {
            if let Some(value) = figure(newest) {
                family.add(&labels, value);
            }
        }
        for (quantile, statistic) in QUANTILES {
            if let Some(fraction) = result.headline_ns.get(statistic).and(noise.fraction(statistic)) {
                self.noise.add(&cell.and(&[("quantile", &quantile.to_string())]), fraction);
            }
        }
        self.failed.add(&labels, if result.error.is_some() { 1.0 } else { 0.0 });
        let run = newest.run.to_string();
        let label = newest.label.as_deref().unwrap_or_default();
        self.info.add(&cell.and(&[("run", &run), ("uuid", &newest.uuid), ("label", label)]), 1.0);
    }

    /// Adds how a result lies to a baseline.
    pub(super) fn add_verdict(&mut self, newest: &Newest, judged: &Judged) {
        let cell = CellLabels::of(newest);
        let verdict = judged.verdict.name();
        self.verdict.add(&cell.and(&[("baseline", &judged.baseline), ("verdict", verdict)]), 1.0);
        if let Some(change) = judged.change {
            self.change.add(&cell.and(&[("baseline", &judged.baseline)]), change);
        }
    }

    pub(super) fn families(self) -> Vec<Family> {
        let mut families = vec![self.round_trip, self.response];
        families.extend(self.figures);
        families.extend([self.noise, self.failed, self.info, self.change, self.verdict]);
        families
    }
}

/// Quantiles are over trials, sum and count of `all` rounds. Omits quantiles that need more samples than there are, and
/// results without samples.
fn summary(family: &mut Family, labels: &[(&str, &str)], typical: &Latency, all: &Latency) {
    let Some(mean) = all.mean else { return };
    let quantiles = QUANTILES
        .into_iter()
        .filter_map(|(quantile, statistic)| Some((quantile, seconds(typical.get(statistic))?)));
    family.add_summary(labels, (all.samples, mean * all.samples as f64 / NS_PER_S), quantiles);
}

/// A metric for each host, of the environment of its newest result.
pub(super) fn of_hosts<'a>(results: impl Iterator<Item = (&'a Newest, &'a Environment)>) -> Family {
    let mut hosts: BTreeMap<&str, (u64, &Environment)> = BTreeMap::new();
    for (newest, environment) in results {
        let host = hosts.entry(&newest.series.host).or_insert((newest.started_unix_s, environment));
        if newest.started_unix_s > host.0 {
            *host = (newest.started_unix_s, environment);
        }
    }
    let mut family = Family::gauge("ipcd_host_info", "What the host was at its newest result.");
    for (host, (_, environment)) in hosts {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let governors: Vec<_> = environment.power.governors.iter().cloned().collect();
        let labels = [
            ("architecture", text(&environment.architecture)),
            ("cpu_model", text(&environment.cpu.model)),
            ("kernel", text(&environment.kernel.release)),
            ("governor", governors.join(",")),
            ("hypervisor", text(&environment.machine.hypervisor)),
            ("ipcd_version", environment.build.version.clone()),
        ];
        let mut all = vec![("host", host)];
        all.extend(labels.iter().map(|(name, value)| (*name, value.as_str())));
        family.add(&all, 1.0);
    }
    family
}
