//! The daemon's command line.

mod limits;

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use log::Level;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

use self::limits::LimitArgs;
use super::signals::Signals;
use super::{Config, Limits, Notify, Sources, Surroundings, activated, bind, logging, run};
use crate::protocol::{Exit, Reply, Request, SocketAddress, chain, dial};
use crate::transports::sys::allow_descriptors;

/// How long a daemon may take to answer a request about itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Data channels of a private daemon: as many as a client ever opens.
const PRIVATE_CHANNELS: u64 = 1000;

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
    Start(StartArgs),
    /// Tell what the running daemon does.
    Status(SocketArgs),
    /// End the running daemon.
    Stop(SocketArgs),
}

#[derive(Debug, Args)]
struct SocketArgs {
    /// The control socket [default: $IPCD_SOCKET, else ipcd.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/ipcd, /run/ipcd
    /// or ipcd-UID in the temporary folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    socket: SocketArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Clients that may measure at the same time; more than one disturb each other.
    #[arg(long, value_name = "N", default_value_t = Config::default().measurements, value_parser = at_least_one)]
    measurements: usize,
    /// End after so long without connections and channels, such as 5m: for a service that is started at a connection.
    #[arg(long, value_name = "TIME", value_parser = time)]
    idle_exit: Option<Duration>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=100_000) => Ok(n),
        _ => Err("a number from 1 to 100000 is needed".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("a time with its unit is needed, more than 0, such as 5m".to_owned()),
    }
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
        Err(error) => {
            // Help and version, for which clap exits with 0, or a usage error.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    match cli.command {
        Command::Start(args) => start(&args),
        Command::Status(args) => ask(&args, &Request::Status),
        Command::Stop(args) => ask(&args, &Request::Stop),
    }
}

fn start(args: &StartArgs) -> Exit {
    // Before anything is opened, which could then be taken for what was handed over.
    let handed = activated();
    logging::init(&std::env::var(logging::VARIABLE).unwrap_or_else(|_| logging::DEFAULT.to_owned()));
    let stop = match Signals::to_stop() {
        Ok(stop) => stop,
        Err(error) => return fail(&error, None, Exit::Failure),
    };
    let address = SocketAddress::resolve(args.socket.socket.as_deref());
    let bound = match handed.and_then(|handed| handed.map_or_else(|| bind(&address), Ok)) {
        Ok(bound) => bound,
        Err(error) => return fail(&error, None, error.exit()),
    };
    logging::announce(Level::Info, &format!("listening on {}", bound.path().display()));
    if bound.is_activated() {
        logging::announce(Level::Info, "the socket is the service manager's, which made it and keeps it");
    }
    let config =
        Config { limits: args.limits.limits(), measurements: args.measurements, idle_exit: args.idle_exit };
    let surroundings = Surroundings { stop: stop.as_fd(), notify: Notify::from_environment() };
    match serve(Sources::Socket(bound), config, surroundings) {
        Ok(()) => {
            logging::announce(Level::Info, "stopped");
            Exit::Success
        }
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Serves with as many descriptors as the limits may take.
fn serve(sources: Sources, config: Config, surroundings: Surroundings<'_>) -> io::Result<()> {
    let Limits { connections, channels, .. } = config.limits;
    // A connection has one; a channel that of its responder, and for a moment what that hands over.
    allow_descriptors(connections.total.saturating_add(channels.total.saturating_mul(2)));
    run(sources, config, surroundings)
}

/// Serves the one client at the other end of standard input, until it goes.
pub(super) fn private_daemon() -> Exit {
    logging::init(&std::env::var(logging::VARIABLE).unwrap_or_else(|_| "warn".to_owned()));
    let _ = rustix::thread::set_name(c"ipcd-private");
    let run = || -> io::Result<()> {
        let socket = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        // Nobody stops it but its client, by going.
        let (never, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let limits = Limits::private(PRIVATE_CHANNELS);
        let surroundings = Surroundings { stop: never.as_fd(), notify: Notify::nobody() };
        serve(Sources::Connection(socket), Config { limits, ..Config::default() }, surroundings)
    };
    match run() {
        Ok(()) => Exit::Success,
        Err(error) => fail(&error, None, Exit::Failure),
    }
}

/// Asks the running daemon something and shows the answer.
fn ask(args: &SocketArgs, request: &Request) -> Exit {
    let (mut link, path) = match dial(&SocketAddress::resolve(args.socket.as_deref())) {
        Ok(found) => found,
        Err(error) => return fail(&error, Some(error.advice()), error.exit()),
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
            eprintln!("ipcd: the daemon at {} stops", path.display());
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
fn fail(error: &dyn Error, advice: Option<&str>, exit: Exit) -> Exit {
    logging::announce(Level::Error, &chain(error));
    if let Some(advice) = advice {
        logging::announce(Level::Error, advice);
    }
    exit
}
