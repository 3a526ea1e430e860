//! CSV: a row for each cell. Columns have their unit in their name; a missing figure is empty.

use std::fmt::Display;
use std::io::{self, Write};

use super::cells::{client_cpus, server_cpus};
use super::{CellReport, Cost, Report};
use crate::client::judge::warnings::Warning;
use crate::client::stats::Latency;

/// Writes a header and the rows.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, out: impl Write) -> io::Result<()> {
    let mut out = csv::Writer::from_writer(out);
    for (number, cell) in report.results.iter().enumerate() {
        let row = row(report, cell);
        if number == 0 {
            out.write_record(row.0.iter().map(|(name, _)| name))?;
        }
        out.write_record(row.0.iter().map(|(_, value)| value))?;
    }
    out.flush()
}

/// Names and values. Every cell has the same names in the same order.
#[derive(Default)]
struct Row(Vec<(String, String)>);

impl Row {
    fn put(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    fn may(&mut self, name: &str, value: Option<impl Display>) {
        self.0.push((name.to_owned(), value.map(|value| value.to_string()).unwrap_or_default()));
    }

    fn latency(&mut self, prefix: &str, latency: Option<&Latency>) {
        self.may(&format!("{prefix}samples"), latency.map(|latency| latency.samples));
        for (index, (name, _)) in Latency::default().named().iter().enumerate() {
            let name = name.replace('.', "_");
            self.may(&format!("{prefix}{name}_ns"), latency.and_then(|latency| latency.named()[index].1));
        }
    }

    fn cost(&mut self, side: &str, cost: &Cost) {
        self.put(&format!("{side}_cpu_ns_per_round"), cost.cpu_ns);
        self.put(&format!("{side}_voluntary_switches_per_round"), cost.voluntary_switches);
        self.put(&format!("{side}_involuntary_switches_per_round"), cost.involuntary_switches);
        self.put(&format!("{side}_minor_faults_per_round"), cost.minor_faults);
        self.put(&format!("{side}_major_faults_per_round"), cost.major_faults);
        self.may(&format!("{side}_migrations_per_round"), cost.migrations);
    }
}

fn row(report: &Report, cell: &CellReport) -> Row {
    let mut row = Row::default();
    row.put("cell", &cell.cell);
    row.put("method", &cell.method);
    row.put("options", list(cell.options.iter().map(|(name, value)| format!("{name}={value}"))));
    row.put("size_bytes", cell.size_bytes);
    row.put("wait", cell.wait.name());
    row.put("placement", cell.placement);
    row.may("client_cpu", cell.client_cpu);
    row.may("server_cpu", cell.server_cpu);
    row.put("client_cpus_seen", list(client_cpus(cell)));
    row.put("server_cpus_seen", list(server_cpus(cell)));
    row.may("gap_ns", cell.gap_ns);
    row.may("interval_ns", cell.interval_ns);
    row.may("achieved_hz", cell.achieved_hz);
    row.put("parallel", cell.parallel);
    row.put("trials", cell.trials.len());
    row.put("rounds", cell.rounds);
    row.put("lost", cell.lost);
    row.put("elapsed_ns", cell.elapsed_ns);
    row.latency("", Some(&cell.latency_ns));
    row.latency("headline_", Some(&cell.headline_ns));
    let confidence = cell.confidence_95_ns.as_ref();
    for (name, span) in [
        ("p50", confidence.and_then(|spans| spans.p50)),
        ("p90", confidence.and_then(|spans| spans.p90)),
        ("p99", confidence.and_then(|spans| spans.p99)),
        ("p99_9", confidence.and_then(|spans| spans.p99_9)),
        ("mean", confidence.and_then(|spans| spans.mean)),
    ] {
        row.may(&format!("{name}_95_low_ns"), span.map(|span| span.low));
        row.may(&format!("{name}_95_high_ns"), span.map(|span| span.high));
    }
    row.may("precision_reached_fraction", cell.precision_reached_fraction);
    row.latency("response_", cell.response_ns.as_ref());
    row.may("probe_untimed_mean_ns", cell.probe.map(|probe| probe.untimed_mean_ns));
    row.may("probe_untimed_rounds", cell.probe.map(|probe| probe.untimed_rounds));
    row.may("probe_effect_ns", cell.probe.map(|probe| probe.effect_ns));
    row.may("drift_slope_fraction", cell.drift.map(|drift| drift.slope_fraction));
    row.may("drift_p_value", cell.drift.map(|drift| drift.p_value));
    row.put("outliers_mild", cell.outliers.mild);
    row.put("outliers_severe", cell.outliers.severe);
    row.cost("client", &cell.cost_per_round.client);
    row.cost("server", &cell.cost_per_round.server);
    row.put("grade", cell.grade);
    row.put("warnings", list(report.warnings.iter().chain(&cell.warnings).map(kind)));
    row.put("timing", &report.settings.timing);
    row.put("clock_source", &report.clock.source);
    row.put("clock_cost_ns", report.clock.cost_ns);
    row.put("clock_resolution_ns", report.clock.resolution_ns);
    row.put("started_unix_s", report.started_unix_s);
    row.may("hostname", report.environment.hostname.as_ref());
    row.may("error", cell.error.as_ref());
    row
}

/// A warning's kind, as in the JSON.
fn kind(warning: &Warning) -> String {
    let json = serde_json::to_value(warning).unwrap_or_default();
    json["kind"].as_str().unwrap_or_default().to_owned()
}

/// Several values in one field.
fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}
