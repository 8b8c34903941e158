//! Measures how many calls per second the broker answers over gRPC, from end to end.
//!
//! `cargo bench --bench load` measures everything. `cargo bench --bench load -- redis get store`
//! measures only the named backends (`memory`, `redis`, `replicated`) and calls (`get`, `get-all`,
//! `store`, `delete-user`). Arguments with dashes go to the broker, such as `--redis-connections=4`.
//! Each call has one round that warms up and `LOAD_ROUNDS` (5) measured rounds of `LOAD_SECONDS` (3).
//! The report shows the median and the spread.
//!
//! The broker is the program itself, Redis is a real server that keeps nothing on disk, and the client
//! is in this process. All three share the machine, so CPU time that one saves is available to the
//! others. The CPU time per call says more about a change than the calls per second do.
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
    // One thread, because CPU time that the client spends on handing work between its threads is lost
    // to the broker.
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
    let setup = setup::Setup::new(backend, options).await;
    setup.fill().await;
    report::print_header(backend);
    for subject in &options.subjects {
        match *subject {
            Subject::Calls(call) => {
                let rounds = driver::rounds(&setup, call, options).await;
                report::print_calls(call, &rounds, backend);
            }
            Subject::DeleteUser => {
                let rounds = delete_user::rounds(&setup, options).await;
                report::print_delete_user(&rounds, backend);
            }
        }
    }
}
