//! `ipc-client check`.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::compare::{sides, statistic};
use super::history::PlaceArgs;
use super::history::select::CellArgs;
use crate::client::history::Pick;
use crate::client::judge::check::{Check, against, below};
use crate::client::judge::compare::{Comparison, SideSummary};
use crate::client::report::json;
use crate::client::stats::Statistic;
use crate::diagnostics::Printable;
use crate::exit::Exit;
use crate::units;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all is fine, 12 something is slower than it may be, 13 the figures are too uncertain to tell, 14 there is \
nothing to compare (also for a single cell that only one of the two has, or that broke off, and for a run that is the \
baseline itself). What counts most decides: 12, then 13, then 14.\n\n\
Without --max-regression, 0 says that nothing is slower that this host can show, which is what exceeds the noise in the answer. \
With it, 0 says that a regression of that size would have shown. Fewer than two trials are 13.")]
pub(super) struct CheckArgs {
    /// The run: an id, last, last~1, a label, a UUID, or a file.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Pick,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// What it is held against: a baseline's name, or any other way to name a run.
    #[arg(long, value_name = "NAME")]
    baseline: Option<Pick>,
    /// How much slower than the baseline it may be, such as 10% [default: whatever is no real difference].
    #[arg(long, value_name = "PERCENT", value_parser = units::parse_increase, requires = "baseline")]
    max_regression: Option<f64>,
    /// The statistic that is held against the baseline: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BoundArgs {
    /// The median has to be below this, such as 20us.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p50_below: Option<Duration>,
    /// The 90 % quantile has to.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p90_below: Option<Duration>,
    /// The 99 % quantile has to.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p99_below: Option<Duration>,
    /// The 99.9 % quantile has to.
    #[arg(long = "p99.9-below", value_name = "TIME", value_parser = units::parse_duration)]
    p99_9_below: Option<Duration>,
    /// The 99.99 % quantile has to.
    #[arg(long = "p99.99-below", value_name = "TIME", value_parser = units::parse_duration)]
    p99_99_below: Option<Duration>,
    /// The mean has to.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    mean_below: Option<Duration>,
}

impl BoundArgs {
    /// Each bound that was set, in nanoseconds.
    fn set(&self) -> Vec<(Statistic, f64)> {
        [
            (Statistic::P50, self.p50_below),
            (Statistic::P90, self.p90_below),
            (Statistic::P99, self.p99_below),
            (Statistic::P99_9, self.p99_9_below),
            (Statistic::P99_99, self.p99_99_below),
            (Statistic::Mean, self.mean_below),
        ]
        .into_iter()
        .filter_map(|(statistic, bound)| Some((statistic, bound?.as_secs_f64() * 1e9)))
        .collect()
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let bounds = args.bounds.set();
    if args.baseline.is_none() && bounds.is_empty() {
        return Err(Failure::usage(
            "nothing to check: name a --baseline, or a bound such as --p99-below 20us",
        ));
    }
    let filter = args.cells.filter()?;
    let history = sides::history(&args.place)?;
    let side = |pick| -> Result<_, Failure> {
        let mut side = sides::side(pick, history.as_ref(), &args.place)?;
        side.report.results.retain(|cell| filter.lets_through(cell));
        Ok(side)
    };
    let run = side(&args.run)?;
    let baseline = args.baseline.as_ref().map(side).transpose()?;
    let comparison = baseline
        .map(|baseline| Comparison::new(&baseline, &run, args.quantile, history.as_ref()))
        .transpose()?;
    let mut findings =
        comparison.as_ref().map_or_else(Vec::new, |comparison| against(comparison, args.max_regression));
    for (statistic, most_ns) in bounds {
        findings.extend(below(&run.report.results, statistic, most_ns));
    }
    let check = Check::of(SideSummary::of(&run), comparison, findings);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        json::write(&check, &mut out)?;
    } else {
        check.write_text(&mut Printable::new(&mut out))?;
    }
    out.flush()?;
    Ok(check.state.exit())
}
