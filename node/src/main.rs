//! The `quorate` binary: installs the panic hook, and hands the command line over.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Also RocksDB's, by the crate's feature: most of what is allocated passes from one thread to another, and lives until a
/// block is committed. What it saves is in docs/BENCHMARKS.md.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    quorate_node::logging::abort_on_panic();
    quorate_node::cli::run(std::env::args_os()).into()
}
