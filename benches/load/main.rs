//! What the broker does in a second, over gRPC, from end to end.
//!
//! `cargo bench --bench load` measures everything, `cargo bench --bench load -- redis get store` what
//! is named: backends (`memory`, `redis`, `replicated`), calls (`get`, `get-all`, `store`, `delete-user`). Arguments
//! with dashes go to the broker, as in `--redis-connections=4`. After a round that warms up,
//! `LOAD_ROUNDS` (5) rounds of `LOAD_SECONDS` (3) are measured of each call; the median counts, and
//! the spread is told.
//!
//! The broker is the program itself, the Redis a real one that keeps nothing on disk, the client in
//! this process; all three share the machine, so that what one of them saves the others gain. The
//! CPU time of each a call tells more about a change than calls a second do.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failed benchmark has nothing to clean up, and printing is what it is for"
)]

mod cpu;
mod delete_user;
mod driver;
mod report;
mod rows;
mod setup;

use setup::{Backend, Options, Subject};

fn main() {
    let options = Options::from_env();
    // One thread: what the client spends on handing work to itself is lost to the broker.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    report::print_conditions(&options);
    for backend in options.backends.clone() {
        runtime.block_on(measure(backend, &options));
    }
}

async fn measure(backend: Backend, options: &Options) {
    let stage = setup::Stage::new(backend, options).await;
    stage.fill().await;
    report::print_header(backend);
    for subject in &options.subjects {
        match *subject {
            Subject::Calls(call) => {
                let rounds = driver::rounds(&stage, call, options).await;
                report::print_calls(call, &rounds, backend);
            }
            Subject::DeleteUser => {
                let rounds = delete_user::rounds(&stage, options).await;
                report::print_delete_user(&rounds, backend);
            }
        }
    }
}
