//! The program `token-broker`; all of it is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Rows are larger than what the system's allocator keeps at hand for a thread. It took a sixth of the processor.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    token_broker::cli::run(std::env::args_os())
}
