//! Several runs merged into one report: histograms are added and trials concatenated, so that quantiles are those of all
//! rounds. Quantiles themselves are never averaged.

use std::collections::BTreeSet;

use super::history::Run;
use super::report::{CellReport, Cost, ProbeReport, Report, Times};
use crate::client::judge::compare::{Reason, obstacle_of_runs};
use crate::client::judge::differences::Conditions;
use crate::client::judge::warnings::{Warning, judge_cells};
use crate::client::stats::{Latency, Outliers};

/// Runs that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {run} cannot be merged with run {first}: {reason}")]
pub(crate) struct MergeError {
    /// The run that differs.
    pub run: i64,
    /// The first run.
    pub first: i64,
    /// The difference.
    pub(crate) reason: Reason,
}

/// Runs merged one by one; only the result is held in memory.
#[derive(Debug)]
pub(crate) struct MergedRuns {
    first: i64,
    report: Report,
    differences: BTreeSet<String>,
    omitted: Vec<String>,
}

impl MergedRuns {
    /// Starts with one run.
    #[must_use]
    pub(crate) fn new(mut run: Run) -> Self {
        let cells = std::mem::take(&mut run.report.results);
        run.report.summed_runs = vec![run.uuid.to_string()];
        // The precision decided about the trials of each run, not about those of the result.
        run.report.settings.precision_fraction = None;
        let mut sum =
            Self { first: run.id, report: run.report, differences: BTreeSet::new(), omitted: Vec::new() };
        cells.into_iter().for_each(|cell| sum.add_cell(run.id, cell));
        sum
    }

    /// Adds a later run.
    ///
    /// # Errors
    /// It has another CPU, architecture or build, or its samples measure something else; then the result is unchanged.
    pub(crate) fn add(&mut self, run: Run) -> Result<(), MergeError> {
        let Run { id, uuid, mut report, .. } = run;
        if let Some(reason) = obstacle_of_runs(&self.report, &report) {
            return Err(MergeError { run: id, first: self.first, reason });
        }
        report.settings.precision_fraction = None;
        let mut differences = Conditions::of(&self.report).differences(&Conditions::of(&report));
        differences.retain(|difference| !["boot_id", "settings.trials"].contains(&difference.key.as_str()));
        self.differences.extend(differences.iter().map(|difference| difference.to_string()));
        for cell in std::mem::take(&mut report.results) {
            self.add_cell(id, cell);
        }
        let sum = &mut self.report;
        sum.summed_runs.push(uuid.to_string());
        sum.at_end = report.at_end;
        sum.times = times(&sum.times, &report.times);
        let (kept, other) = (&mut sum.settings, report.settings);
        // Only settings common to all runs are kept.
        kept.rounds = kept.rounds.filter(|_| kept.rounds == other.rounds);
        kept.duration_ns = kept.duration_ns.filter(|_| kept.duration_ns == other.duration_ns);
        kept.warmup_rounds = kept.warmup_rounds.filter(|_| kept.warmup_rounds == other.warmup_rounds);
        kept.warmup_ns = kept.warmup_ns.filter(|_| kept.warmup_ns == other.warmup_ns);
        report.warnings.into_iter().for_each(|warning| add_warning(&mut sum.warnings, warning));
        Ok(())
    }

    fn add_cell(&mut self, run: i64, cell: CellReport) {
        if cell.error.is_some() {
            self.omitted.push(format!("{} of run {run}, which was aborted", cell.cell));
            return;
        }
        match self.report.results.iter_mut().find(|known| known.cell == cell.cell) {
            Some(known) => add(known, cell),
            None => self.report.results.push(CellReport {
                // These describe a single run.
                drift: None,
                drift_over_trials: None,
                precision_reached_fraction: None,
                ..cell
            }),
        }
    }

    /// The report, as if one run had had all the trials; `arguments` is the command line that requested it.
    #[must_use]
    pub(crate) fn report(mut self, arguments: Vec<String>) -> Report {
        let trials = self.report.results.iter().map(|cell| cell.trials.len()).max().unwrap_or(0);
        self.report.settings.trials = u32::try_from(trials).unwrap_or(u32::MAX);
        self.report.settings.arguments = arguments;
        for cell in &mut self.report.results {
            cell.latency_ns = Latency::of(&cell.histogram);
            cell.achieved_hz = cell.achieved_hz.map(|_| cell.rounds as f64 / cell.elapsed_ns * 1e9);
            cell.response_ns = cell.response_histogram.as_ref().map(Latency::of);
            cell.outliers = Outliers::of(&cell.histogram);
            cell.summarize_trials(self.report.clock.resolution_ns);
            if let (Some(probe), Some(mean)) = (&mut cell.probe, cell.latency_ns.mean) {
                probe.effect_ns = mean - probe.untimed_mean_ns;
            }
        }
        judge_cells(&mut self.report);
        self.report
    }

    /// How the runs differ, and which cells were omitted.
    #[must_use]
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.differences.is_empty() {
            let all: Vec<&str> = self.differences.iter().map(String::as_str).collect();
            notes.push(format!("differences from run {}: {}", self.first, all.join("; ")));
        }
        notes.extend(self.omitted.iter().map(|what| format!("omitted: {what}")));
        notes
    }
}

/// Adds another result of the same cell.
fn add(sum: &mut CellReport, one: CellReport) {
    let cost = |a: &Cost, b: &Cost| Cost {
        cpu_ns: each(a.cpu_ns, b.cpu_ns, sum.rounds, one.rounds),
        voluntary_switches: each(a.voluntary_switches, b.voluntary_switches, sum.rounds, one.rounds),
        involuntary_switches: each(a.involuntary_switches, b.involuntary_switches, sum.rounds, one.rounds),
        minor_faults: each(a.minor_faults, b.minor_faults, sum.rounds, one.rounds),
        major_faults: each(a.major_faults, b.major_faults, sum.rounds, one.rounds),
        migrations: a.migrations.zip(b.migrations).map(|(a, b)| each(a, b, sum.rounds, one.rounds)),
    };
    sum.cost_per_round.client = cost(&sum.cost_per_round.client, &one.cost_per_round.client);
    sum.cost_per_round.server = cost(&sum.cost_per_round.server, &one.cost_per_round.server);
    sum.rounds += one.rounds;
    sum.lost += one.lost;
    sum.elapsed_ns += one.elapsed_ns;
    // Cannot fail: all histograms have the same bounds.
    let _ = sum.histogram.add(&one.histogram);
    sum.response_histogram =
        sum.response_histogram.take().zip(one.response_histogram).map(|(mut all, one)| {
            let _ = all.add(&one);
            all
        });
    sum.probe = match (sum.probe, one.probe) {
        (Some(a), Some(b)) => Some(ProbeReport {
            untimed_mean_ns: each(a.untimed_mean_ns, b.untimed_mean_ns, a.untimed_rounds, b.untimed_rounds),
            untimed_rounds: a.untimed_rounds + b.untimed_rounds,
            // Computed when all runs are merged.
            effect_ns: 0.0,
        }),
        _ => None,
    };
    let longer = |gap: &crate::client::report::LongestGap| {
        sum.longest_gap.is_none_or(|known| gap.elapsed_ns > known.elapsed_ns)
    };
    sum.longest_gap = one.longest_gap.filter(longer).or(sum.longest_gap);
    sum.trials.extend(one.trials);
}

/// The weighted mean of two means.
fn each(a: f64, b: f64, of_a: u64, of_b: u64) -> f64 {
    let (of_a, of_b) = (of_a as f64, of_b as f64);
    if of_a + of_b > 0.0 { (a * of_a + b * of_b) / (of_a + of_b) } else { 0.0 }
}

fn times(a: &Times, b: &Times) -> Times {
    Times {
        total_ns: a.total_ns + b.total_ns,
        daemon_ns: a.daemon_ns + b.daemon_ns,
        queue_ns: a.queue_ns + b.queue_ns,
        clock_ns: a.clock_ns + b.clock_ns,
        environment_ns: a.environment_ns + b.environment_ns,
        channels_ns: a.channels_ns + b.channels_ns,
        warmup_ns: a.warmup_ns + b.warmup_ns,
        rounds_ns: a.rounds_ns + b.rounds_ns,
    }
}

/// Adds a warning, keeping only the most severe of each kind.
fn add_warning(warnings: &mut Vec<Warning>, one: Warning) {
    let kind = std::mem::discriminant(&one);
    match warnings.iter_mut().find(|known| std::mem::discriminant(*known) == kind) {
        Some(known) if one.severity() > known.severity() => *known = one,
        Some(_) => {}
        None => warnings.push(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn run(id: i64, report: Report) -> Run {
        Run { id, uuid: uuid::Uuid::from_u128(id.unsigned_abs().into()), label: None, report }
    }

    #[test]
    fn merged_runs_have_all_rounds_and_trials() {
        let mut slow = sample::sweep();
        slow.started_unix_s += 60;
        for cell in &mut slow.results {
            let mut twice = crate::client::measure::histogram();
            for bucket in cell.histogram.iter_recorded() {
                twice.record_n(bucket.value_iterated_to() * 2, bucket.count_at_value()).unwrap();
            }
            cell.histogram = twice;
            cell.cost_per_round.client.cpu_ns *= 3.0;
        }
        let one = sample::sweep();
        let mut merged = MergedRuns::new(run(1, one.clone()));
        merged.add(run(2, slow.clone())).unwrap();
        assert_eq!(merged.notes().len(), 2, "pipe was aborted in both: {:?}", merged.notes());
        let all = merged.report(vec!["history".to_owned()]);
        assert_eq!((all.results.len(), all.summed_runs.len()), (one.results.len() - 1, 2));
        for (sum, one) in all.results.iter().zip(&one.results) {
            let slow = slow.results.iter().find(|slow| slow.cell == one.cell).unwrap();
            assert_eq!(sum.rounds, 2 * one.rounds);
            assert_eq!(sum.trials.len(), 10);
            assert_eq!(sum.latency_ns.samples, one.latency_ns.samples + slow.histogram.len());
            // Half of the rounds took twice as long: the quantiles are neither run's, nor their means.
            assert_eq!(sum.latency_ns.min, one.latency_ns.min);
            assert_eq!(sum.latency_ns.p50, Latency::of(&sum.histogram).p50);
            let (p50, of_one) = (sum.latency_ns.p50.unwrap(), one.latency_ns.p50.unwrap());
            assert!(p50 > of_one * 1.01 && p50 < of_one * 1.99, "{p50} of {of_one}");
            let (cost, of_one) = (sum.cost_per_round.client.cpu_ns, one.cost_per_round.client.cpu_ns);
            assert!((cost / of_one - 2.0).abs() < 1e-9, "{cost} of {of_one}");
        }
    }

    #[test]
    fn runs_of_other_hosts_are_refused_and_differences_are_noted() {
        let mut merged = MergedRuns::new(run(1, sample::single()));
        let mut other = sample::single();
        other.environment.cpu.model = Some("Another CPU".to_owned());
        let error = merged.add(run(2, other)).unwrap_err().to_string();
        assert!(error.starts_with("run 2 cannot be merged with run 1: different CPU: "), "{error}");
        let mut kernel = sample::single();
        kernel.environment.kernel.release = Some("6.8".to_owned());
        kernel.settings.private_daemon = false;
        merged.add(run(3, kernel)).unwrap();
        let notes = merged.notes().concat();
        assert!(notes.contains("kernel 6.1.0-sample → 6.8") && notes.contains("daemon private"), "{notes}");
        assert_eq!(merged.report(Vec::new()).summed_runs.len(), 2, "a refused run is not included");
    }
}
