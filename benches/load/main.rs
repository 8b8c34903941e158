//! Measures what the broker costs over gRPC, from end to end and beside the least that it could cost.
//!
//! `cargo bench --bench load` starts all servers itself, and measures calls and the deletion of a user.
//! `cargo bench --bench load -- redis get 64x4 50%` measures only what is named:
//!
//! | words | what |
//! |---|---|
//! | `memory`, `redis`, `replicated`, `raw` | the subjects: brokers on a backend, and the commands to Redis without a broker. The bare echo is always measured |
//! | `get`, `get-all`, `get-access-token`, `store` | the calls |
//! | `64x4` | closed loop: 64 callers over 4 connections |
//! | `50%` | open loop: calls begin at half of the subject's peak rate |
//! | `20000/s` | open loop: so many calls begin each second, of each subject |
//! | `delete-user` | a user with 10,000 rows |
//! | `growth` | `Get` on stores of 1,000 to 1,000,000 rows (it takes 6 GB of memory) |
//! | `footprint` | the broker's memory: idle, with 1,000 connections, with 1,000,000 rows (5 GB) |
//! | `start` | from exec to SERVING |
//! | `migration` | 100,000 rows of the older layout, and how long another client of that Redis waits meanwhile |
//! | `trust` | what sealing, a policy, the audit trail, metrics and client certificates cost a `Get`, each alone and all together |
//! | `--json FILE` | writes the figures to a file, too |
//! | other words with dashes | go to the broker, as in `--redis-connections=4`; those about Redis only where there is one |
//!
//! `growth`, `footprint`, `start`, `migration` and `trust` are measured only if they are named.
//!
//! `LOAD_ROUNDS` (5) rounds of `LOAD_SECONDS` (1) are measured. `docs/performance.md` says how to read the figures.
//! Without cargo's argument `--bench`, as `cargo test` runs it, it does a tiny run and checks what came out.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failed benchmark has nothing to clean up, and printing is what it is for"
)]

mod calls;
mod capture;
mod client;
mod closed_loop;
mod delete_user;
mod figures;
mod floor;
mod footprint;
mod growth;
mod json;
mod migration;
mod open_loop;
mod options;
mod process;
mod raw;
mod requests;
mod rows;
mod servers;
mod smoke;
mod start;
mod table;
mod trust;
mod window;

use std::fs;

use figures::Table;
use options::{Extra, Options};
use servers::Server;
use tokio::runtime::Runtime;

fn main() {
    if floor::serve() {
        return;
    }
    if !std::env::args().any(|arg| arg == "--bench") {
        return smoke::run();
    }
    let options = Options::from_env();
    table::print_conditions(&options);
    let tables = measure(&options);
    if let Some(file) = &options.json {
        let report = json::report(&options, &tables);
        fs::write(file, format!("{report:#}\n")).unwrap();
    }
}

/// Measures everything that the options name. Prints each table when it is complete.
fn measure(options: &Options) -> Vec<Table> {
    // For what isn't a measured call over gRPC. The client of those has no runtime.
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut tables = Vec::new();
    let mut done = |table: Table| {
        table::print(&table);
        tables.push(table);
    };
    let subjects = options.subjects.iter();
    let start = |subject: &_| Server::start(*subject, options, &runtime);
    let are_needed = !options.methods.is_empty() || options.extras.contains(&Extra::DeleteUser);
    let servers: Vec<_> = if are_needed {
        subjects.map(start).collect()
    } else {
        Vec::new()
    };
    for method in &options.methods {
        calls::measure(&servers, *method, options, &runtime, &mut done);
    }
    for extra in &options.extras {
        measure_extra(*extra, &servers, options, &runtime, &mut done);
    }
    tables
}

fn measure_extra(
    extra: Extra,
    servers: &[Server],
    options: &Options,
    runtime: &Runtime,
    done: &mut impl FnMut(Table),
) {
    match extra {
        Extra::DeleteUser => done(delete_user::measure(servers, options, runtime)),
        Extra::Growth => growth::measure(options, runtime, done),
        Extra::Footprint => done(footprint::measure(options, runtime)),
        Extra::Start => done(start::measure(options, runtime)),
        Extra::Migration => done(migration::measure(options, runtime)),
        Extra::Trust => trust::measure(options, runtime, done),
    }
}
