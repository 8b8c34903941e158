//! Backup and restore, as `docs/upkeep.md` describes them.

use std::fs;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};

#[tokio::test]
async fn a_restored_backup_is_sound_and_brings_back_what_was_deleted() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let tenant = RedisTenant::called("t-backup:conf", &server);
    let broker = tenant.broker();
    for session in ["kept", "left"] {
        for provider in ["github", "google"] {
            broker
                .put(&key(session, provider), &row("u", session))
                .await;
        }
    }
    let version = broker.version(&key("kept", "github")).await;
    server.ask::<()>(&["SAVE"]).unwrap();
    broker.remove(&key("left", "github")).await;
    broker.put(&key("kept", "google"), &row("u", "newer")).await;

    other.kill();
    fs::copy(server.dir().join("dump.rdb"), other.dir().join("dump.rdb")).unwrap();
    other.restart();
    let restored = RedisTenant::called("t-backup:conf", &other);
    restored.audit();
    let broker = restored.broker();
    assert_eq!(broker.version(&key("kept", "github")).await, version);
    assert!(broker.version(&key("left", "github")).await.is_some());
    let older = broker.read(&key("kept", "google")).await.unwrap();
    assert_eq!(older.row.access_token, secret("kept"));
}
