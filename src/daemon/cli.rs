//! The daemon's command line.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::{Level, info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::configure::{self, Configured, Signals};
use super::limits::read_subordinate_ids;
use super::logging;
use super::metrics::Metrics;
use super::responder::{forbid_core, take_stdin};
use super::server::{Server, Wake, serve_client};
use super::service_manager::ServiceManager;
use super::socket::{Activated, BindError, Bound, activated, bind, holder};
use crate::config::{self, Flags, Limits, ProfileRules, Settings};
use crate::diagnostics::{error_chain, exit_code, print_line, report_error, report_usage_error};
use crate::exit::Exit;
use crate::protocol::{Candidate, DialError, Reply, Request, dial};
use crate::shortage::is_shortage;
use crate::signals::end_as_init;
use crate::transports::remove_leftovers_of_the_dead;

/// How long a daemon may take to answer a request about itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// The channel limit of a private daemon, more than a client ever opens.
const PRIVATE_CHANNELS: u64 = 1000;

/// The effect of SIGHUP.
const RELOAD: &str = "SIGHUP reloads the configuration; the addresses of the control socket and of metrics need a \
restart.";

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
    /// Show the status of the running daemon.
    Status(SocketArgs),
    /// Stop the running daemon.
    Stop(SocketArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report all errors of the configuration, with file and line; the exit code is 2 if there are any.
    Check {
        /// Files to check together; later ones override earlier ones [default: as for start].
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// As for start.
        #[arg(long, value_name = "FILE", conflicts_with = "files")]
        config: Option<PathBuf>,
    },
    /// Show the configuration of a daemon started with these flags, as TOML, and where each value comes from.
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

/// The command line of `ipcd`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the daemon's command line. `rules` are for the profiles in the configuration.
#[must_use]
pub(crate) fn main(rules: &ProfileRules) -> Exit {
    end_as_init();
    let matches = Cli::command().try_get_matches();
    let (cli, matches) = match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok(parsed) => parsed,
        Err(error) => return report_usage_error("ipcd", &error),
    };
    let mut typed = &matches;
    while let Some((_, subcommand)) = typed.subcommand() {
        typed = subcommand;
    }
    let exit = match cli.command {
        Command::Start(_) => start(typed, rules),
        Command::Status(args) => ask(&args, rules, &Request::Status),
        Command::Stop(args) => ask(&args, rules, &Request::Stop),
        Command::Config(ConfigCommand::Check { files, config }) => {
            configure::check(&files, config.as_deref(), rules)
        }
        Command::Config(ConfigCommand::Show(_)) => configure::show(typed, rules),
    };
    exit_code("ipcd", exit)
}

fn start(typed: &ArgMatches, rules: &ProfileRules) -> Exit {
    forbid_core();
    // Before anything is opened, which could be mistaken for a socket that was passed.
    let activated = activated();
    let Configured { files, settings, run: config } = match Configured::by(typed, rules) {
        Ok(configured) => configured,
        Err(error) => return fail(&error, None, Exit::Usage),
    };
    logging::init(settings.log());
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, None, Exit::Failure),
    };
    let open = || -> Result<_, BindError> {
        let Activated { control, metrics: activated_metrics } = activated?;
        let socket = match control {
            Some(control) => control,
            None => {
                let named = typed.get_one::<PathBuf>("socket");
                let mut bound = bind(&files.address(named.map(PathBuf::as_path)))?;
                bound.set_access(config.access)?;
                bound
            }
        };
        let results = settings.metrics_results().map(Path::to_owned);
        let metrics = match (activated_metrics, settings.metrics()) {
            (Some(socket), _) => Some(Metrics::activated(socket, results)?),
            (None, Some(address)) => Some(Metrics::bind(address, config.access, results)?),
            (None, None) => None,
        };
        Ok((socket, metrics))
    };
    let (mut socket, metrics) = match open() {
        Ok(opened) => opened,
        Err(error) => return fail(&error, None, error.exit()),
    };
    logging::announce(Level::Info, &format!("listening on {}", socket.path().display()));
    if socket.is_activated() {
        logging::announce(Level::Info, "the socket belongs to the service manager, which keeps it");
    }
    if let Some(metrics) = &metrics {
        logging::announce(Level::Info, &format!("metrics at {}", metrics.address()));
        if metrics.is_open() {
            let text =
                "the metrics address is not a loopback address: other hosts that reach it can read metrics";
            logging::announce(Level::Warn, text);
        }
    }
    let serve = || -> io::Result<()> {
        let mut server = Server::new(&config, ServiceManager::from_environment(), metrics)?;
        remove_leftovers_of_the_dead();
        read_subordinate_ids();
        server.manager.ready();
        while server.run(Some(&mut socket), Some(&signals))? == Wake::Reload {
            if signals.take_hangup() {
                info!("its terminal was closed");
                break;
            }
            server.manager.reloading();
            match Configured::again(typed, rules) {
                Ok(now) => apply(&now, &settings, &mut server, &mut socket),
                Err(error) => server.manager.reload_failed(error_chain(&error).replace('\n', "; ")),
            }
            server.manager.ready();
        }
        server.end(Some(socket))
    };
    match serve() {
        Ok(()) => {
            logging::announce(Level::Info, "stopped");
            Exit::Success
        }
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Applies a new configuration to a running daemon. `first` is the one that it was started with.
fn apply(now: &Configured, first: &Settings, server: &mut Server, socket: &mut Bound) {
    if now.settings.socket() != first.socket() {
        warn!("the new address of the control socket takes effect after a restart");
    }
    let metrics =
        |settings: &Settings| (settings.metrics().cloned(), settings.metrics_results().map(Path::to_owned));
    if metrics(&now.settings) != metrics(first) {
        warn!("the new settings of metrics take effect after a restart");
    }
    logging::set_filter(now.settings.log());
    server.reconfigure(&now.run);
    if let Err(error) = socket.set_access(now.run.access) {
        server.manager.reload_failed(error_chain(&error));
    }
    info!("the configuration was read again");
}

/// Serves the client at the other end of standard input until it disconnects.
pub(super) fn private_daemon() -> Exit {
    forbid_core();
    logging::init(&std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()));
    let _ = rustix::thread::set_name(c"ipcd-private");
    remove_leftovers_of_the_dead();
    match take_stdin().and_then(|socket| serve_client(socket, Limits::private(PRIVATE_CHANNELS))) {
        Ok(()) => Exit::Success,
        // Its client reports this in turn.
        Err(error) if is_shortage(&error) => fail(&error, None, Exit::Unavailable),
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Sends a request to the running daemon and shows the reply.
fn ask(args: &SocketArgs, rules: &ProfileRules, request: &Request) -> Exit {
    let files = match config::Config::read(&config::sources(args.config.as_deref()), rules) {
        Ok(files) => files,
        Err(error) => return fail(&error, None, Exit::Usage),
    };
    let address = files.address(args.socket.as_deref());
    let (mut link, path) = match dial(&address) {
        Ok(found) => found,
        Err(error) => {
            let holder = |candidate: &Candidate| Some((holder(&candidate.path)?, candidate.path.clone()));
            let unreachable = match &error {
                // Not in a folder in which another user may have planted the lock.
                DialError::NoDaemon { .. } => {
                    address.candidates.iter().filter(|candidate| candidate.check().is_ok()).find_map(holder)
                }
                _ => None,
            };
            if let Some((pid, path)) = unreachable {
                if matches!(request, Request::Stop) {
                    return stop_process(pid, &path);
                }
                let (pid, path) = (pid.as_raw_nonzero(), path.display());
                let advice = format!("process {pid} holds the lock of {path}: \"ipcd stop\" ends it");
                return fail(&error, Some(&advice), error.exit());
            }
            // The advice for measurements, to do without a daemon, does not apply.
            let advice = match &error {
                DialError::NoDaemon { .. } if matches!(request, Request::Stop) => {
                    Some("if it listens at another socket, pass that with --socket")
                }
                DialError::Permission { .. } => {
                    Some("ask for membership in the group that owns the socket, and log in again")
                }
                error => error.advice(),
            };
            return fail(&error, advice, error.exit());
        }
    };
    match link.ask(request, ANSWER_PATIENCE) {
        Ok(Reply::Status(status)) => configure::print(&format!("{status}\n")),
        Ok(Reply::Stopping) => {
            // It has exited when it closes this connection.
            while link.receive::<Reply>(Some(ANSWER_PATIENCE)).is_ok() {}
            print_line(format_args!("ipcd: the daemon at {} stops", path.display()));
            Exit::Success
        }
        Ok(Reply::Refused(refusal)) => fail(&refusal, refusal.advice(), refusal.exit()),
        Ok(other) => {
            let error = io::Error::other(format!("unexpected reply from the daemon: {other:?}"));
            fail(&error, None, Exit::NotIpcd)
        }
        Err(error) => fail(&error, None, Exit::NotIpcd),
    }
}

/// Stops a daemon that holds the lock of a socket and cannot be reached by it.
fn stop_process(pid: Pid, path: &Path) -> Exit {
    let stop = || {
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        // Another process may have had the ID since.
        if holder(path) != Some(pid) {
            return Err(Errno::SRCH);
        }
        pidfd_send_signal(&process, Signal::TERM)?;
        let patience = Timespec::try_from(ANSWER_PATIENCE).ok();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], patience.as_ref())
    };
    let number = pid.as_raw_nonzero();
    let error = match stop() {
        Ok(0) => io::Error::other(format!("it still runs {} s after SIGTERM", ANSWER_PATIENCE.as_secs())),
        Ok(_) => {
            let text = "holds the lock without listening there; it was sent SIGTERM and has exited";
            print_line(format_args!("ipcd: process {number} of {} {text}", path.display()));
            return Exit::Success;
        }
        Err(error) => error.into(),
    };
    let what = format!("stop process {number}, which holds the lock of {}", path.display());
    let error = BindError::System { what, source: error };
    fail(&error, None, error.exit())
}

/// Prints an error.
fn fail(error: &(dyn Error + 'static), advice: Option<&str>, exit: Exit) -> Exit {
    report_error("ipcd", error, advice);
    exit
}
