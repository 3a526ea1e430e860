//! Runs the two sides of a row alternately, and compares them.

use ipcd::internals::client::median;
use ipcd::internals::protocol::Wait;

use crate::programs::{Figures, Program, Programs, Run, Timing};
use crate::rows::Row;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) pairs: u32,
    /// Approximate duration of a run.
    pub(crate) run_ns: f64,
    pub(crate) max_rounds: u64,
    /// Whether the figures are meaningful.
    pub(crate) judged: bool,
}

impl Effort {
    pub(crate) const FULL: Self = Self { pairs: 7, run_ns: 250e6, max_rounds: 2_000_000, judged: true };
    pub(crate) const QUICK: Self = Self { run_ns: 50e6, ..Self::FULL };
    pub(crate) const TEST: Self = Self { pairs: 1, run_ns: 1e6, max_rounds: 50, judged: false };
}

/// Fewest rounds of a run; also those of the first run, which shows how long a round takes.
const MIN_ROUNDS: u64 = 50;

/// ipc-client's histogram rounds a median up by as much as 0.1 %.
const RESOLUTION: f64 = 0.001;

/// Fewest rounds if batches of 1000 are timed: no median is reported for fewer.
const MIN_BATCHED_ROUNDS: u64 = 30_000;

/// How the two sides of a row compare: medians and smallest of the runs' medians in ns, and ratios.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    rounds: u64,
    yardstick: f64,
    subject: f64,
    ratio: f64,
    /// Quartiles of the pairs' ratios.
    quartiles: (f64, f64),
    ratio_of_minima: f64,
    judged: bool,
}

/// Runs the pairs of one row: yardstick, subject, yardstick, subject, …
pub(crate) fn compare(programs: &Programs, row: &Row, effort: &Effort) -> Result<Comparison, String> {
    // pp does not time batches: it prints the mean of the whole run, so that both sides compare means.
    let whole = row.yardstick.program == Program::Pp && row.yardstick.timing == Timing::Batch;
    let figure = |figures: Figures| if whole { figures.mean } else { figures.p50 };
    let fewest = if row.subject.timing == Timing::Batch { MIN_BATCHED_ROUNDS } else { MIN_ROUNDS };
    let first = programs.run(&row.yardstick, fewest)?.p50.max(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range")]
    let rounds = (effort.run_ns / first).clamp(fewest as f64, effort.max_rounds.max(fewest) as f64) as u64;

    let (mut yardstick, mut subject) = (Vec::new(), Vec::new());
    for _ in 0..effort.pairs {
        yardstick.push(figure(programs.run(&row.yardstick, rounds)?));
        subject.push(figure(programs.run(&row.subject, rounds)?));
    }
    let mut ratios: Vec<f64> =
        subject.iter().zip(&yardstick).map(|(subject, yardstick)| subject / yardstick).collect();
    ratios.sort_by(f64::total_cmp);
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let (low, high) = quartiles(&ratios);
    let medians = (median(&yardstick).ok_or("no runs")?, median(&subject).ok_or("no runs")?);
    if !(medians.0 > 0.0 && medians.1 > 0.0) {
        return Err(format!("a round trip of no time: {medians:?}"));
    }
    Ok(Comparison {
        rounds,
        yardstick: medians.0,
        subject: medians.1,
        ratio: medians.1 / medians.0,
        quartiles: (low, high),
        ratio_of_minima: least(&subject) / least(&yardstick),
        judged: effort.judged,
    })
}

/// The medians of the lower and of the upper half.
fn quartiles(sorted: &[f64]) -> (f64, f64) {
    let half = sorted.len().div_ceil(2);
    let of = |half: &[f64]| median(half).unwrap_or(f64::NAN);
    (of(&sorted[..half]), of(&sorted[sorted.len() - half..]))
}

pub(crate) fn print_header(yardstick: &str, subject: &str, effort: &Effort) {
    println!(
        "median round trip over {} pairs of runs in turn: {yardstick} and {subject}, the ratio of the two with the \
         quartiles of the pairs' ratios, the smallest run against the smallest. The ratio is above its target if three \
         quarters of the pairs are too, else the host was too noisy to tell",
        effort.pairs
    );
    println!(
        "{:<15} {:>5} {:<8} {:<4} {:>8} {yardstick:>10} {subject:>10}  {:>5} {:<13} {:>5}  {:<11}",
        "method", "size", "wait", "CPUs", "rounds", "ratio", "[quartiles]", "min", "target"
    );
}

/// Prints a row; returns whether it could be measured.
pub(crate) fn print_result(row: &Row, result: &Result<Comparison, String>) -> bool {
    let Run { method, wait, cpus, size, .. } = &row.subject;
    let wait: Wait = *wait;
    let size = match size {
        size if size % (1 << 20) == 0 => format!("{}M", size >> 20),
        size if size % (1 << 10) == 0 => format!("{}k", size >> 10),
        size => size.to_string(),
    };
    let cpus = format!("{},{}", cpus.client, cpus.server);
    let head = format!("{method:<15} {size:>5} {:<8} {cpus:<4}", wait.name());
    match result {
        Ok(c) => {
            let verdict = match () {
                () if !c.judged => "works",
                () if c.ratio <= row.target + RESOLUTION => "ok",
                // Three quarters of the pairs say so.
                () if c.quartiles.0 > row.target + RESOLUTION => "above",
                () => "noisy",
            };
            println!(
                "{head} {:>8} {:>10} {:>10}  {:>5.3} [{:.3} {:.3}] {:>5.3}  {:.2} {verdict:<6} {}",
                c.rounds,
                time(c.yardstick),
                time(c.subject),
                c.ratio,
                c.quartiles.0,
                c.quartiles.1,
                c.ratio_of_minima,
                row.target,
                row.note
            );
        }
        Err(error) => println!("{head} {error}"),
    }
    result.is_ok()
}

fn time(ns: f64) -> String {
    if ns < 1000.0 { format!("{ns:.1} ns") } else { format!("{:.2} µs", ns / 1000.0) }
}
