//! What a row takes of Redis' memory, as `docs/upkeep.md` says.

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::types::Row;

/// Rows with tokens of 1,900 bytes, as an OpenID provider with JWTs gives them.
const TOKENS: [usize; 3] = [900, 100, 900];
const SESSIONS: usize = 1_000;

/// Returns a row of `user` whose tokens have the sizes of `TOKENS`.
fn row_of(user: &str, number: usize) -> Row {
    let token = |size: usize| secret(&format!("{number:0>size$}"));
    Row {
        access_token: token(TOKENS[0]),
        refresh_token: token(TOKENS[1]),
        id_token: token(TOKENS[2]),
        ..row(user, "at")
    }
}

/// Stores the rows, and returns how many bytes of memory Redis uses more for each row. Ids are as long as UUIDs.
async fn bytes_a_row(providers: &[&str], sessions_a_user: usize) -> usize {
    let server = RedisServer::start();
    let broker = RedisTenant::on(&server).broker();
    let used = || -> usize {
        let info: String = server.ask(&["INFO", "memory"]).unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:"));
        line.unwrap().parse().unwrap()
    };
    // The scripts and the first connection's buffers aren't counted.
    broker.put(&key("first", "p"), &row("first", "at")).await;
    let before = used();
    for number in 0..SESSIONS {
        let user = format!("{:0>36}", number / sessions_a_user);
        let session = format!("{number:0>36}");
        for provider in providers {
            broker
                .put(&key(&session, provider), &row_of(&user, number))
                .await;
        }
    }
    (used() - before) / (SESSIONS * providers.len())
}

#[tokio::test]
async fn a_row_takes_what_the_docs_say() {
    let (one, four) = tokio::join!(
        bytes_a_row(&["github"], 1),
        bytes_a_row(&["github", "corp-okta", "google", "slack"], 5)
    );
    eprintln!(
        "a row with 1,900 bytes of tokens: {one} bytes alone in its session, {four} beside three others"
    );
    assert!((2_600..=3_500).contains(&one), "{one}");
    assert!((2_300..=one).contains(&four), "{four}");
}
