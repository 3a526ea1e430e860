//! `ipc-client bench`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use super::Failure;
use super::args::BenchArgs;
use super::choice;
use super::daemon::find_or_start;
use super::interrupt::Interrupt;
use super::live::Live;
use super::options::MethodOptions;
use super::output::Output;
use super::plan::plan;
use super::possible::keep_possible;
use crate::client::bench::{self, Bench, Outcome};
use crate::client::host::{Environment, Snapshot};
use crate::client::judge::warnings::{Grade, judge};
use crate::client::measure::{Stop, Timing};
use crate::client::report::{CellReport, Clock, Report, SCHEMA, Settings, Times, doubts};
use crate::client::{ClientError, LeaseWait};
use crate::diagnostics::{error_chain, print_line, print_message, report_error};
use crate::exit::Exit;

pub(super) fn run(
    args: &BenchArgs,
    options: &MethodOptions,
    profile_flags: Option<Vec<String>>,
) -> Result<Exit, Failure> {
    let started = Instant::now();
    let started_at = SystemTime::now();
    let started_unix_s = started_at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut times = Times::default();
    let mut watch = Stopwatch(started);
    let output = Output::of(args)?;
    if args.max_time.is_some() && args.precision.is_none() {
        return Err(Failure::usage("--max-time is about --precision, which is not given"));
    }
    args.record.check()?;
    // A name that means nothing needs no daemon to be refused.
    choice::meanings(&args.methods).map_err(Failure::usage)?;

    let mut client = find_or_start(&args.socket, args.private)?;
    let private_daemon = client.path().is_none();
    let states = client.methods()?;
    watch.lap(&mut times.daemon_ns);
    let mut bench = plan(args, options, &states)?;
    if args.parallel > 1 {
        client.admits(args.parallel)?;
    }
    let wait = if args.no_wait { LeaseWait::No } else { LeaseWait::Queue };
    client.acquire(wait, |place| {
        print_line(format_args!("ipc-client: another measurement runs; number {place} in line"))
    })?;
    watch.lap(&mut times.queue_ns);
    keep_possible(&mut client, &mut bench)?;
    watch.lap(&mut times.channels_ns);

    let calibration = bench.calibrate(args.clock)?.map_err(Failure::unavailable)?;
    watch.lap(&mut times.clock_ns);
    let environment = Environment::capture();
    let at_start = Snapshot::capture();
    watch.lap(&mut times.environment_ns);

    let mut live = Live::new(&output, &bench.plan, started, started_at)?;
    let interrupt = Interrupt::set(&client.interrupt()).map_err(Failure::unavailable)?;
    let outcomes = bench::run(&mut client, &bench, &calibration, &mut live);
    interrupt.listen_no_more();
    let hdr_log = live.end()?;
    // Nothing of the run is left when its results are told.
    drop(client);
    let interrupted = outcomes.iter().any(|outcome| matches!(outcome.error, Some(ClientError::Interrupted)));
    if interrupted && outcomes.iter().all(|outcome| outcome.trials.is_empty()) {
        print_message(
            "ipc-client",
            Level::Error,
            "the run was interrupted before a trial was completed: there is no result",
        );
        interrupt.pass_on();
        return Ok(Exit::Broken);
    }

    let mut snapshot_ns = 0;
    watch = Stopwatch(Instant::now());
    let at_end = Snapshot::capture();
    watch.lap(&mut snapshot_ns);
    times.environment_ns += snapshot_ns;
    account(&outcomes, &mut times);
    let mut report = Report {
        schema: SCHEMA,
        started_unix_s,
        times,
        settings: Settings { profile_flags, ..settings(&bench, private_daemon) },
        clock: Clock::from(&calibration),
        environment,
        at_start,
        at_end,
        results: outcomes.iter().map(CellReport::of).collect(),
        warnings: Vec::new(),
        grade: Grade::F,
        summed_runs: Vec::new(),
    };
    judge(&mut report);
    report.times.total_ns = nanos(started.elapsed());

    // First, since whoever closes stdout early still wants it; a full disk must not take the results too.
    let recorded = args.record.record(&report);
    let written = output.write(&report, hdr_log);
    recorded?;
    written?;
    if args.verbose {
        tell_times(&report.times);
    }
    let exit = exit(&outcomes, doubtful(&report, args.require_grade));
    // Also if something else has ended the run first.
    interrupt.pass_on();
    Ok(exit)
}

/// What failed, told once each, and the exit code of the first; `otherwise` if nothing did.
pub(super) fn exit(outcomes: &[Outcome], otherwise: Exit) -> Exit {
    let errors: Vec<&ClientError> = outcomes.iter().filter_map(|outcome| outcome.error.as_ref()).collect();
    // A lost daemon fails every cell that is left: that is told once.
    let mut told = BTreeSet::new();
    for error in errors.iter().filter(|error| told.insert(error_chain(**error))) {
        report_error("ipc-client", *error, error.advice());
    }
    errors.first().map_or(otherwise, |error| error.exit())
}

/// Whether the results are good enough; if not, that is told with its reasons.
pub(super) fn doubtful(report: &Report, required: Option<Grade>) -> Exit {
    let Some(required) = required.filter(|required| report.grade > *required) else { return Exit::Success };
    let head = format!("the grade is {}, and {required} was required:", report.grade);
    print_message("ipc-client", Level::Error, &head);
    doubts::reasons(report, required)
        .iter()
        .for_each(|reason| print_message("ipc-client", Level::Error, reason));
    Exit::Doubtful
}

pub(super) fn settings(bench: &Bench, private_daemon: bool) -> Settings {
    let plan = &bench.plan;
    Settings {
        arguments: std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        profile_flags: None,
        trials: bench.trials,
        rounds: match plan.stop {
            Stop::Rounds(rounds) => Some(rounds),
            Stop::Time(_) => None,
        },
        duration_ns: match plan.stop {
            Stop::Rounds(_) => None,
            Stop::Time(time) => Some(nanos(time)),
        },
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

fn account(outcomes: &[Outcome], times: &mut Times) {
    for outcome in outcomes {
        times.channels_ns += nanos(outcome.overhead);
        for trial in &outcome.trials {
            times.warmup_ns += nanos(trial.warmup_time);
            times.rounds_ns += trial.elapsed_ps / 1000;
        }
    }
}

fn tell_times(times: &Times) {
    let Times { total_ns, daemon_ns, queue_ns, clock_ns, environment_ns, channels_ns, warmup_ns, rounds_ns } =
        *times;
    let told = daemon_ns + queue_ns + clock_ns + environment_ns + channels_ns + warmup_ns + rounds_ns;
    print_line(format_args!("ipc-client: where the time went:"));
    for (what, ns) in [
        ("the daemon: finding or starting it", daemon_ns),
        ("the queue: waiting in line", queue_ns),
        ("the clock: calibrating it", clock_ns),
        ("the environment: looking at the host", environment_ns),
        ("channels: opening and closing them", channels_ns),
        ("warm-up", warmup_ns),
        ("rounds", rounds_ns),
        ("the rest: digesting and reporting", total_ns.saturating_sub(told)),
        ("all of it", total_ns),
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
