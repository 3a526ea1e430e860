//! From the command line to a plan: which cells there are, and whether each can be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Failure;
use super::args::BenchArgs;
use super::choice::{methods, skip, state, unavailable};
use super::options::{MethodOptions, has_option, told};
use super::parse::{PlacementArg, WarmupArg};
use crate::client::bench::{Bench, Cell, Precision};
use crate::client::host::placement::{CpuPair, Placement, Topology};
use crate::client::measure::{Plan, Stop, Timing, Warmup};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Wait};
use crate::transports::{Mechanism, Pace, Settings, find};

/// A trial that nobody has set a length for.
const TRIAL: Duration = Duration::from_millis(600);
/// When to give up on a precision.
const PRECISION_TIME: Duration = Duration::from_secs(60);
/// How many of those a cell has.
const TRIALS: u32 = 5;
/// Before so many, no precision is looked at. Who stops as soon as the trials happen to agree gets intervals that hold
/// the true median less often than they say: 86 to 94 % of the time, looking from the second trial on, 91 to 95 % from
/// the sixth ([`relative_half_width`](crate::client::stats::relative_half_width)).
const TRIALS_BEFORE_PRECISION: u32 = 6;

/// Where the two sides of a cell run.
struct Place {
    placement: Placement,
    client: Option<u32>,
    server: Option<u32>,
}

/// Makes the plan. `states` is what the daemon's side of the host can do. What a group names and cannot be is skipped
/// with a line on stderr; what was named itself and cannot be is an error.
pub(super) fn plan(
    args: &BenchArgs,
    options: &MethodOptions,
    states: &[MethodState],
) -> Result<Bench, Failure> {
    let methods = methods(&args.methods, options, states)?;
    for name in options.names() {
        if !methods.iter().any(|(mechanism, _)| has_option(*mechanism, name)) {
            return Err(Failure::usage(format!("none of the methods has the option --{name}")));
        }
    }
    let places = places(args)?;
    let waits: Vec<Option<Wait>> = match &args.waits[..] {
        [] => vec![None],
        waits => waits.iter().copied().map(Some).collect(),
    };
    let paces: Vec<Option<Pace>> = match (args.rate, &args.gaps[..]) {
        (Some(interval), _) => vec![Some(Pace::Every(interval))],
        (None, []) => vec![None],
        (None, gaps) => gaps.iter().map(|gap| (!gap.is_zero()).then_some(Pace::Gap(*gap))).collect(),
    };

    if let (Timing::Batch(batch), Some(rounds)) = (args.timing, args.rounds)
        && rounds < u64::from(batch)
    {
        return Err(Failure::usage(format!(
            "--timing batch:{batch} needs trials of at least {batch} rounds, not {rounds}"
        )));
    }
    let mut sizes = args.sizes.clone();
    let mut seen = BTreeSet::new();
    sizes.retain(|size| seen.insert(*size));

    let mut cells = Vec::new();
    for (mechanism, optional) in &methods {
        let (mechanism, optional) = (*mechanism, *optional);
        let method = mechanism.info().name;
        let state = state(mechanism, states);
        for choice in options.choices(mechanism) {
            // Whoever was named has none that is lacking.
            if let Some(reason) = unavailable(mechanism, &choice, states) {
                skip(told(method, &choice), reason);
                continue;
            }
            for (size_bytes, wait) in sizes.iter().flat_map(|size| waits.iter().map(move |wait| (size, wait)))
            {
                let spec = ChannelSpec {
                    method: method.to_owned(),
                    size_bytes: *size_bytes,
                    wait: *wait,
                    server_cpu: None,
                    client_cpu: None,
                    options: choice.clone(),
                };
                match Settings::check_for(&spec, state) {
                    Ok(settings) => {
                        for place in &places {
                            cells.extend(paces.iter().map(|pace| Cell {
                                spec: ChannelSpec { server_cpu: place.server, ..spec.clone() },
                                wait: settings.wait,
                                placement: place.placement,
                                client_cpu: place.client,
                                pace: *pace,
                                parallel: args.parallel,
                                optional,
                            }));
                        }
                    }
                    Err(refusal) if optional => skip_unfit(&told(method, &choice), refusal),
                    Err(refusal) => {
                        let advice = what_fits(&spec, &sizes, &methods, states);
                        return Err(Failure { advice, ..Failure::unavailable(refusal) });
                    }
                }
            }
        }
    }
    if cells.is_empty() {
        return Err(Failure::unavailable("nothing is left to measure"));
    }
    Ok(Bench {
        cells,
        trials: trials(args),
        precision: args
            .precision
            .map(|fraction| Precision { fraction, max_time: args.max_time.unwrap_or(PRECISION_TIME) }),
        plan: trial_plan(args),
    })
}

fn trials(args: &BenchArgs) -> u32 {
    let one = args.rounds.is_some() || args.duration.is_some();
    let trials = args.trials.unwrap_or(if one { 1 } else { TRIALS });
    if args.precision.is_some() { trials.max(TRIALS_BEFORE_PRECISION) } else { trials }
}

fn trial_plan(args: &BenchArgs) -> Plan {
    let stop = match (args.rounds, args.duration) {
        (Some(rounds), _) => Stop::Rounds(rounds),
        (None, duration) => Stop::Time(duration.unwrap_or(TRIAL)),
    };
    let warmup = match (args.warmup, stop) {
        (Some(WarmupArg::Rounds(rounds)), _) => Warmup { rounds, time: Duration::MAX },
        (Some(WarmupArg::Time(time)), _) => Warmup { rounds: u64::MAX, time },
        // Enough for caches, branch predictors and a connection's window; the time limit is for slow rounds.
        (None, Stop::Rounds(rounds)) => {
            Warmup { rounds: (rounds / 10).clamp(100, 100_000), time: Duration::from_millis(100) }
        }
        (None, Stop::Time(time)) => Warmup {
            rounds: u64::MAX,
            time: (time / 10).clamp(Duration::from_millis(20), Duration::from_millis(500)),
        },
    };
    Plan { stop, warmup, timing: args.timing, pace: None, interval: args.interval }
}

/// What is told of a cell that cannot be, and does not have to.
fn skip_unfit(method: &str, refusal: Refusal) {
    match refusal {
        Refusal::Unfit { reason, .. } => skip(method, format_args!("it cannot do {reason}")),
        other => skip(method, other),
    }
}

/// Which of the methods and sizes that were named would do, where one of them with one of the sizes does not.
fn what_fits(
    spec: &ChannelSpec,
    sizes: &[u32],
    methods: &[(&'static dyn Mechanism, bool)],
    states: &[MethodState],
) -> Option<String> {
    let fits = |method: &str, size_bytes| {
        let spec = ChannelSpec { method: method.to_owned(), size_bytes, ..spec.clone() };
        let mechanism = find(method).ok()?;
        // What another method has of its own does not count.
        let options = spec.options.iter().filter(|(name, _)| has_option(mechanism, name));
        let options = options.map(|(name, value)| (name.clone(), value.clone())).collect();
        let state = state(mechanism, states);
        Settings::check_for(&ChannelSpec { options, ..spec }, state).ok()
    };
    let sizes: Vec<_> =
        sizes.iter().filter(|size| fits(&spec.method, **size).is_some()).map(u32::to_string).collect();
    if !sizes.is_empty() {
        return Some(format!(
            "of the sizes that are asked for, {} carries {}",
            spec.method,
            sizes.join(", ")
        ));
    }
    let names = methods.iter().map(|(mechanism, _)| mechanism.info().name);
    let names: Vec<_> = names.filter(|name| fits(name, spec.size_bytes).is_some()).collect();
    (!names.is_empty()).then(|| format!("of the methods that are asked for, {} can do it", names.join(", ")))
}

fn places(args: &BenchArgs) -> Result<Vec<Place>, Failure> {
    let unpinned = || Place { placement: Placement::Unpinned, client: None, server: None };
    if args.client_cpu.is_none() && args.server_cpu.is_none() && args.placements.is_empty() {
        return Ok(vec![unpinned()]);
    }
    let topology = Topology::read().map_err(Failure::unavailable)?;
    if args.placements.is_empty() {
        for cpu in args.client_cpu.iter().chain(&args.server_cpu) {
            topology.check_cpu(*cpu).map_err(Failure::unavailable)?;
        }
        let placement = match (args.client_cpu, args.server_cpu) {
            (Some(client), Some(server)) => {
                topology.classify(CpuPair { client, server }).map_err(Failure::unavailable)?
            }
            _ => Placement::Unpinned,
        };
        return Ok(vec![Place { placement, client: args.client_cpu, server: args.server_cpu }]);
    }
    let mut places: Vec<Place> = Vec::new();
    for named in &args.placements {
        let (wanted, optional) = match named {
            PlacementArg::All => (Placement::ALL.to_vec(), true),
            PlacementArg::One(placement) => (vec![*placement], false),
        };
        for placement in wanted {
            match topology.resolve(placement) {
                Ok(pair) => places.push(Place {
                    placement,
                    client: pair.map(|pair| pair.client),
                    server: pair.map(|pair| pair.server),
                }),
                Err(error) if optional => skip(format_args!("placement {placement}"), error),
                Err(error) => return Err(Failure::unavailable(error)),
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::states;

    #[test]
    fn values_of_an_option_make_cells_of_the_methods_that_have_it() {
        let args = BenchArgs {
            methods: ["tcp", "udp"].map(str::to_owned).to_vec(),
            sizes: vec![8, 64],
            ..BenchArgs::defaults()
        };
        let mut states = states();
        states.iter_mut().for_each(|state| state.unavailable = None);
        let options = MethodOptions::named("nodelay", &["true", "false"]);
        let bench = plan(&args, &options, &states).unwrap();
        let cells = bench.cells.iter().map(|cell| {
            let spec = &cell.spec;
            (spec.method.as_str(), spec.options.get("nodelay").map(String::as_str), spec.size_bytes)
        });
        assert!(
            cells.eq([
                ("tcp", Some("true"), 8),
                ("tcp", Some("true"), 64),
                ("tcp", Some("false"), 8),
                ("tcp", Some("false"), 64),
                ("udp", None, 8),
                ("udp", None, 64),
            ]),
            "{:?}",
            bench.cells
        );
    }
}
