//! Three broker processes, one Redis and a real OpenID provider that revokes a login when one of its refresh tokens comes a
//! second time (guarantees, section 6).
//!
//! `FLEET=full` runs the long form, with 1,000 rows and 20 callers a row.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it counted"
)]

mod auth_server;
mod auth_servers;
mod callers;
mod cut;
mod failover;
mod fleet;
mod grace;
mod kills;
mod restart;
mod together;
mod warnings;
