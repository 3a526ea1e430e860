//! Trends for a terminal: a sparkline each, and a line for each change.

use std::io::{self, Write};

use super::{LevelChange, Trend};
use crate::client::judge::compare::Circumstance;
use crate::client::stats::FEWEST_FOR_A_CHANGE;
use crate::units::{latency, signed, utc};

/// From the lowest value to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// With fewer values there is no sparkline.
const FEWEST_BARS: usize = 4;

/// Writes each trend. A sparkline has `width` columns at most; one stands for several runs where there are more.
///
/// # Errors
/// The writer's.
pub(crate) fn write_text(trends: &[Trend], width: usize, out: &mut dyn Write) -> io::Result<()> {
    for (number, trend) in trends.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        let (first, last) = match &trend.points[..] {
            [first, .., last] => (first, last),
            [one] => (one, one),
            [] => continue,
        };
        let host = if trend.host.is_empty() { "a host without a name" } else { &trend.host };
        writeln!(
            out,
            "{} on {host}: {} of {} runs",
            trend.cell,
            trend.statistic.label(),
            trend.points.len()
        )?;
        let values: Vec<f64> = trend.points.iter().map(|point| point.ns).collect();
        let columns = columns(values.len(), width.max(1));
        let (low, high) = values
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
        let range =
            if values.len() > 1 { format!("{} to {}", latency(low), latency(high)) } else { latency(low) };
        // A few bars have no shape: each is the lowest or the highest.
        match values.len() < FEWEST_BARS {
            true => writeln!(out, "{range}")?,
            false => writeln!(out, "{}  {range}", sparkline(&values, columns, low, high))?,
        }
        if !trend.changes.is_empty() {
            writeln!(out, "{}", marks(trend, columns).trim_end())?;
        }
        writeln!(out, "from {} to {}", utc(first.started_unix_s), utc(last.started_unix_s))?;
        for change in &trend.changes {
            writeln!(out, "\t{}", line(change))?;
        }
        if !trend.enough_runs {
            writeln!(out, "\ttoo few runs to tell a change: it takes {FEWEST_FOR_A_CHANGE}")?;
        } else if trend.changes.is_empty() {
            writeln!(out, "\tno change that can be told from chance")?;
        }
    }
    Ok(())
}

/// A change in a line: when, from where to where, and what else changed then.
pub(in crate::client) fn line(change: &LevelChange) -> String {
    let mut line = format!(
        "{} run {}: {} → {}, {} [{}, {}]",
        utc(change.started_unix_s),
        change.run,
        latency(change.before_ns),
        latency(change.after_ns),
        signed(change.change_fraction),
        signed(change.confidence_95.low),
        signed(change.confidence_95.high),
    );
    let all: Vec<String> =
        change.differences.iter().map(|difference| Circumstance(difference).to_string()).collect();
    line.push_str(": ");
    line.push_str(&match (all.is_empty(), change.differences_at) {
        (true, _) => "nothing has changed that the runs tell".to_owned(),
        (false, 0) => all.join("; "),
        (false, at) => {
            let when = if at < 0 { "before" } else { "after" };
            let (runs, plural) = (at.abs(), if at.abs() == 1 { "" } else { "s" });
            format!("{runs} run{plural} {when}, {}", all.join("; "))
        }
    });
    line
}

fn columns(values: usize, width: usize) -> usize {
    values.min(width)
}

/// The values that a column stands for.
fn share(values: usize, columns: usize, column: usize) -> std::ops::Range<usize> {
    column * values / columns..(column + 1) * values / columns
}

fn sparkline(values: &[f64], columns: usize, low: f64, high: f64) -> String {
    (0..columns)
        .map(|column| {
            let part = &values[share(values.len(), columns, column)];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let height = if high > low { (mean - low) / (high - low) * 7.0 } else { 0.0 };
            // From 0 to 7.
            BARS[(height.round() as usize).min(BARS.len() - 1)]
        })
        .collect()
}

/// A mark under the column of each change.
fn marks(trend: &Trend, columns: usize) -> String {
    (0..columns)
        .map(|column| {
            let share = share(trend.points.len(), columns, column);
            if trend.changes.iter().any(|change| share.contains(&change.index)) { '^' } else { ' ' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_the_lowest_and_the_highest_bar() {
        assert_eq!(sparkline(&[1.0, 2.0, 8.0, 1.0], 4, 1.0, 8.0), "▁▂█▁");
        assert_eq!(sparkline(&[5.0; 3], 3, 5.0, 5.0), "▁▁▁");
        assert_eq!(sparkline(&[1.0, 1.0, 8.0, 8.0], 2, 1.0, 8.0), "▁█", "several runs a column");
    }
}
