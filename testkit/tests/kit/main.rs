//! That the tests can rely on their kit: it takes what is sound, and notices what isn't.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and one tells its seed"
)]

mod audit;
mod linearizability;
mod resp_proxy;
mod slots;
mod snapshot;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant};

/// A new tenant on the Redis that the tests share.
fn tenant() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}
