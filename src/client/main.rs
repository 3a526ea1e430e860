//! `ipc-client`, the client's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ipcd::enter_role();
    ipcd::internals::client::main().into()
}
