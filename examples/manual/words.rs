//! What the manual pages say that no command line does: signals, variables, files, examples.

/// A term, and what it means.
pub(super) type Term = (&'static str, &'static str);

/// What a page says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) signals: &'static [Term],
    pub(super) environment: &'static [Term],
    pub(super) files: &'static [Term],
    /// What is wanted, and what is typed for it.
    pub(super) examples: &'static [Term],
}

/// What the page of this command says, if anything.
pub(super) fn of(name: &str) -> Option<Words> {
    let daemon = Words { signals: SIGNALS, environment: DAEMON, files: DAEMON_FILES, examples: &[] };
    let client = Words { signals: &[], environment: CLIENT, files: CLIENT_FILES, examples: &[] };
    match name {
        "ipcd" => Some(Words { examples: DAEMON_EXAMPLES, ..daemon }),
        "ipcd-start" => Some(daemon),
        "ipc-client" => Some(Words { examples: CLIENT_EXAMPLES, ..client }),
        "ipc-client-bench" => Some(Words { examples: BENCH_EXAMPLES, ..client }),
        _ => None,
    }
}

const SIGNALS: &[Term] = &[
    (
        "SIGTERM, SIGINT",
        "\"ipcd start\" notifies its clients, closes all channels, removes its socket and exits.",
    ),
    (
        "SIGHUP",
        "It reads its configuration again; \"systemctl reload ipcd\" sends it. Limits, measurements, idle-exit, log, group and \
         mode hold from then on, but for what its own command line says. The addresses of the control socket and of \
         metrics, and the file of results, stay what they are until it is started again. A configuration that is wrong \
         changes nothing: that is logged, and told in the status of the service. Where the terminal that it was started \
         from is gone, it ends.",
    ),
];

const IPCD_SOCKET: Term =
    ("IPCD_SOCKET", "The control socket, as --socket names it. It is that one and no other.");
const IPCD_CONFIG: Term =
    ("IPCD_CONFIG", "Configuration files, with colons between them, instead of those under FILES.");
const CONFIG_HOME: Term = (
    "XDG_CONFIG_HOME, HOME",
    "Folder of the user's configuration; $HOME/.config if XDG_CONFIG_HOME is unset or not an absolute path.",
);
const RUST_LOG: Term = ("RUST_LOG", "What is logged on stderr, such as info, debug, or warn,ipcd=debug.");
const NO_COLOR: Term = ("NO_COLOR", "No colours, also on a terminal.");
const JOURNAL: Term = (
    "JOURNAL_STREAM",
    "Set by systemd. Where it names what stderr is connected to, lines have a priority for the journal, and no time.",
);

const DAEMON: &[Term] = &[
    IPCD_SOCKET,
    IPCD_CONFIG,
    ("IPCD_METRICS", "Address of the metrics, as for --metrics."),
    RUST_LOG,
    NO_COLOR,
    CONFIG_HOME,
    (
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, TMPDIR",
        "Where the control socket is; see --socket. Files, FIFOs and sockets of channels are in RUNTIME_DIRECTORY, else in \
         TMPDIR, which is /tmp where it is not set.",
    ),
    (
        "STATE_DIRECTORY",
        "Set by systemd. Contains results.prom, the results that are exported with the metrics.",
    ),
    JOURNAL,
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd. ipcd uses them to report that it is ready, its state, and that it is alive.",
    ),
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "Set by systemd, which hands over sockets: one is the control socket; that with the name metrics is where those are \
         told.",
    ),
];

const CLIENT: &[Term] = &[
    IPCD_SOCKET,
    IPCD_CONFIG,
    ("IPCD_HISTORY", "The history of recorded runs, as --history names it."),
    RUST_LOG,
    NO_COLOR,
    CONFIG_HOME,
    (
        "STATE_DIRECTORY, XDG_STATE_HOME, HOME",
        "Where the history is, if nothing names it: in STATE_DIRECTORY, which systemd sets; else in ipcd in XDG_STATE_HOME, which \
         is $HOME/.local/state where it is not set.",
    ),
    (
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, TMPDIR",
        "Where the control socket is looked for; see --socket. A private daemon has the files of channels in \
         RUNTIME_DIRECTORY, else in TMPDIR; that of mmap always in TMPDIR.",
    ),
    JOURNAL,
];

const SYSTEM_CONFIG: Term = ("/etc/ipcd/ipcd.toml", "The system's configuration.");
const USER_CONFIG: Term =
    ("$XDG_CONFIG_HOME/ipcd/ipcd.toml", "The user's configuration, which overrides it key by key.");
const SOCKET: Term =
    ("/run/ipcd/ipcd.sock", "The control socket of the service. Members of the group ipcd may use it.");
const RESULTS: Term = (
    "/var/lib/ipcd/results.prom",
    "The latest results of the service's own measurements, which ipcd exports with its metrics.",
);

const DAEMON_FILES: &[Term] = &[
    SYSTEM_CONFIG,
    USER_CONFIG,
    SOCKET,
    (
        "SOCKET.lock",
        "Beside a control socket that no service manager has made: the daemon that lives holds its lock.",
    ),
    RESULTS,
    (
        "ipcd.service, ipcd.socket, ipcd-metrics.socket",
        "The service; its control socket, which starts it; and that of its metrics, which is not enabled by itself.",
    ),
];

const CLIENT_FILES: &[Term] = &[
    SYSTEM_CONFIG,
    USER_CONFIG,
    SOCKET,
    ("$XDG_STATE_HOME/ipcd/history.sqlite", "The user's history of recorded runs."),
    ("/var/lib/ipcd/history.sqlite", "The history of the service's own measurements."),
    RESULTS,
    (
        "ipc-bench@.service, ipc-bench@.timer",
        "The service's own measurements: ipc-bench@NAME.timer measures the profile NAME every night.",
    ),
];

const DAEMON_EXAMPLES: &[Term] = &[
    (
        "A daemon for members of the group ipcd, which exits after five minutes without clients:",
        "ipcd start --group ipcd --idle-exit 5m",
    ),
    ("What it does, and its end:", "ipcd status\nipcd stop"),
    (
        "A configuration is changed, checked, and read by the running service:",
        "ipcd config check /etc/ipcd/ipcd.toml\nsystemctl reload ipcd",
    ),
];

const CLIENT_EXAMPLES: &[Term] = &[
    (
        "What there is, and what a round of one method executes:",
        "ipc-client methods\nipc-client explain shmem",
    ),
    ("Whether this host is fit to measure on:", "ipc-client doctor"),
    (
        "Whether a change has made it slower:",
        "ipc-client bench -m tcp --record --label before\nipc-client history baseline good last\nipc-client bench -m tcp --record\n\
         ipc-client check --baseline good --max-regression 10%",
    ),
];

const BENCH_EXAMPLES: &[Term] = &[
    ("A good measurement of three methods at two sizes:", "ipc-client bench -m tcp,unix,pipe --size 64,64k"),
    (
        "What placement and waiting do to shared memory:",
        "ipc-client bench -m shmem --placement all --wait block,spin",
    ),
    (
        "Everything into a file for programs, and an exit code of 11 where the figures are too doubtful:",
        "ipc-client bench -m tcp --output run.json --require-grade B",
    ),
    (
        "A benchmark by its name in the configuration, kept in the history:",
        "ipc-client bench --profile nightly --record",
    ),
];
