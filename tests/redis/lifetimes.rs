//! Tests how long keys live (guarantees, section 3.1), according to Redis.

use std::time::{Duration, Instant};

use testkit::{broker::Broker, redis_tenant::RedisTenant, rows::*, snapshot::Life, waiting::until};
use token_broker::types::Row;

use crate::tenant;

const HOUR: i64 = 3_600;
const DAYS_30: i64 = 30 * 24 * HOUR;
/// A row's lifetime is exact to the second.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Returns a row that expires in `seconds` and isn't kept longer, because the expiry of its refresh token is known.
fn ending(user: &str, seconds: i64) -> Row {
    Row {
        expires_at: in_seconds(1),
        refresh_expires_at: in_seconds(seconds),
        ..row(user, "at")
    }
}

fn endless(user: &str) -> Row {
    Row {
        expires_at: None,
        ..row(user, "at")
    }
}

/// Checks how long a key lives that was written after `begun`.
#[track_caller]
fn lives(tenant: &RedisTenant, begun: Instant, rest: &str, seconds: Option<i64>) {
    let life = tenant.snapshot().life(&tenant.key(rest));
    let life = life.unwrap_or_else(|| panic!("there is no {rest}"));
    let tolerance = (TOLERANCE + begun.elapsed()).as_secs();
    match (seconds, life.left()) {
        (None, None) => {}
        (Some(seconds), Some(left)) if (left / 1_000).abs_diff(seconds as u64) <= tolerance => {}
        other => panic!("{rest} should live for {seconds:?} s: {other:?}"),
    }
}

/// Tests each case of section 3.1, for the row and both of its indexes.
#[tokio::test]
async fn a_row_lives_as_long_as_its_refresh_token_may() {
    for (expires, session, refresh, life) in [
        (Some(HOUR), None, Some(2 * HOUR), Some(2 * HOUR)),
        (Some(HOUR), None, Some(HOUR), Some(HOUR + DAYS_30)),
        (Some(2 * HOUR), None, Some(HOUR), Some(2 * HOUR + DAYS_30)),
        (Some(HOUR), Some(9 * HOUR), None, Some(HOUR + DAYS_30)),
        (Some(-HOUR), None, None, Some(DAYS_30 - HOUR)),
        (None, Some(HOUR), None, Some(HOUR + DAYS_30)),
        (None, None, None, None),
    ] {
        let (tenant, begun) = (tenant(), Instant::now());
        let seconds = |span: Option<i64>| span.and_then(in_seconds);
        let row = Row {
            expires_at: seconds(expires),
            session_expires_at: seconds(session),
            refresh_expires_at: seconds(refresh),
            ..row("u", "at")
        };
        tenant.broker().put(&key("s", "p"), &row).await;
        for rest in ["upstream:s:p", "upstream:idx:s", "user:upstream:u"] {
            lives(&tenant, begun, rest, life);
        }
        tenant.audit();
    }
}

/// Lifetimes are kept to the millisecond, and not rounded to seconds.
#[tokio::test]
async fn a_life_is_kept_to_the_millisecond() {
    let tenant = tenant();
    let span = Duration::from_millis(7_654_321);
    let begun = Instant::now();
    tenant
        .broker()
        .put_for(&key("s", "p"), &row("u", "at"), span)
        .await;
    let left = tenant
        .snapshot()
        .life(&tenant.key("upstream:s:p"))
        .unwrap()
        .left()
        .unwrap();
    // A second would be rounded down by 321 ms.
    let least = span - begun.elapsed() - Duration::from_millis(100);
    let left = Duration::from_millis(left);
    assert!((least..=span).contains(&left), "{left:?}");
}

/// A later row with a shorter life doesn't shorten an index. A row with a longer life extends it.
#[tokio::test]
async fn an_index_is_never_shortened() {
    let (tenant, begun) = (tenant(), Instant::now());
    let broker = tenant.broker();
    for (provider, seconds, longest) in [
        ("p", 2 * HOUR, 2 * HOUR),
        ("q", HOUR, 2 * HOUR),
        ("r", 3 * HOUR, 3 * HOUR),
        ("r", HOUR, 3 * HOUR),
    ] {
        broker.put(&key("s", provider), &ending("u", seconds)).await;
        lives(&tenant, begun, "upstream:idx:s", Some(longest));
        lives(&tenant, begun, "user:upstream:u", Some(longest));
        tenant.audit();
    }
}

/// An index has no expiry while any of its rows has none. It gets one again when the last such row is deleted,
/// replaced, or moved to another user.
#[tokio::test]
async fn an_index_has_no_end_while_a_row_has_none() {
    type Change = for<'a> fn(
        &'a Broker<token_broker::store::redis::RedisStore>,
    ) -> futures_util::future::BoxFuture<'a, ()>;
    let changes: [(&str, Change); 3] = [
        ("deleted", |broker| {
            Box::pin(async { assert!(broker.remove(&key("s", "endless")).await) })
        }),
        ("replaced", |broker| {
            Box::pin(async { _ = broker.put(&key("s", "endless"), &ending("u", HOUR)).await })
        }),
        ("moved", |broker| {
            Box::pin(async { _ = broker.put(&key("s", "endless"), &ending("v", HOUR)).await })
        }),
    ];
    for (what, change) in changes {
        let (tenant, begun) = (tenant(), Instant::now());
        let broker = tenant.broker();
        broker.put(&key("s", "p"), &ending("u", 2 * HOUR)).await;
        broker.put(&key("s", "endless"), &endless("u")).await;
        broker.put(&key("s", "q"), &ending("u", HOUR)).await;
        for rest in ["upstream:idx:s", "user:upstream:u"] {
            lives(&tenant, begun, rest, None);
        }
        change(&broker).await;
        for rest in ["upstream:idx:s", "user:upstream:u"] {
            let life = tenant.snapshot().life(&tenant.key(rest));
            assert_ne!(life, Some(Life::Endless), "{what}: {rest} stays for ever");
            lives(&tenant, begun, rest, Some(2 * HOUR));
        }
        tenant.audit();
    }
}

/// The same when `DeleteUser` takes the last such row out of a session in which another user has rows.
#[tokio::test]
async fn a_sessions_index_has_an_end_again_after_delete_user() {
    let (tenant, begun) = (tenant(), Instant::now());
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &endless("u")).await;
    broker.put(&key("s", "q"), &ending("v", HOUR)).await;
    lives(&tenant, begun, "upstream:idx:s", None);
    broker.delete_user(&user("u")).await.unwrap();
    lives(&tenant, begun, "upstream:idx:s", Some(HOUR));
    tenant.audit();
}

/// The same when all rows of a user but one are deleted with their session.
#[tokio::test]
async fn a_users_index_has_an_end_again_after_a_session_is_deleted() {
    let (tenant, begun) = (tenant(), Instant::now());
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &endless("u")).await;
    broker.put(&key("s", "q"), &endless("u")).await;
    broker.put(&key("t", "p"), &ending("u", HOUR)).await;
    lives(&tenant, begun, "user:upstream:u", None);
    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 2);
    lives(&tenant, begun, "user:upstream:u", Some(HOUR));
    tenant.audit();
}

/// An index without an expiry isn't left behind with dead members once its last live row is gone.
#[tokio::test]
async fn an_index_without_end_goes_with_its_last_row() {
    let tenant = tenant();
    let broker = tenant.broker();
    let dying = key("s", "dying");
    broker.put(&key("s", "endless"), &endless("u")).await;
    broker
        .put_for(&dying, &row("u", "at"), Duration::from_millis(10))
        .await;
    until("the row dies", async || broker.read(&dying).await.is_none()).await;
    broker.remove(&key("s", "endless")).await;
    for rest in ["upstream:idx:s", "user:upstream:u"] {
        let life = tenant.snapshot().life(&tenant.key(rest));
        assert_ne!(life, Some(Life::Endless), "{rest} stays for ever");
    }
}

/// While toolhive may add members without extending a user's index, the index has no expiry
/// (guarantees, section 5). Once the grace period is over, the next write gives it one.
#[tokio::test]
async fn a_users_index_has_no_end_in_the_grace_period() {
    let (tenant, begun) = (tenant(), Instant::now());
    let broker = tenant.broker();
    let grace = tenant.key("broker:grace");
    broker.put(&key("before", "p"), &ending("u", HOUR)).await;
    tenant.run::<()>(&["SET", &grace, "1"]);
    broker.put(&key("s", "p"), &ending("u", HOUR)).await;
    lives(&tenant, begun, "user:upstream:u", None);
    lives(&tenant, begun, "upstream:idx:s", Some(HOUR));
    // Neither a delete nor a row that moves away gives the index an expiry.
    broker.remove(&key("before", "p")).await;
    broker.put(&key("moving", "p"), &ending("u", HOUR)).await;
    broker.put(&key("moving", "p"), &ending("v", HOUR)).await;
    lives(&tenant, begun, "user:upstream:u", None);
    lives(&tenant, begun, "user:upstream:v", None);

    tenant.run::<()>(&["DEL", &grace]);
    broker.put(&key("t", "p"), &ending("u", 2 * HOUR)).await;
    lives(&tenant, begun, "user:upstream:u", Some(2 * HOUR));
    broker.remove(&key("moving", "p")).await;
    tenant.audit();
}
