//! `ipc-client matrix`: the median round trip for every ordered pair of CPUs.

use std::collections::BTreeMap;
use std::time::Duration;

use anstream::adapter::strip_bytes;
use clap::{Args, ValueEnum};
use log::Level;

use super::daemon::{LeaseArgs, SocketArgs};
use super::output::{Progress, TargetArgs, for_stdout};
use crate::client::bench::{self, Bench, order};
use crate::client::host::Environment;
use crate::client::host::placement::{CpuPair, Topology};
use crate::client::measure::Trial;
use crate::client::plan::matrix::{MatrixPlan, MatrixPlanArgs};
use crate::client::plan::selection::{check_available, state};
use crate::client::report::matrix::{Matrix, Pair, Subject, text};
use crate::client::{Client, ClientError, Failure};
use crate::diagnostics::{error_chain, print_line, print_message, report_error};
use crate::exit::Exit;
use crate::signals::Interrupt;
use crate::transports::Settings;
use crate::transports::sys::clock::{Calibration, ClockChoice};

/// A longer run is announced with its estimated duration.
const LONG: Duration = Duration::from_secs(10);

/// The cells measured before their histograms, 0.3 MiB each, are reduced to figures. All of them at once would take 4 GiB
/// for 64 CPUs.
const BATCH: usize = 32;

#[derive(Debug, Args)]
pub(super) struct MatrixArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(flatten)]
    plan: MatrixPlanArgs,
    /// The format on stdout, and of files whose ending names none: text, csv, svg [default: text].
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    lease: LeaseArgs,
}

/// Formats of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A heat map for a terminal.
    #[value(alias = "txt")]
    Text,
    /// A row a pair.
    Csv,
    /// A heat map for a browser.
    Svg,
}

pub(super) fn run(args: &MatrixArgs, options: &BTreeMap<String, String>) -> Result<Exit, Failure> {
    args.targets.check(args.format.as_ref())?;
    // Before this process is pinned.
    let topology = Topology::read().map_err(Failure::unavailable)?;
    // What is wrong whatever the daemon may use needs no daemon to be reported.
    args.plan.plan(options, &topology)?;
    let mut client = args.lease.connect(&args.socket)?;
    let topology = topology.with_responder(&client.confinement()?.cpus.into_iter().collect());
    let plan = args.plan.plan(options, &topology)?;
    let states = client.methods()?;
    check_available(plan.mechanism, &plan.spec.options, &states)?;
    Settings::check_for(&plan.spec, state(plan.mechanism, &states)).map_err(Failure::unavailable)?;
    if plan.estimate() > LONG {
        print_line(format_args!(
            "ipc-client: {} pairs of CPUs, {} trials each: about {}",
            plan.pairs.len(),
            plan.trials,
            humantime::format_duration(Duration::from_secs(plan.estimate().as_secs()))
        ));
    }
    args.lease.acquire(&mut client)?;
    let calibration = Calibration::run(ClockChoice::Auto).map_err(Failure::unavailable)?;
    let interrupt = Interrupt::listen(&client.interrupt()).map_err(Failure::unavailable)?;
    let (pairs, errors, passes) = measure(&mut client, &plan, &calibration);
    interrupt.restore_default();
    let interrupted = client.is_interrupted();
    // Nothing of the run is left when its results are shown.
    drop(client);

    let options: Vec<String> =
        plan.spec.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let matrix = Matrix {
        subject: Subject {
            method: plan.spec.method.clone(),
            options: options.join(" "),
            size_bytes: plan.spec.size_bytes.into(),
            wait: plan.wait,
        },
        trials: plan.trials as usize,
        complete: interrupted.then_some(passes),
        host: host(&Environment::capture()),
        cpus: topology.common().iter().collect(),
        pairs,
    };
    let written = args.targets.write(args.format.as_ref(), true, |format, width, out| match format {
        Format::Text => {
            let mut drawn = Vec::new();
            text::write(&matrix, width.map(usize::from), &mut drawn)?;
            // Colours on a terminal only, unless NO_COLOR is set.
            out.write_all(&if width.is_some() { for_stdout(drawn) } else { strip_bytes(&drawn).into_vec() })
        }
        Format::Csv => matrix.write_csv(out),
        Format::Svg => matrix.write_svg(out),
    });
    if interrupted {
        let trials = plan.trials;
        let error = format!("the run was interrupted after {passes} of {trials} trials of each pair");
        print_message("ipc-client", Level::Error, &error);
    }
    if let Some(first) = errors.first() {
        report_error("ipc-client", first, first.advice());
    }
    if errors.len() > 1 {
        let rest = format!("{} pairs of CPUs failed; the first error is above", errors.len());
        print_message("ipc-client", Level::Error, &rest);
    }
    let failed = written.err().map_or(Exit::Success, |failure| failure.report());
    interrupt.raise_again();
    Ok(errors.first().map_or(Exit::Success, ClientError::exit).or(failed))
}

/// Measures every pair; returns the pairs in the plan's order, and at most one error for each. Each pass goes through the
/// pairs in a different order, so that a disturbance does not always affect the same ones. A pair that failed is not
/// tried again; the loss of the daemon ends the run, and so does a signal. Also returns how many passes were complete.
fn measure(
    client: &mut Client,
    plan: &MatrixPlan,
    calibration: &Calibration,
) -> (Vec<Pair>, Vec<ClientError>, usize) {
    let pair = |(cpus, placement): &(CpuPair, _)| Pair::new(cpus.client, cpus.server, *placement);
    let mut pairs: Vec<Pair> = plan.pairs.iter().map(pair).collect();
    let mut trials: Vec<Vec<_>> = vec![Vec::new(); pairs.len()];
    let (mut errors, mut complete) = (Vec::new(), 0);
    let passes = usize::try_from(plan.trials).unwrap_or(usize::MAX);
    let mut progress = Progress::new(pairs.len().saturating_mul(passes), 1, plan.trial.stop);
    'passes: for pass in 0..plan.trials {
        for batch in order(pairs.len(), pass).chunks(BATCH) {
            let indices: Vec<usize> =
                batch.iter().copied().filter(|index| pairs[*index].error.is_none()).collect();
            let cells = indices.iter().map(|index| plan.cell(*index)).collect();
            let bench = Bench { cells, trials: 1, precision: None, plan: plan.trial };
            let outcomes = bench::run(client, &bench, calibration, &mut progress);
            for (index, outcome) in indices.into_iter().zip(outcomes) {
                // Beside complete trials, a partial one has no weight that would be right.
                let first = trials[index].is_empty();
                let kept = outcome.trials.iter().filter(|trial| first || !trial.partial).map(Trial::headline);
                trials[index].extend(kept.filter(|latency| latency.samples > 0));
                if let Some(error) = outcome.error.filter(|error| !matches!(error, ClientError::Interrupted))
                {
                    pairs[index].error = Some(error_chain(&error));
                    errors.push(error);
                }
            }
            if client.is_interrupted() || errors.last().is_some_and(ClientError::is_final) {
                break 'passes;
            }
        }
        complete += 1;
    }
    let pairs = pairs.into_iter().zip(trials).map(|(pair, trials)| pair.with_trials(&trials)).collect();
    (pairs, errors, complete)
}

/// The host, for the matrix's title.
fn host(environment: &Environment) -> String {
    let kernel = environment.kernel.release.as_ref().map(|release| format!("Linux {release}"));
    let parts = [environment.hostname.clone(), environment.cpu.model.clone(), kernel];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
