//! `ipcd`, the daemon's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipcd::enter_role();
    ipcd::internals::daemon::main().into()
}
