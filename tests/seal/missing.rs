//! Tests a broker that lacks the key of a row: a rollout that isn't finished.

use std::time::Duration;

use testkit::{
    broker::{Broker, request},
    broker_process::BrokerProcess,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    requests::{get_request, store_request, tokens},
    rows::{access_token, bare, key, provider, refresh_token, row, session, user},
};
use token_broker::{
    error::Error,
    store::{Sealed, redis::RedisStore},
    tokens::{Binding, Precondition, StoreTokens, Wanted},
    types::{Row, RowKey},
};
use tokio::time::Instant;

use crate::{args_of, sealed_with, tenant, text};

fn is_missing<T: std::fmt::Debug>(answer: Result<T, Error>, what: &str) {
    match answer {
        Err(Error::KeyMissing(key)) => assert_eq!(key.name(), "new", "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

/// A tenant with a row under a new key, `s` at `p`, and a row under the old one, `s` at `q`; and the broker that has only
/// the old one.
async fn half_rolled_out() -> (
    RedisTenant,
    Broker<Sealed<RedisStore>>,
    Broker<Sealed<RedisStore>>,
) {
    let tenant = tenant();
    let (ahead, behind) = (
        tenant.sealed_broker(&["new", "old"]),
        tenant.sealed_broker(&["old"]),
    );
    ahead.put(&key("s", "p"), &row("u", "new")).await;
    behind.put(&key("s", "q"), &row("u", "old")).await;
    assert_eq!(sealed_with(&tenant, &key("s", "p")).as_deref(), Some("new"));
    assert_eq!(sealed_with(&tenant, &key("s", "q")).as_deref(), Some("old"));
    (tenant, ahead, behind)
}

#[tokio::test]
async fn every_read_says_that_the_key_is_missing_and_siblings_are_fine() {
    let (_tenant, ahead, behind) = half_rolled_out().await;
    let (p, q) = (key("s", "p"), key("s", "q"));
    is_missing(behind.get(&p, &Binding::default()).await, "Get");
    assert!(ahead.read(&p).await.is_some() && ahead.read(&q).await.is_some());
    assert_eq!(access_token(&behind.read(&q).await.unwrap().row), "old");

    let all = behind
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await
        .unwrap();
    assert!(all.rows.keys().eq([&q.provider]));
    assert!(all.unreadable.keys().eq([&p.provider]));
    // It is in the listing, which tells nothing that is sealed.
    assert_eq!(behind.listed(&user("u")).await, [p.clone(), q.clone()]);

    let latest = behind
        .latest_for_user(&user("u"), &p.provider, &Default::default())
        .await;
    is_missing(latest, "GetLatestForUser");
    let other = key("t", "p");
    behind.put(&other, &row("u", "t")).await;
    let latest = behind
        .latest_for_user(&user("u"), &p.provider, &Default::default())
        .await;
    assert_eq!(access_token(&latest.unwrap().row), "t");

    let deadline = Instant::now() + Duration::from_secs(60);
    let wanted = Wanted::default();
    let token = behind
        .access_token(&p, &wanted, &Binding::default(), deadline)
        .await;
    is_missing(token, "GetAccessToken");
    let tokens = behind
        .access_tokens(
            &session("s"),
            None,
            &Binding::default(),
            &Default::default(),
            deadline,
        )
        .await
        .unwrap();
    assert!(tokens.tokens.keys().eq([&q.provider]));
    let failed = tokens.failed.into_iter().next().unwrap();
    assert_eq!(failed.0, provider("p"));
    is_missing(Err::<(), _>(failed.1), "GetAllAccessTokens");
}

#[tokio::test]
async fn nothing_that_needs_the_old_token_overwrites_it() {
    let (tenant, ahead, behind) = half_rolled_out().await;
    let p = key("s", "p");
    let before = text(&tenant, &p);
    let carrying = |key: &RowKey, row: &Row| StoreTokens {
        carry_forward: true,
        ..request(key, row)
    };
    let without = Row {
        refresh_token: None,
        ..row("u", "next")
    };
    is_missing(behind.store(carrying(&p, &without)).await, "carry-forward");
    // Also of another user, and under a precondition.
    let others = Row {
        user_id: Some(user("v")),
        ..without.clone()
    };
    is_missing(behind.store(carrying(&p, &others)).await, "another user's");
    let version = ahead.version(&p).await.unwrap();
    let on_version = StoreTokens {
        precondition: Some(Precondition::Version(version)),
        ..carrying(&p, &without)
    };
    is_missing(behind.store(on_version).await, "with a version");
    // The token of another session, which may be the one to carry.
    let elsewhere = key("t", "p");
    is_missing(
        behind.store(carrying(&elsewhere, &without)).await,
        "from another session",
    );
    assert_eq!(text(&tenant, &p), before);
    assert!(ahead.read(&elsewhere).await.is_none());
    // Who has the key carries it forward.
    ahead.store(carrying(&elsewhere, &without)).await.unwrap();
    let carried = ahead.read(&elsewhere).await.unwrap();
    assert_eq!(refresh_token(&carried.row), "refresh-new");
}

/// What needs no key works without one: a login that brings all tokens, deleting, and the conditions on versions.
#[tokio::test]
async fn a_login_and_a_delete_need_no_key() {
    let (tenant, ahead, behind) = half_rolled_out().await;
    let p = key("s", "p");
    let refused = behind
        .store(StoreTokens {
            precondition: Some(Precondition::MustNotExist),
            ..request(&p, &bare("x"))
        })
        .await;
    assert!(matches!(refused, Err(Error::RowExists)), "{refused:?}");
    let version = ahead.version(&p).await.unwrap();
    behind
        .store(StoreTokens {
            precondition: Some(Precondition::Version(version)),
            ..request(&p, &row("u", "login"))
        })
        .await
        .unwrap();
    assert_eq!(access_token(&ahead.read(&p).await.unwrap().row), "login");

    ahead.put(&p, &row("u", "new")).await;
    assert!(behind.remove(&p).await);
    ahead.put(&p, &row("u", "new")).await;
    let deleted = behind.delete_user(&user("u")).await.unwrap();
    assert_eq!(deleted.rows, 2);
    tenant.audit();
}

/// A broker without any key doesn't take a sealed row for one without tokens.
#[tokio::test]
async fn a_broker_without_keys_reads_no_sealed_row() {
    let (tenant, ..) = half_rolled_out().await;
    let plain = tenant.sealed_broker(&[]);
    is_missing(plain.get(&key("s", "p"), &Binding::default()).await, "Get");
}

/// Somebody forgot the keys of one broker. What it stores is plain, so it says so, and once.
#[tokio::test]
async fn a_broker_without_any_key_tells_that_it_stores_plain_rows() {
    let redis = RedisServer::start();
    let tenant = RedisTenant::on(&redis);
    let args = args_of(&tenant, &redis);
    let keyless = BrokerProcess::start(&args.each_ref().map(String::as_str));
    keyless.serving().await;
    let mut client = keyless.client().await;
    let told = |log: &str| log.matches("this broker has no sealing keys").count();
    let plain = store_request("plain", "p", tokens("at", "u"));
    client.store(plain).await.unwrap();
    client.get(get_request("plain", "p")).await.unwrap();
    assert_eq!(told(&keyless.log()), 0, "nothing is sealed");
    let ahead = tenant.sealed_broker(&["k"]);
    ahead.put(&key("s", "p"), &row("u", "at")).await;
    for _ in 0..3 {
        let refused = client.get(get_request("s", "p")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
    }
    let log = keyless.ended().await.log;
    assert_eq!(told(&log), 1, "{log}");
}
