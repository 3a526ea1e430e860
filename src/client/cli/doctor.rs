//! `ipc-client doctor`.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;

use super::bench::{Session, check_grade, exit};
use super::daemon::{LeaseArgs, SocketArgs};
use super::history::select::LocationArgs;
use super::output::{Progress, prose_width};
use crate::client::Failure;
use crate::client::bench::{self, Outcome};
use crate::client::history::HistoryError;
use crate::client::host::Snapshot;
use crate::client::host::placement::Placement;
use crate::client::judge::doctor::{
    Diagnosis, Host, SelfTest, checks, twice, write_checks, write_self_tests,
};
use crate::client::judge::noise::Noise;
use crate::client::judge::warnings::Grade;
use crate::client::plan::PlacementArg;
use crate::client::plan::PlanArgs;
use crate::client::report::{Times, cell_name, json};
use crate::diagnostics::to_stdout;
use crate::exit::Exit;
use crate::protocol::Wait;
use crate::transports::sys::clock::ClockChoice;
use crate::units;

/// How long the host is observed while nothing is measured: the kernel counts CPU time in steps of 10 ms.
const OBSERVATION: Duration = Duration::from_millis(500);

/// The length of a trial of the self-test, and of a quick one.
const TRIAL: Duration = Duration::from_millis(300);
const QUICK_TRIAL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Methods that are measured against themselves, separated by commas, or "all".
    #[arg(
        short,
        long = "method",
        value_name = "METHOD,...",
        value_delimiter = ',',
        default_value = "tcp,shmem"
    )]
    methods: Vec<String>,
    /// Payload bytes each way, such as 8, 64, 4k, 1M.
    #[arg(long, value_name = "BYTES", default_value = "8", value_parser = units::parse_size)]
    size: u32,
    /// How both sides wait: block, spin, adaptive [default: the method's own].
    #[arg(long, value_name = "WAIT")]
    wait: Option<Wait>,
    /// Where the two sides run: unpinned, same-core, smt, cross-core, cross-socket [default: unpinned].
    #[arg(long, value_name = "PLACEMENT")]
    placement: Option<Placement>,
    /// Pairs of trials; from 6 on, the result assumes nothing about the distribution of trials.
    #[arg(long, value_name = "N", default_value = "7", value_parser = units::parse_in_range(2, 1_000))]
    pairs: u32,
    /// Short trials: two seconds in all instead of ten, for a coarser answer.
    #[arg(long)]
    quick: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Fail with exit code 11 if the self-test's grade, from A to F, is below this one.
    #[arg(long, value_name = "GRADE")]
    require_grade: Option<Grade>,
    #[command(flatten)]
    lease: LeaseArgs,
    #[command(flatten)]
    location: LocationArgs,
}

impl DoctorArgs {
    /// The self-test measures as `bench` does, so that it is valid for `bench`.
    fn plan(&self) -> PlanArgs {
        PlanArgs {
            methods: self.methods.clone(),
            sizes: vec![self.size],
            waits: self.wait.into_iter().collect(),
            placements: self.placement.map(PlacementArg::One).into_iter().collect(),
            trials: Some(self.pairs),
            duration: Some(if self.quick { QUICK_TRIAL } else { TRIAL }),
            ..PlanArgs::default()
        }
    }
}

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let (options, plan) = (Default::default(), args.plan());
    plan.check()?;
    // Before anything is measured: an error here would lose it.
    let history = args.location.open_if_any()?;
    let mut session = Session::begin(&args.socket, &args.lease, &plan, &options, ClockChoice::Auto)?;
    sleep(OBSERVATION);
    let report = &mut session.report;
    let responder_throttling = report.at_start.responder_throttling;
    let now = Snapshot { responder_throttling, ..Snapshot::capture() };
    let earlier = std::mem::replace(&mut report.at_start, now);
    let (environment, now, clock) = (&report.environment, &report.at_start, &report.clock);
    let checks = checks(Host { environment, earlier: &earlier, now, clock });
    if !args.json {
        // Shown now: the self-test takes some seconds.
        to_stdout(|out| write_checks(&checks, prose_width(), out))?;
    }

    let mut progress = {
        let bench = &session.bench;
        // Each cell is measured twice.
        Progress::new(2 * bench.cells.len(), bench.trials, bench.plan.stop)
    };
    let mut outcomes = Vec::new();
    for cell in 0..session.bench.cells.len() {
        let cells = twice(&session.bench, cell);
        outcomes.extend(bench::run(&mut session.client, &cells, &session.calibration, &mut progress));
    }
    drop(progress);

    // Other clients need not wait while the history is read.
    let mut report = session.end(&outcomes);
    let host = report.environment.hostname.clone().unwrap_or_default();
    let self_test = |pair: &[Outcome]| {
        let noise = match &history {
            Some(history) => Noise::of_cell(history, &host, &cell_name(&pair[0].cell))?,
            None => Noise::default(),
        };
        Ok::<_, HistoryError>(SelfTest::of(&pair[0], &pair[1], &noise))
    };
    let self_tests = outcomes.chunks_exact(2).map(self_test).collect::<Result<Vec<_>, _>>()?;
    report.times = Times::default();
    let diagnosis = Diagnosis::new(checks, self_tests, report);
    to_stdout(|out| match args.json {
        true => json::write(&diagnosis, out),
        false => write_self_tests(&diagnosis, out),
    })?;
    Ok(exit(&outcomes, check_grade(&diagnosis.report, args.require_grade)))
}
