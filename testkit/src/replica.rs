//! A replica of a single server. No sentinel or cluster would promote it.

use crate::{launch::Launch, redis_server::RedisServer, waiting::until};

/// Starts a replica of `primary` with the configuration in `launch`, and waits until it has caught
/// up.
pub async fn follow(primary: &RedisServer, launch: Launch) -> RedisServer {
    let follows = format!("replicaof 127.0.0.1 {}", primary.port());
    let replica = launch.lines([follows]).start();
    until("the replica follows", async || {
        let info: String = replica.ask(&["INFO", "replication"]).unwrap();
        info.contains("master_link_status:up")
    })
    .await;
    replica
}
