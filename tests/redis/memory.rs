//! What a call costs in memory: bounded by what is read at once, however many rows a user has.

use std::fs;

use testkit::{
    broker_process::BrokerProcess, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*,
};
use token_broker::proto::v1::{GetLatestForUserRequest, ListUserSessionsRequest};

/// Rows of the user, all at one provider.
const ROWS: usize = 500;
/// Bytes of each row, about: the most that the limits allow.
const ROW: usize = 58 * 1024;
/// What one of the calls may add to the process: a chunk of rows, as it came and as it is decoded, twice over.
const MOST: u64 = 24 * 1024 * 1024;

/// A number of bytes from the process's status, as in `VmHWM:     5120 kB`.
fn status(broker: &BrokerProcess, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_about_a_user_with_many_rows_need_little_memory() {
    let server = RedisServer::start();
    let tenant = RedisTenant::called("default:default", &server);
    let writer = tenant.broker();
    let mut large = row("u", "at");
    large.id_token = secret(&"i".repeat(ROW / 2));
    large.refresh_token = secret(&"r".repeat(ROW / 2));
    for number in 0..ROWS {
        writer.put(&key(&format!("s{number}"), "p"), &large).await;
    }

    // A process that has not read anything yet: what an allocator keeps for later would hide the peak.
    let url = format!("--redis-url={}", server.url());
    let broker = BrokerProcess::start(&["--backend=redis", &url, "--redis-timeout=5s"]);
    broker.serving().await;
    let mut client = broker.client().await;
    let before = status(&broker, "VmRSS:");
    let peak = async |what: &str| {
        let grown = status(&broker, "VmHWM:").saturating_sub(before);
        assert!(grown < MOST, "{what}: {} KiB more", grown / 1024);
    };
    let listing = ListUserSessionsRequest {
        user_id: "u".to_owned(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let page = client.list_user_sessions(listing).await.unwrap();
    assert_eq!(page.into_inner().sessions.len(), ROWS);
    peak("ListUserSessions").await;
    let latest = GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "p".to_owned(),
    };
    client.get_latest_for_user(latest).await.unwrap();
    peak("GetLatestForUser").await;
}
