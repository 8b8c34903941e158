//! Tests what the broker says about a Redis that can't be used as it is: at its start, and while it serves.

use std::fs;

use testkit::{
    broker_process::BrokerProcess, launch::Launch, redis_server::RedisServer,
    redis_tenant::RedisTenant, rows::*, waiting::until,
};
use token_broker::store::{Health, redis::RedisStore};

async fn is_ready(store: &RedisStore) -> bool {
    store.ready().await.is_ok()
}

/// Health follows whether writes can work, and not only whether Redis answers.
#[tokio::test]
async fn a_user_that_loses_a_right_makes_the_broker_not_ready() {
    let server = Launch::default()
        .file("users.acl", "user limited on nopass ~* &* +@all\n")
        .lines(["aclfile {dir}/users.acl"])
        .start();
    let url = format!("redis://limited@127.0.0.1:{}", server.port());
    let store = RedisTenant::on(&server).with("redis-url", &url).store();
    assert!(is_ready(&store).await);
    let acl = |rule: &str| {
        let command = ["ACL", "SETUSER", "limited", rule];
        server.ask::<()>(&command).unwrap();
    };
    for (taken, given) in [
        ("-eval", "+eval"),
        ("-evalsha", "+evalsha"),
        ("-set", "+set"),
        ("resetkeys", "~*"),
    ] {
        acl(taken);
        assert!(!is_ready(&store).await, "{taken}");
        acl(given);
        assert!(is_ready(&store).await, "{given}");
    }
}

/// Where Redis is out of memory, reads and deletes work. Where it can't save, no write does.
#[tokio::test]
async fn a_redis_that_cannot_save_makes_the_broker_not_ready() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let store = tenant.store();
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(is_ready(&store).await, "out of memory");
    tenant.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);

    // The snapshot can't be put where a directory is.
    let place = server.dir().join("dump.rdb");
    fs::create_dir(&place).unwrap();
    tenant.run::<()>(&["CONFIG", "SET", "save", "3600 1000"]);
    tenant.run::<()>(&["BGSAVE"]);
    until("saving has failed", async || {
        let info: String = tenant.run(&["INFO", "persistence"]);
        info.contains("rdb_last_bgsave_status:err")
    })
    .await;
    assert!(!is_ready(&store).await, "it can't save");
    fs::remove_dir(&place).unwrap();
    tenant.run::<()>(&["BGSAVE"]);
    until("the broker is ready again", async || is_ready(&store).await).await;
    assert!(tenant.snapshot().names().is_empty(), "nothing was written");
}

/// The start says loudly that a Redis may evict what users need.
#[tokio::test(flavor = "multi_thread")]
async fn the_start_warns_of_a_redis_that_may_evict() {
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lfu"]);
    let broker = BrokerProcess::on_redis(&evicting.url());
    broker.serving().await;
    let log = broker.ended().await.log;
    let warning = log.lines().find(|line| line.contains("maxmemory-policy"));
    let warning = warning.unwrap_or_else(|| panic!("{log}"));
    assert!(
        warning.contains("WARN") && warning.contains("allkeys-lfu"),
        "{warning}"
    );
    let broker = BrokerProcess::on_redis(&RedisServer::shared().url());
    broker.serving().await;
    let log = broker.ended().await.log;
    assert!(!log.contains("maxmemory-policy"), "{log}");
}

/// A user without a password has its own rights, and not those of the default user.
#[tokio::test]
async fn a_user_without_a_password_logs_in() {
    let server = Launch::default()
        .file("users.acl", "user limited on nopass ~* &* +@all\n")
        .lines(["aclfile {dir}/users.acl"])
        .start();
    let on_server = RedisTenant::on(&server);
    let in_url = format!("redis://limited@127.0.0.1:{}", server.port());
    let beside = format!("redis://127.0.0.1:{}", server.port());
    for tenant in [
        on_server.clone().with("redis-url", &in_url),
        on_server
            .with("redis-url", &beside)
            .with("redis-username", "limited"),
    ] {
        let broker = tenant.broker();
        broker.put(&key("s", "p"), &row("u", "at")).await;
        let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
        assert!(clients.contains("user=limited"), "{clients}");
        let default = clients.matches("user=default").count();
        assert_eq!(default, 1, "the test's own: {clients}");
    }
}
