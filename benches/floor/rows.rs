//! What is compared with what, and which ratio is wanted.

use ipcd::internals::client::CpuPair;
use ipcd::internals::protocol::Wait;
use ipcd::internals::transports;

use crate::programs::{Program, Run, Timing};

/// The CPUs of the two placements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) same_core: CpuPair,
    pub(crate) cross_core: Option<CpuPair>,
}

/// One comparison: the ratio is `subject` over `yardstick`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) yardstick: Run,
    pub(crate) subject: Run,
    /// The highest acceptable ratio of medians.
    pub(crate) target: f64,
    /// What is special about it.
    pub(crate) note: &'static str,
}

/// A mechanism under its two names.
struct Method {
    name: &'static str,
    client: &'static str,
    arguments: &'static [&'static str],
    floor: &'static str,
}

const fn same(name: &'static str) -> Method {
    Method { name, client: name, arguments: &[], floor: name }
}

/// What both programs have, as far as this build has it.
const METHODS: &[Method] = &[
    same("tcp"),
    same("udp"),
    same("unix"),
    same("unix-dgram"),
    same("unix-seqpacket"),
    same("pipe"),
    same("fifo"),
    same("eventfd"),
    same("mq"),
    same("futex"),
    same("shmem"),
];

/// Only when asked for: above 64 KiB its rounds take 40 ms, since a rest waits for a delayed acknowledgement.
const TCP_DELAY: Method =
    Method { name: "tcp-delay", client: "tcp", arguments: &["--nodelay", "false"], floor: "tcp-delay" };

/// Up to this a round in shared memory takes so short that the clock's resolution, 10 ns on many a host, shows in its
/// median: rounds are timed by the thousand.
const MAX_BATCHED: u32 = 1024;

/// The rows of the first table.
pub(crate) fn against_client(names: &[String], sizes: &[u32], places: Places) -> Result<Vec<Row>, String> {
    let known = || METHODS.iter().chain([&TCP_DELAY]);
    if let Some(name) = names.iter().find(|name| !known().any(|method| method.name == **name)) {
        let all: Vec<_> = known().map(|method| method.name).collect();
        return Err(format!("unknown method {name}; methods are {}", all.join(", ")));
    }
    let mut rows = Vec::new();
    for method in known() {
        let chosen = if names.is_empty() {
            method.name != TCP_DELAY.name
        } else {
            names.iter().any(|n| n == method.name)
        };
        // Not every build has every mechanism.
        let Some(mechanism) = transports::find(method.client).ok().filter(|_| chosen) else { continue };
        if let Err(reason) = mechanism.probe() {
            println!("{}: {reason}", method.name);
            continue;
        }
        let can = mechanism.capabilities();
        let carries = |size: &&u32| {
            usize::try_from(**size).is_ok_and(|size| (can.min_size..=can.max_size).contains(&size))
        };
        for size in sizes.iter().filter(carries) {
            for (wait, cpus) in [(Wait::Block, Some(places.same_core)), (Wait::Spin, places.cross_core)] {
                if let Some(cpus) = cpus.filter(|_| mechanism.info().waits.contains(&wait)) {
                    add(&mut rows, method, Cell { wait, cpus, size: *size });
                }
            }
        }
    }
    if rows.is_empty() { Err("nothing is left to compare".to_owned()) } else { Ok(rows) }
}

/// The largest payload of pp's shared memory, of the sizes that are compared.
const PP_MAX_SHARED: u32 = 64 << 10;

/// What both sides of a row have in common.
#[derive(Debug, Clone, Copy)]
struct Cell {
    wait: Wait,
    cpus: CpuPair,
    size: u32,
}

fn add(rows: &mut Vec<Row>, method: &Method, cell: Cell) {
    let Cell { wait, cpus, size } = cell;
    let floor = |timing| Run {
        program: Program::Floor,
        method: method.floor,
        arguments: &[],
        wait,
        cpus,
        size,
        timing,
    };
    let client = |timing| Run {
        program: Program::Client,
        method: method.client,
        arguments: method.arguments,
        timing,
        ..floor(timing)
    };
    if method.name != "shmem" || wait != Wait::Spin {
        let target = if wait == Wait::Block && size == 8 { 1.03 } else { 1.05 };
        rows.push(Row { yardstick: floor(Timing::Clock), subject: client(Timing::Clock), target, note: "" });
        return;
    }
    // Shared memory usually has a cache line per direction; one for both should be faster.
    let mean = if size <= MAX_BATCHED { Timing::Batch } else { Timing::Clock };
    if size <= 8 {
        rows.push(Row {
            yardstick: floor(Timing::Tsc),
            subject: client(Timing::Tsc),
            target: 1.0,
            note: "each round timed",
        });
        rows.push(Row { yardstick: floor(mean), subject: client(mean), target: 0.75, note: "untimed" });
    } else {
        let note = if mean == Timing::Batch { "untimed" } else { "" };
        rows.push(Row { yardstick: floor(mean), subject: client(mean), target: 1.05, note });
    }
    rows.push(Row {
        yardstick: client(mean),
        subject: Run { wait: Wait::Adaptive, ..client(mean) },
        target: 1.10,
        note: "against ipc-client spinning",
    });
}

/// The rows of the second table: each of the floor's runs in the first, where pp does the same.
pub(crate) fn against_pp(rows: &[Row]) -> Vec<Row> {
    rows.iter()
        .filter(|row| row.yardstick.program == Program::Floor)
        // Its message queues and futexes always block, and its shared memory always spins.
        .filter(|row| match row.yardstick.method {
            "mq" | "futex" => row.yardstick.wait == Wait::Block,
            "shmem" => row.yardstick.wait == Wait::Spin,
            _ => true,
        })
        // Its shared memory has no room for more, which it does not report.
        .filter(|row| {
            !matches!(row.yardstick.method, "futex" | "shmem") || row.yardstick.size <= PP_MAX_SHARED
        })
        .map(|row| Row {
            yardstick: Run { program: Program::Pp, ..row.yardstick.clone() },
            subject: row.yardstick.clone(),
            target: 1.03,
            note: row.note,
        })
        .collect()
}
