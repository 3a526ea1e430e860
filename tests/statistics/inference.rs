//! Simulates what drift tests and verdicts claim, with the program's own code and effects of known size. The tests hold the
//! promises at few repetitions; `inference.txt` has the figures at many:
//!
//! `cargo test --lib -- --ignored --nocapture inference::figures`

use std::fs;

use super::drift::{Drift, drift};
use super::reference::SplitMix64;

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

#[test]
#[ignore = "takes a minute; writes inference.txt"]
fn figures() {
    let text = format!("Made by tests/statistics/inference.rs.\n\n{}", drifts());
    print!("{text}");
    fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/statistics/inference.txt"), text).unwrap();
}
