//! That the tests can rely on their kit.
//!
//! The audit and the checker take what is sound, and notice what isn't. The servers are what they say:
//! what is cut is cut, who is hidden is hidden, and everything ends where it should.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and one test prints its seed"
)]

mod audit;
mod canary;
mod cluster;
mod linearizability;
mod oidc_provider;
mod resp_proxy;
mod sentinel;
mod slots;
mod snapshot;
mod token_endpoint;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};

/// Returns a new tenant on the Redis that the tests share.
fn tenant() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}
