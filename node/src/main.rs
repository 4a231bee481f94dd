//! The `quorate` binary: installs the panic hook, and hands the command line over.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_node::logging::abort_on_panic();
    quorate_node::cli::run(std::env::args_os()).into()
}
