//! The daemon's command line.

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use log::Level;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

use super::configure::{self, Configured};
use super::signals::Signals;
use super::{
    Access, BindError, Config, Endpoint, Handed, Limits, Metrics, Notify, Sources, Surroundings, activated,
    bind, logging, run,
};
use crate::config::{self, Flags, MetricsSettings};
use crate::diagnostics::{print_line, report_error, report_usage_error};
use crate::exit::Exit;
use crate::protocol::{DialError, Reply, Request, dial};
use crate::shortage::is_shortage;

/// How long a daemon may take to answer a request about itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Data channels of a private daemon: as many as a client ever opens.
const PRIVATE_CHANNELS: u64 = 1000;

/// What SIGHUP does.
const RELOAD: &str = "SIGHUP has it read its configuration again. The addresses of the control socket and of metrics stay \
what they are until it is started again.";

/// Serves measurements of what a round trip between two processes costs on this host.
#[derive(Debug, Parser)]
#[command(name = "ipcd", version, after_help = Exit::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground until SIGINT, SIGTERM or "ipcd stop".
    #[command(after_help = RELOAD)]
    Start(Box<Flags>),
    /// Tell what the running daemon does.
    Status(SocketArgs),
    /// End the running daemon.
    Stop(SocketArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell all that is wrong with the configuration, with file and line; exit code 2 if anything is.
    Check {
        /// Files to check together, the one that goes before the others last [default: as for start].
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// As for start.
        #[arg(long, value_name = "FILE", conflicts_with = "files")]
        config: Option<PathBuf>,
    },
    /// Show what a daemon that is started with these flags runs by, as TOML, and where each value comes from.
    Show(Box<Flags>),
}

#[derive(Debug, Args)]
struct SocketArgs {
    /// The control socket [default: $IPCD_SOCKET, else as configured, else ipcd.sock in $RUNTIME_DIRECTORY,
    /// $XDG_RUNTIME_DIR/ipcd, /run/ipcd or ipcd-UID in the temporary folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A configuration file, instead of $IPCD_CONFIG, or of /etc/ipcd/ipcd.toml and $XDG_CONFIG_HOME/ipcd/ipcd.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The whole command line of `ipcd`, for whoever documents or completes it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the daemon's command line.
#[must_use]
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage_error("ipcd", &error),
    };
    match cli.command {
        Command::Start(args) => start(&args),
        Command::Status(args) => ask(&args, &Request::Status),
        Command::Stop(args) => ask(&args, &Request::Stop),
        Command::Config(ConfigCommand::Check { files, config }) => {
            configure::check(&files, config.as_deref())
        }
        Command::Config(ConfigCommand::Show(flags)) => configure::show(&flags),
    }
}

fn start(flags: &Flags) -> Exit {
    // Before anything is opened, which could then be taken for what was handed over.
    let handed = activated();
    let Configured { files, settings, run: config } = match Configured::by(flags) {
        Ok(configured) => configured,
        Err(error) => return fail(&error, None, Exit::Usage),
    };
    logging::init(&settings.log.value);
    let signals = Signals::to_stop().and_then(|stop| Ok((stop, Signals::to_reload()?)));
    let (stop, reload) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&error, None, Exit::Failure),
    };
    let bound = handed.and_then(|Handed { control, metrics }| match control {
        Some(control) => Ok((control, metrics)),
        None => {
            let bound = bind(&files.address(flags.socket.as_deref()))?;
            bound.set_access(config.access).map(|()| (bound, metrics))
        }
    });
    let (bound, handed) = match bound {
        Ok(bound) => bound,
        Err(error) => return fail(&error, None, error.exit()),
    };
    let metrics = match endpoint(handed, &settings.metrics, config.access) {
        Ok(metrics) => metrics,
        Err(error) => return fail(&error, None, error.exit()),
    };
    logging::announce(Level::Info, &format!("listening on {}", bound.path().display()));
    if bound.is_activated() {
        logging::announce(Level::Info, "the socket is the service manager's, which made it and keeps it");
    }
    if let Some(metrics) = &metrics {
        logging::announce(Level::Info, &format!("metrics at {}", metrics.shown()));
        if metrics.is_open() {
            let text = "metrics: who reaches that address, also from other hosts, can read them";
            logging::announce(Level::Warn, text);
        }
    }
    let surroundings = Surroundings {
        stop: stop.as_fd(),
        reload: Some(configure::reload(flags, &reload, &settings)),
        notify: Notify::from_environment(),
        metrics: metrics.map(Metrics::at),
    };
    match run(Sources::Socket(bound), config, surroundings) {
        Ok(()) => {
            logging::announce(Level::Info, "stopped");
            Exit::Success
        }
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Listens where metrics are to be told, if anywhere: at what the service manager has handed over, else as configured.
fn endpoint(
    handed: Option<OwnedFd>,
    settings: &MetricsSettings,
    access: Access,
) -> Result<Option<Endpoint>, BindError> {
    let results = settings.results.as_ref().map(|found| found.value.clone());
    match (handed, &settings.metrics) {
        (Some(socket), _) => Endpoint::over(socket, results).map(Some),
        (None, Some(address)) => Endpoint::bind(&address.value, access, results).map(Some),
        (None, None) => Ok(None),
    }
}

/// Serves the one client at the other end of standard input, until it goes.
pub(super) fn private_daemon() -> Exit {
    logging::init(&std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()));
    let _ = rustix::thread::set_name(c"ipcd-private");
    let serve = || -> io::Result<()> {
        let socket = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        // Nobody stops it but its client, by going.
        let (never, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let limits = Limits::private(PRIVATE_CHANNELS);
        let surroundings =
            Surroundings { stop: never.as_fd(), reload: None, notify: Notify::nobody(), metrics: None };
        run(Sources::Connection(socket), Config { limits, ..Config::default() }, surroundings)
    };
    match serve() {
        Ok(()) => Exit::Success,
        // What its client tells of it in its turn.
        Err(error) if is_shortage(&error) => fail(&error, None, Exit::Unavailable),
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Asks the running daemon something and shows the answer.
fn ask(args: &SocketArgs, request: &Request) -> Exit {
    let files = match config::Config::read(&config::sources(args.config.as_deref())) {
        Ok(files) => files,
        Err(error) => return fail(&error, None, Exit::Usage),
    };
    let (mut link, path) = match dial(&files.address(args.socket.as_deref())) {
        Ok(found) => found,
        Err(error) => {
            // Who asks a daemon about itself wants that one, and measures nothing.
            let advice = match &error {
                DialError::NoDaemon { .. } if matches!(request, Request::Stop) => {
                    Some("if it runs at another socket, name that with --socket")
                }
                DialError::Permission { .. } => {
                    Some("ask for membership in the group that owns the socket, and log in anew")
                }
                error => error.advice(),
            };
            return fail(&error, advice, error.exit());
        }
    };
    match link.ask(request, ANSWER_PATIENCE) {
        Ok(Reply::Status(status)) => {
            match writeln!(io::stdout(), "{status}") {
                Ok(()) => Exit::Success,
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
                Err(error) => {
                    let error = io::Error::other(format!("cannot write standard output: {error}"));
                    fail(&error, None, Exit::Failure)
                }
            }
        }
        Ok(Reply::Stopping) => {
            // It is gone when it closes this connection.
            while link.receive::<Reply>(Some(ANSWER_PATIENCE)).is_ok() {}
            print_line(format_args!("ipcd: the daemon at {} stops", path.display()));
            Exit::Success
        }
        Ok(Reply::Refused(refusal)) => fail(&refusal, refusal.advice(), refusal.exit()),
        Ok(other) => {
            let error =
                io::Error::other(format!("the daemon gives an answer that was not asked for: {other:?}"));
            fail(&error, None, Exit::NotIpcd)
        }
        Err(error) => fail(&error, None, Exit::NotIpcd),
    }
}

/// Tells of an error.
fn fail(error: &(dyn Error + 'static), advice: Option<&str>, exit: Exit) -> Exit {
    report_error("ipcd", error, advice);
    exit
}
