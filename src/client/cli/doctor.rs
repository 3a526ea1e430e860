//! `ipc-client doctor`.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use super::Failure;
use super::args::{BenchArgs, DoctorArgs};
use super::bench::{doubtful, exit, settings};
use super::daemon::find_or_start;
use super::parse::PlacementArg;
use super::plan::plan;
use super::possible::keep_possible;
use super::progress::Progress;
use super::terminal::prose_width;
use crate::client::LeaseWait;
use crate::client::bench;
use crate::client::host::{Environment, Snapshot};
use crate::client::judge::doctor::{
    Diagnosis, Host, SelfTest, checks, twice, write_checks, write_self_tests,
};
use crate::client::judge::warnings::Grade;
use crate::client::report::{CellReport, Clock, Report, SCHEMA, Times, json};
use crate::diagnostics::print_line;
use crate::exit::Exit;
use crate::transports::sys::clock::ClockChoice;

/// How long the host is watched while nothing is measured: the kernel counts CPU time in steps of 10 ms.
const WATCH: Duration = Duration::from_millis(500);

/// How long a trial of the self-test is, and of a quick one.
const TRIAL: Duration = Duration::from_millis(300);
const QUICK_TRIAL: Duration = Duration::from_millis(50);

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let started_unix_s =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut client = find_or_start(&args.socket, args.private)?;
    let private_daemon = client.path().is_none();
    let states = client.methods()?;
    let mut plan = plan(&bench_args(args), &Default::default(), &states)?;
    let wait = if args.no_wait { LeaseWait::No } else { LeaseWait::Queue };
    client.acquire(wait, |place| {
        print_line(format_args!("ipc-client: another measurement runs; number {place} in line"))
    })?;

    keep_possible(&mut client, &mut plan)?;
    let calibration = plan.calibrate(ClockChoice::Auto)?.map_err(Failure::unavailable)?;
    let clock = Clock::from(&calibration);
    let environment = Environment::capture();
    let earlier = Snapshot::capture();
    sleep(WATCH);
    let at_start = Snapshot::capture();
    let checks = checks(Host { environment: &environment, earlier: &earlier, now: &at_start, clock: &clock });
    if !args.json {
        // The test takes some seconds; this is to be read meanwhile.
        let mut out = io::stdout().lock();
        write_checks(&checks, prose_width(), &mut out)?;
        out.flush()?;
    }

    let mut progress = Progress::new(plan.plan.stop);
    let mut outcomes = Vec::new();
    for cell in 0..plan.cells.len() {
        outcomes.extend(bench::run(&mut client, &twice(&plan, cell), &calibration, &mut progress));
    }
    drop(progress);
    drop(client);

    let self_tests = outcomes.chunks_exact(2).map(|pair| SelfTest::of(&pair[0], &pair[1])).collect();
    let report = Report {
        schema: SCHEMA,
        started_unix_s,
        times: Times::default(),
        settings: settings(&plan, private_daemon),
        clock,
        environment,
        at_start,
        at_end: Snapshot::capture(),
        results: outcomes.iter().map(CellReport::of).collect(),
        warnings: Vec::new(),
        grade: Grade::F,
        summed_runs: Vec::new(),
    };
    let diagnosis = Diagnosis::new(checks, self_tests, report);
    let mut out = io::stdout().lock();
    if args.json {
        json::write(&diagnosis, &mut out)?;
    } else {
        write_self_tests(&diagnosis, &mut out)?;
    }
    out.flush()?;
    Ok(exit(&outcomes, doubtful(&diagnosis.report, args.require_grade)))
}

/// The self-test is what `bench` does, so that it tells of `bench`.
fn bench_args(args: &DoctorArgs) -> BenchArgs {
    BenchArgs {
        methods: args.methods.clone(),
        sizes: vec![args.size],
        waits: args.wait.into_iter().collect(),
        placements: args.placement.map(PlacementArg::One).into_iter().collect(),
        trials: Some(args.pairs),
        duration: Some(if args.quick { QUICK_TRIAL } else { TRIAL }),
        ..BenchArgs::defaults()
    }
}
