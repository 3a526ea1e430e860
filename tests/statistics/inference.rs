//! Simulates what drift tests and verdicts claim, with the program's own code and effects of known size. The tests hold the
//! promises at few repetitions; `inference.txt` has the figures at many:
//!
//! `cargo test --lib -- --ignored --nocapture inference::figures`

use std::fs;

use super::comparison::compare_groups;
use super::drift::{Drift, drift};
use super::interval::{median, median_interval};
use super::reference::SplitMix64;
use super::runs::{RunEstimate, RunSpread, geometric_mean, holm};

impl SplitMix64 {
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The slices of a trial around 1: noise of this standard deviation, by `rho` correlated with the slice before, and a
/// change over the trial.
fn slices(random: &mut SplitMix64, noise: f64, rho: f64, change: impl Fn(f64) -> f64) -> Vec<f64> {
    const SLICES: u32 = 64;
    let step = (1.0 - rho * rho).sqrt();
    let mut last = random.normal();
    (0..SLICES)
        .map(|slice| {
            last = rho * last + step * random.normal();
            (1.0 + noise * last) * (1.0 + change(f64::from(slice) / f64::from(SLICES - 1)))
        })
        .collect()
}

/// How many of `runs` runs of this many trials drift, in percent. Trials differ by 5 %, so that joined they have steps.
fn drifting(runs: u32, trials: u32, noise: f64, rho: f64, change: impl Fn(f64) -> f64) -> f64 {
    let mut random = SplitMix64(u64::from(trials));
    let found = (0..runs).filter(|_| {
        let series: Vec<Vec<f64>> = (0..trials)
            .map(|_| {
                let level = (0.05 * random.normal()).exp();
                slices(&mut random, noise, rho, &change).iter().map(|ns| ns * level).collect()
            })
            .collect();
        drift(&series).is_some_and(|drift| Drift::significant(&drift))
    });
    100.0 * found.count() as f64 / f64::from(runs)
}

fn warm_up(size: f64) -> impl Fn(f64) -> f64 {
    move |time| size * (-5.0 * time).exp()
}

#[test]
fn stationary_trials_do_not_drift_and_warm_ups_are_found() {
    for (noise, rho) in [(0.03, 0.0), (0.03, 0.6), (0.15, 0.0), (0.15, 0.6)] {
        let alarms = drifting(1000, 5, noise, rho, |_| 0.0);
        assert!(alarms <= 2.0, "{alarms} % at noise {noise}, rho {rho}");
    }
    let found = drifting(200, 5, 0.03, 0.3, warm_up(0.2));
    assert!(found >= 99.0, "{found} %");
}

fn drifts() -> String {
    let mut text = "1. Runs that are said to drift within their trials, in percent. A trial has 64 slices; rho is the\n   \
                    correlation of neighbouring slices. Trials differ by 5 % (standard deviation).\n\n   \
                    trials:                                        1      2      5     10     30\n"
        .to_owned();
    let mut row = |name: &str, noise, rho, change: &dyn Fn(f64) -> f64| {
        text += &format!("   {:<42}", format!("{name}, noise {:.0} %, rho {rho}", 100.0 * noise));
        for trials in [1, 2, 5, 10, 30] {
            text += &format!("{:7.1}", drifting(2000, trials, noise, rho, change));
        }
        text += "\n";
    };
    for noise in [0.03, 0.15] {
        for rho in [0.0, 0.3, 0.6, 0.9] {
            row("stationary", noise, rho, &|_| 0.0);
        }
    }
    for size in [0.1, 0.2] {
        row(&format!("warm-up of {:.0} %", 100.0 * size), 0.03, 0.3, &warm_up(size));
        row(&format!("line of {:.0} %", 100.0 * size), 0.03, 0.3, &move |time| size * time);
    }
    text
}

/// How a run's level is distributed around that of all runs.
#[derive(Clone, Copy)]
enum Shape {
    Normal,
    /// Student's t with 3 degrees of freedom, at the same standard deviation.
    LongTails,
    /// One run in five is in another state of the host, two standard deviations slower.
    TwoStates,
}

/// The trials of a run: its level differs from that of others by `sd`, its trials among themselves by 0.8 %.
fn run(random: &mut SplitMix64, shape: Shape, sd: f64) -> Vec<f64> {
    let level = match shape {
        Shape::Normal => random.normal(),
        Shape::LongTails => {
            let squares: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
            random.normal() / (squares / 3.0).sqrt() / 3.0_f64.sqrt()
        }
        Shape::TwoStates => {
            let slow = f64::from(u8::from(random.uniform() < 0.2));
            // Both states together have a standard deviation of 1.
            (random.normal() + 2.0 * slow - 0.4) / (1.0_f64 + 0.64).sqrt()
        }
    };
    (0..5).map(|_| (sd * level + 0.008 * random.normal()).exp()).collect()
}

/// What `compare` makes of these runs, as it does for a statistic.
fn estimate(a: &[Vec<f64>], b: &[Vec<f64>], others: &[Vec<f64>]) -> RunEstimate {
    let figures = |runs: &[Vec<f64>]| -> Vec<f64> { runs.iter().map(|run| median(run).unwrap()).collect() };
    let (of_a, of_b) = (figures(a), figures(b));
    let mut spread = RunSpread::default();
    spread.add_history(&figures(others));
    spread.add(&of_a);
    spread.add(&of_b);
    let ratio = geometric_mean(&of_b).unwrap() / geometric_mean(&of_a).unwrap();
    let trials = compare_groups(&a.concat(), &b.concat()).unwrap().interval;
    let within = ((1.0 + trials.high) / (1.0 + trials.low)).ln() / 2.0;
    RunEstimate::new(ratio, 1.0 / a.len() as f64 + 1.0 / b.len() as f64, &spread, within, 0.001)
}

/// In percent of all comparisons of `b` runs with `a` others, `others` more being in the history.
struct Found {
    /// The interval has the true ratio in it, which is 1.
    covered: f64,
    /// A difference is seen where there is none, of 4 % and of 10 %.
    none: f64,
    four: f64,
    ten: f64,
}

fn comparisons(count: u32, [a, b, others]: [u32; 3], shape: Shape, sd: f64) -> Found {
    let mut random = SplitMix64(u64::from(1000 * a + 100 * b + others));
    let (mut covered, mut found) = (0, [0; 3]);
    for _ in 0..count {
        let mut runs =
            |count: u32| -> Vec<Vec<f64>> { (0..count).map(|_| run(&mut random, shape, sd)).collect() };
        let (a, b, others) = (runs(a), runs(b), runs(others));
        let estimate = estimate(&a, &b, &others);
        covered += u32::from(estimate.interval().contains(1.0));
        for (found, slower) in found.iter_mut().zip([1.0, 1.04, 1.1]) {
            // Slower by that much, the estimate would be as far from 1.
            *found += u32::from(estimate.p_value(1.0 / slower) <= 0.05);
        }
    }
    let percent = |times: u32| 100.0 * f64::from(times) / f64::from(count);
    let [none, four, ten] = found.map(percent);
    Found { covered: percent(covered), none, four, ten }
}

/// Families of 23 cells with a false alarm, in percent: without control, and with. All cells of a run share half of its
/// deviation.
fn families(count: u32) -> (f64, f64) {
    let mut random = SplitMix64(23);
    let (mut alone, mut together) = (0, 0);
    for _ in 0..count {
        let shared: Vec<f64> = (0..7).map(|_| (0.5_f64.sqrt() * 0.015 * random.normal()).exp()).collect();
        let p_values: Vec<f64> = (0..23)
            .map(|_| {
                let runs: Vec<Vec<f64>> = shared
                    .iter()
                    .map(|shared| {
                        let own = run(&mut random, Shape::Normal, 0.5_f64.sqrt() * 0.015);
                        own.iter().map(|ns| ns * shared).collect()
                    })
                    .collect();
                estimate(&runs[..6], &runs[6..], &[]).p_value(1.0)
            })
            .collect();
        let any = |p_values: &[f64]| u32::from(p_values.iter().any(|p| *p <= 0.05));
        alone += any(&p_values);
        together += any(&holm(&p_values));
    }
    let percent = |times: u32| 100.0 * f64::from(times) / f64::from(count);
    (percent(alone), percent(together))
}

#[test]
fn verdicts_on_runs_keep_their_promises() {
    for shape in [Shape::Normal, Shape::LongTails] {
        let found = comparisons(1000, [6, 1, 0], shape, 0.015);
        assert!(
            (93.0..=98.0).contains(&found.covered) && found.none <= 7.0,
            "{} {}",
            found.covered,
            found.none
        );
        assert!(found.ten >= 95.0, "{}", found.ten);
    }
    let found = comparisons(100, [6, 6, 0], Shape::Normal, 0.017);
    assert!(found.none <= 10.0 && found.four >= 80.0 && found.ten == 100.0, "{} {}", found.four, found.ten);
    let (alone, together) = families(100);
    assert!(alone > 20.0 && together <= 10.0, "{alone} {together}");
}

fn verdicts() -> String {
    let mut text = "2. Comparisons of runs, in percent. A run has five trials with a standard deviation of 0.8 %, and the runs\n   \
                    differ by the one shown. 'six, one': six runs of a baseline against one; 'and 30': so many unchanged\n   \
                    runs besides in the history; fewer than six rest on the assumed 1.7 %.\n\n   \
                    A, B              between runs          covered   none    4 %   10 %   (differences found)\n"
        .to_owned();
    for (name, runs) in [
        ("one, one", [1, 1, 0]),
        ("three, one", [3, 1, 0]),
        ("six, one", [6, 1, 0]),
        ("six, three", [6, 3, 0]),
        ("six, six", [6, 6, 0]),
        ("one, one, and 30", [1, 1, 30]),
        ("six, one, and 30", [6, 1, 30]),
    ] {
        for (label, shape, sd) in [
            ("1.2 %", Shape::Normal, 0.012),
            ("1.7 %", Shape::Normal, 0.017),
            ("1.5 %, long tails", Shape::LongTails, 0.015),
            ("1.5 %, two states", Shape::TwoStates, 0.015),
        ] {
            let Found { covered, none, four, ten } = comparisons(1000, runs, shape, sd);
            text += &format!("   {name:<17} {label:<20} {covered:8.1} {none:6.1} {four:6.1} {ten:6.1}\n");
        }
    }
    let (alone, together) = families(500);
    text + &format!(
        "\n3. Comparisons of 23 equal cells (six runs, one) in which one or more differ, in percent.\n   \
         Each cell by itself: {alone:.1}. All together (Holm): {together:.1}.\n"
    )
}

/// How often the interval of a run has the run's own level in it, and how often that of all runs, in percent.
fn intervals() -> String {
    let mut text = "4. How often a run's interval over its trials has the level of that run in it, and that of all runs, and\n   \
                    how often the interval of a check against a limit has that of all runs in it, in percent.\n\n   \
                    between runs   of the run   of all runs   check, six others in the history\n"
        .to_owned();
    for sd in [0.012, 0.017] {
        let mut random = SplitMix64(4);
        let (mut own, mut all, mut checked) = (0, 0, 0);
        const RUNS: u32 = 2000;
        for _ in 0..RUNS {
            let level = (sd * random.normal()).exp();
            let trials: Vec<f64> = (0..5).map(|_| level * (0.008 * random.normal()).exp()).collect();
            let interval = median_interval(&trials).unwrap();
            own += u32::from(interval.contains(level));
            all += u32::from(interval.contains(1.0));
            let mut spread = RunSpread::default();
            let others: Vec<f64> =
                (0..6).map(|_| median(&run(&mut random, Shape::Normal, sd)).unwrap()).collect();
            spread.add_history(&others);
            let within = (interval.high / interval.low).ln() / 2.0;
            let estimate = RunEstimate::new(median(&trials).unwrap(), 1.0, &spread, within, 0.001);
            checked += u32::from(estimate.interval().contains(1.0));
        }
        let percent = |times: u32| 100.0 * f64::from(times) / f64::from(RUNS);
        let (own, all, checked) = (percent(own), percent(all), percent(checked));
        text += &format!("   {:10.1} % {own:12.1} {all:13.1} {checked:10.1}\n", 100.0 * sd);
    }
    text
}

#[test]
#[ignore = "takes minutes; writes inference.txt"]
fn figures() {
    let parts = [drifts(), verdicts(), intervals()].join("\n");
    let text = format!("Made by tests/statistics/inference.rs. All figures are simulated.\n\n{parts}");
    print!("{text}");
    fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/statistics/inference.txt"), text).unwrap();
}
