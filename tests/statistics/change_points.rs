//! Simulates series to find the thresholds of `change_points`, and how often it errs and finds.
//!
//! `rustc -O --edition 2024 tests/statistics/change_points.rs -o /tmp/sim && /tmp/sim > tests/statistics/change_points.txt`

#[path = "../../src/client/stats/change_points.rs"]
mod change_points;

use change_points::{FEWEST_FOR_A_CHANGE, change_points, change_points_above, largest_statistic};

/// SplitMix64, seeded: the same figures each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
    }

    /// A first-order autoregression of variance 1.
    fn series(&mut self, len: usize, correlation: f64) -> Vec<f64> {
        let mut last = self.normal();
        let step = (1.0 - correlation * correlation).sqrt();
        (0..len)
            .map(|_| {
                last = correlation * last + step * self.normal();
                last
            })
            .collect()
    }
}

fn main() {
    let mut chance = Chance(20_260_301);
    println!("Made by tests/statistics/change_points.rs, seed 20260301.\n");
    println!("1. The largest statistic of series without a change: 95, 99, 99.9 % of them stay below.");
    for len in [8, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000] {
        let runs = if len <= 100 { 40_000 } else { 4_000_000 / len };
        let mut largest: Vec<f64> = (0..runs).map(|_| largest_statistic(&chance.series(len, 0.0))).collect();
        largest.sort_by(f64::total_cmp);
        let at = |share: f64| largest[(share * runs as f64) as usize];
        println!("   n = {len:5}: {:.3} {:.3} {:.3}   ({runs} series)", at(0.95), at(0.99), at(0.999));
    }

    println!("\n2. Series without a change that show one, in percent, by their lag-1 autocorrelation.");
    println!("             0     0.2     0.4     0.6");
    for len in [FEWEST_FOR_A_CHANGE, 11, 12, 13, 15, 20, 50, 100, 300, 1000] {
        print!("   n = {len:5}:");
        for correlation in [0.0, 0.2, 0.4, 0.6] {
            let runs = 400_000 / len.max(40);
            let alarms = (0..runs).filter(|_| !change_points(&chance.series(len, correlation)).is_empty());
            print!(" {:7.2}", 100.0 * alarms.count() as f64 / runs as f64);
        }
        println!();
    }

    println!("\n3. One step, by its size in standard deviations and the number of values after it: found, in percent,");
    println!("   in a series of 100 with the step; and of those, within 2 values of where it is.");
    println!("   after     1 sd          2 sd          4 sd          8 sd");
    for after in [4, 5, 6, 7, 8, 10, 15, 20, 50] {
        print!("   {after:5}");
        for size in [1.0, 2.0, 4.0, 8.0] {
            let (mut found, mut near) = (0, 0);
            let runs = 2000;
            for _ in 0..runs {
                let mut series = chance.series(100, 0.0);
                series[100 - after..].iter_mut().for_each(|value| *value += size);
                let points = change_points(&series);
                found += usize::from(!points.is_empty());
                near += usize::from(points.iter().any(|point| point.abs_diff(100 - after) <= 2));
            }
            let percent = |count: usize| 100.0 * count as f64 / runs as f64;
            print!("  {:5.1} ({:5.1})", percent(found), percent(near));
        }
        println!();
    }

    println!("\n4. A step of 4 sd up at 40 and down again at 60, of 100: both found and nothing else, in percent.");
    let both = (0..2000).filter(|_| {
        let mut series = chance.series(100, 0.0);
        series[40..60].iter_mut().for_each(|value| *value += 4.0);
        let points = change_points(&series);
        points.len() == 2 && points[0].abs_diff(40) <= 2 && points[1].abs_diff(60) <= 2
    });
    println!("   {:.1}", 100.0 * both.count() as f64 / 2000.0);

    println!("\n5. Wild values (each tenth 100 sd away) in series of 100 without a change: alarms, in percent.");
    let wild = (0..4000).filter(|_| {
        let mut series = chance.series(100, 0.0);
        for value in &mut series {
            if chance.next() < 0.1 {
                *value += 100.0;
            }
        }
        !change_points(&series).is_empty()
    });
    println!("   {:.2}", 100.0 * wild.count() as f64 / 4000.0);
    let sure = chance.series(100, 0.0).len() == 100 && change_points_above(&[0.0; 100], 0.0).is_empty();
    assert!(sure, "equal values never change");
}
