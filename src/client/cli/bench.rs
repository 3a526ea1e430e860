//! `ipc-client bench`, and the measuring session that `doctor` shares with it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use log::Level;

use super::daemon::{LeaseArgs, SocketArgs};
use super::output::LiveOutput;
use super::profile::ProfileArgs;
use crate::client::bench::{self, Bench, Outcome};
use crate::client::host::{Environment, Snapshot};
use crate::client::judge::warnings::{Grade, judge};
use crate::client::measure::{Stop, Timing};
use crate::client::plan::PlanArgs;
use crate::client::plan::selection::{self, MethodOptions};
use crate::client::report::ranking::rank;
use crate::client::report::{CellReport, Clock, Report, SCHEMA, Settings, Times, warnings};
use crate::client::{Client, ClientError, Failure};
use crate::diagnostics::{error_chain, print_line, print_message, report_error};
use crate::exit::Exit;
use crate::signals::Interrupt;
use crate::transports::sys::clock::{Calibration, ClockChoice};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Take the flags of this profile of the configuration; flags on the command line override them.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    run: ProfileArgs,
    #[command(flatten)]
    lease: LeaseArgs,
}

pub(super) fn run(
    args: &BenchArgs,
    options: &MethodOptions,
    profile_flags: Option<Vec<String>>,
) -> Result<Exit, Failure> {
    let ProfileArgs { plan, clock, output: output_args, require_grade, record } = &args.run;
    output_args.check(plan.parallel)?;
    plan.check()?;
    record.check()?;
    let mut session = Session::begin(&args.socket, &args.lease, plan, options, *clock)?;
    session.bench.plan.interval = output_args.interval;
    let mut output = LiveOutput::new(output_args, &session.bench, session.started, session.started_at)?;
    let interrupt = Interrupt::listen(&session.client.interrupt()).map_err(Failure::unavailable)?;
    let outcomes = bench::run(&mut session.client, &session.bench, &session.calibration, &mut output);
    interrupt.restore_default();
    let hdr_log = output.end()?;
    let interrupted = outcomes.iter().any(|outcome| matches!(outcome.error, Some(ClientError::Interrupted)));
    if interrupted && outcomes.iter().all(|outcome| outcome.trials.is_empty()) {
        drop(session);
        let error = "the run was interrupted before anything was measured: no result";
        print_message("ipc-client", Level::Error, error);
        interrupt.raise_again();
        return Ok(Exit::Broken);
    }
    let mut report = session.end(&outcomes);
    report.settings.profile_flags = profile_flags;
    judge(&mut report);

    // Recorded first: a closed stdout must not prevent it. A failure of either must not prevent the other.
    let recorded = record.record(&report);
    let written = output_args.write(&report, hdr_log);
    let failed = [recorded.err().map(Failure::from), written.err()];
    let failed = failed.iter().flatten().map(Failure::report).fold(Exit::Success, Exit::or);
    if output_args.report.verbose {
        show_times(&report.times);
    }
    let exit = exit(&outcomes, check_grade(&report, *require_grade)).or(failed);
    // Even if another error ended the run first.
    interrupt.raise_again();
    Ok(exit)
}

/// Reports each distinct error once and returns the exit code of the first; `otherwise` if there is none.
pub(super) fn exit(outcomes: &[Outcome], otherwise: Exit) -> Exit {
    let errors: Vec<&ClientError> = outcomes.iter().filter_map(|outcome| outcome.error.as_ref()).collect();
    // A lost daemon fails every remaining cell in the same way.
    let mut reported = BTreeSet::new();
    for error in errors.iter().filter(|error| reported.insert(error_chain(**error))) {
        report_error("ipc-client", *error, error.advice());
    }
    errors.first().map_or(otherwise, |error| error.exit())
}

/// Whether the results have the required grade; if not, reports why.
pub(super) fn check_grade(report: &Report, required: Option<Grade>) -> Exit {
    let Some(required) = required.filter(|required| report.grade > *required) else { return Exit::Success };
    let head = format!("the grade is {}, and {required} was required:", report.grade);
    print_message("ipc-client", Level::Error, &head);
    warnings::reasons(report, required)
        .iter()
        .for_each(|reason| print_message("ipc-client", Level::Error, reason));
    Exit::Doubtful
}

/// A connection that holds the lease, the plan of what to measure through it, and the report as far as it is known.
pub(super) struct Session {
    pub(super) started: Instant,
    started_at: SystemTime,
    pub(super) client: Client,
    pub(super) bench: Bench,
    pub(super) calibration: Calibration,
    pub(super) report: Report,
}

impl Session {
    /// Connects, plans, acquires the lease, calibrates the clock and records the host's state.
    pub(super) fn begin(
        socket: &SocketArgs,
        lease: &LeaseArgs,
        plan: &PlanArgs,
        options: &MethodOptions,
        clock: ClockChoice,
    ) -> Result<Self, Failure> {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let mut times = Times::default();
        let mut watch = Stopwatch(started);
        let mut client = lease.connect(socket)?;
        let states = client.methods()?;
        let confinement = client.confinement()?;
        watch.lap(&mut times.daemon_ns);
        let mut bench = plan.plan(options, &states, &confinement.cpus.iter().copied().collect())?;
        if plan.parallel > 1 {
            client.admits(plan.parallel)?;
        }
        lease.acquire(&mut client)?;
        watch.lap(&mut times.queue_ns);
        selection::drop_unavailable(&mut client, &mut bench)?;
        watch.lap(&mut times.channels_ns);
        let calibration = bench.calibrate(clock)?.map_err(Failure::unavailable)?;
        watch.lap(&mut times.clock_ns);
        let idle_wake_ups = bench.idle_wake_ups();
        let mut environment = Environment::capture();
        let mut at_start = Snapshot::capture();
        // A private daemon is confined as its client is.
        if client.path().is_some() {
            environment.add_responder(&confinement);
            at_start.responder_throttling = client.confinement()?.throttling;
        }
        watch.lap(&mut times.environment_ns);
        let report = Report {
            schema: SCHEMA,
            started_unix_s: started_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            times,
            settings: settings(&bench, client.path().is_none()),
            clock: Clock::from(&calibration),
            environment,
            at_end: at_start.clone(),
            at_start,
            idle_wake_ups,
            results: Vec::new(),
            ranking: Vec::new(),
            warnings: Vec::new(),
            grade: Grade::F,
            summed_runs: Vec::new(),
        };
        Ok(Self { started, started_at, client, bench, calibration, report })
    }

    /// Closes the connection, so that nothing of the run is left when its results are shown, and completes the report,
    /// except for the verdict.
    pub(super) fn end(mut self, outcomes: &[Outcome]) -> Report {
        // A daemon that is lost is reported by the cells that it fails.
        let at_start = self.report.at_start.responder_throttling;
        let responder_throttling = at_start.and_then(|_| self.client.confinement().ok()?.throttling);
        drop(self.client);
        let (mut report, mut snapshot_ns) = (self.report, 0);
        let mut watch = Stopwatch(Instant::now());
        report.at_end = Snapshot { responder_throttling, ..Snapshot::capture() };
        watch.lap(&mut snapshot_ns);
        report.times.environment_ns += snapshot_ns;
        for outcome in outcomes {
            report.times.channels_ns += nanos(outcome.overhead);
            for trial in &outcome.trials {
                report.times.warmup_ns += nanos(trial.warmup_time);
                report.times.rounds_ns += trial.elapsed_ps / 1000;
            }
        }
        let step_ns = report.clock.resolution_ns;
        report.results = outcomes.iter().map(|outcome| CellReport::of(outcome, step_ns)).collect();
        report.ranking = rank(&report);
        report.times.total_ns = nanos(self.started.elapsed());
        report
    }
}

fn settings(bench: &Bench, private_daemon: bool) -> Settings {
    let plan = &bench.plan;
    let (rounds, duration_ns) = match plan.stop {
        Stop::Rounds(rounds) => (Some(rounds), None),
        Stop::Time(time) => (None, Some(nanos(time))),
    };
    Settings {
        arguments: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        profile_flags: None,
        trials: bench.trials,
        rounds,
        duration_ns,
        warmup_rounds: (plan.warmup.rounds < u64::MAX).then_some(plan.warmup.rounds),
        warmup_ns: (plan.warmup.time < Duration::MAX).then(|| nanos(plan.warmup.time)),
        timing: match plan.timing {
            Timing::Round => "round".to_owned(),
            Timing::Batch(rounds) => format!("batch:{rounds}"),
            Timing::Auto => "auto".to_owned(),
        },
        precision_fraction: bench.precision.map(|precision| precision.fraction),
        private_daemon,
        verification:
            "the round's number at both ends of every pong, inside the timed region; every byte of the last \
                       pong of each block of up to 1024 rounds, outside of it"
                .to_owned(),
    }
}

fn show_times(times: &Times) {
    let Times { total_ns, daemon_ns, queue_ns, clock_ns, environment_ns, channels_ns, warmup_ns, rounds_ns } =
        *times;
    let known = daemon_ns + queue_ns + clock_ns + environment_ns + channels_ns + warmup_ns + rounds_ns;
    print_line(format_args!("ipc-client: where the time went:"));
    for (what, ns) in [
        ("daemon: finding or starting it", daemon_ns),
        ("queue: waiting for the lease", queue_ns),
        ("clock: calibrating it", clock_ns),
        ("environment: reading the host's state", environment_ns),
        ("channels: opening and closing them", channels_ns),
        ("warm-up", warmup_ns),
        ("rounds", rounds_ns),
        ("other: computing and reporting", total_ns.saturating_sub(known)),
        ("total", total_ns),
    ] {
        print_line(format_args!("  {:>12.3} ms  {what}", ns as f64 / 1e6));
    }
}

/// Takes lap times.
struct Stopwatch(Instant);

impl Stopwatch {
    fn lap(&mut self, ns: &mut u64) {
        let now = Instant::now();
        *ns = nanos(now - self.0);
        self.0 = now;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
