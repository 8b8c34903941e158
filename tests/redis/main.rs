//! Tests of what only the Redis backend can get wrong: the layout to the byte, how long keys live,
//! what other software does to the data, what one call costs, and what happens when Redis fails
//! (guarantees, section 3).
//!
//! The tests of what every store must guarantee are in `tests/conformance/`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, waiting::until};

mod announcements;
mod answers;
mod atomicity;
mod backup;
mod big_answers;
mod changes;
mod cluster;
mod corrupt;
mod credentials;
mod deleting_elsewhere;
mod deleting_in_batches;
mod deleting_users;
mod derived_versions;
mod durability;
mod endpoints;
mod foreign;
mod huge;
mod identities;
mod indexes;
mod interrupted;
mod late;
mod layout;
mod lifetimes;
mod listing;
mod memory;
mod monitor;
mod moving_name;
mod null_rows;
mod outages;
mod panics;
mod paused;
mod pending;
mod plain_users;
mod readable;
mod readiness;
mod reconnecting;
mod records;
mod refusals;
mod rewrites;
mod sessions;
mod silence;
mod sizing;
mod texts;

/// Returns the ids of the connections of others than the test.
fn clients(server: &RedisServer) -> Vec<String> {
    let list: String = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
    let others = list.lines().filter(|line| !line.contains("cmd=client"));
    others
        .filter_map(|line| Some(line.split_once("id=")?.1.split_once(' ')?.0.to_owned()))
        .collect()
}

/// Waits until the broker's connections are open, which it opens in the background.
async fn connected(server: &RedisServer, connections: usize) {
    until("all connections are open", async || {
        clients(server).len() == connections
    })
    .await;
}

/// Returns a new tenant on the Redis that the tests share.
fn tenant() -> RedisTenant {
    RedisTenant::on(RedisServer::shared())
}
