//! Tests refreshing sealed rows.

use std::{sync::Arc, time::Duration};

use testkit::{
    broker::{self, Broker},
    provider,
    redis_tenant::RedisTenant,
    rotating_provider::{Fault, RotatingProvider, Rules},
    rows::{access_token, in_seconds, key, refresh_token, secret, user},
    sealing,
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::rules::LEASE,
    seal::Keys,
    store::{Sealed, Sealing, redis::RedisStore},
    tokens::{Binding, Wanted},
    types::{Row, RowKey, StoredRow},
};
use tokio::{sync::watch, time::Instant};

use crate::{json, sealed_with, tenant};

/// How long the provider has to answer. Much more than it takes.
const TIMEOUT: Duration = Duration::from_secs(5);

pub type Refreshing = Broker<Sealed<RedisStore>>;

fn refreshing(tenant: &RedisTenant, at: &RotatingProvider, keys: &[&str]) -> Refreshing {
    refreshing_with(tenant, at, sealing::keys(keys))
}

/// Returns a broker that has these sealing keys, and refreshes rows at this provider.
pub fn refreshing_with(tenant: &RedisTenant, at: &RotatingProvider, keys: Keys) -> Refreshing {
    let mut options = provider::options("p");
    options.endpoints.token = Some(at.url().parse().unwrap());
    options.max_rate = 10_000;
    options.max_waiters = 1_000;
    options.max_concurrent = 100;
    options.timeout = TIMEOUT;
    let mut rules = broker::rules(tenant.name().clone());
    rules.providers = provider::providers([options]);
    let sealing = Sealing {
        keys,
        ..Sealing::off(tenant.name().clone())
    };
    Broker::new(Sealed::new(tenant.store(), sealing), rules)
}

async fn ask(broker: &Refreshing, key: &RowKey) -> Result<StoredRow, Error> {
    ask_within(broker, key, Duration::from_secs(20)).await
}

async fn ask_within(broker: &Refreshing, key: &RowKey, span: Duration) -> Result<StoredRow, Error> {
    let deadline = Instant::now() + span;
    let wanted = Wanted::default();
    broker
        .access_token(key, &wanted, &Binding::default(), deadline)
        .await
}

/// Returns a row whose access token has expired.
pub fn expired(refresh: &str) -> Row {
    Row {
        access_token: secret("old"),
        refresh_token: secret(refresh),
        expires_at: in_seconds(-10),
        user_id: Some(user("u")),
        ..Row::default()
    }
}

/// Two brokers, of which one lacks the newer key, a row that has expired, and a provider that answers when it is told to.
struct Rollout {
    tenant: RedisTenant,
    at: RotatingProvider,
    answers: watch::Sender<bool>,
    behind: Arc<Refreshing>,
    ahead: Refreshing,
    key: RowKey,
}

impl Rollout {
    async fn start() -> Self {
        let (tenant, at) = (tenant(), RotatingProvider::start(Rules::default()).await);
        let behind = Arc::new(refreshing(&tenant, &at, &["old"]));
        let ahead = refreshing(&tenant, &at, &["new", "old"]);
        let key = key("s", "p");
        behind.put(&key, &expired(&at.log_in())).await;
        let answers = watch::Sender::new(false);
        let held = answers.subscribe();
        at.fail(move |_| Fault {
            held: Some(held.clone()),
            ..Fault::default()
        });
        Self {
            tenant,
            at,
            answers,
            behind,
            ahead,
            key,
        }
    }
}

#[tokio::test]
async fn a_sealed_row_is_refreshed_once_and_stays_sealed() {
    let (tenant, at) = (tenant(), RotatingProvider::start(Rules::default()).await);
    let brokers = [["a", "b"], ["b", "a"]].map(|keys| refreshing(&tenant, &at, &keys));
    let key = key("s", "p");
    let first = at.log_in();
    brokers[0].put(&key, &expired(&first)).await;
    for round in 1..=3_usize {
        let callers = (0..20).map(|caller| ask(&brokers[caller % 2], &key));
        let answers = futures_util::future::join_all(callers).await;
        for answer in answers {
            let stored = answer.unwrap();
            assert!(at.accepts(access_token(&stored.row)), "{stored:?}");
        }
        assert_eq!(at.tally().redemptions, round);
        assert!(sealed_with(&tenant, &key).is_some());
        let row = json(&tenant, &key);
        assert_eq!(
            (&row["access_token"], &row["refresh_token"]),
            (&"".into(), &"".into())
        );
        // The next round finds it expired again.
        let mut stored = brokers[0].read(&key).await.unwrap();
        stored.row.expires_at = in_seconds(-10);
        brokers[round % 2].put(&key, &stored.row).await;
    }
    assert_eq!((at.tally().replays, at.revoked()), (0, 0));
    // A redeemed token doesn't come back, although the script sees no token.
    let again = brokers[0]
        .store(broker::request(&key, &expired(&first)))
        .await;
    assert!(
        matches!(again, Err(Error::RefreshTokenRedeemed)),
        "{again:?}"
    );
}

/// While a broker redeems, somebody seals the row with a key that it lacks. It keeps the result until it has the key's row
/// again, and then writes it: nothing is lost, and nothing is overwritten.
#[tokio::test]
async fn a_result_is_kept_until_its_row_can_be_opened() {
    let Rollout {
        tenant,
        at,
        answers,
        behind,
        ahead,
        key,
    } = Rollout::start().await;
    let asking = tokio::spawn({
        let (behind, key) = (Arc::clone(&behind), key.clone());
        async move { ask(&behind, &key).await }
    });
    at.requested(1).await;
    crate::rotation::rotate(&tenant, &["new", "old"]).await;
    assert_eq!(sealed_with(&tenant, &key).as_deref(), Some("new"));
    answers.send_replace(true);
    let served = asking.await.unwrap().unwrap();
    assert!(at.accepts(access_token(&served.row)), "served from memory");
    let old = ahead.read(&key).await.unwrap();
    assert_eq!(refresh_token(&old.row), "rt-0-0", "not overwritten");
    // Who could open the row waits longer than a lease, and a request, and a lease. The token was redeemed, so it isn't sent
    // again, and isn't taken for lost either.
    let waited = ask_within(&ahead, &key, LEASE + TIMEOUT + 2 * LEASE).await;
    assert!(
        matches!(waited, Err(Error::ProviderUnavailable { .. })),
        "{waited:?}"
    );
    assert_eq!((at.tally().redemptions, at.tally().replays), (1, 0));
    // The keys change back, and the result is written.
    crate::rotation::rotate(&tenant, &["old", "new"]).await;
    until("the result is written", async || {
        let stored = ahead.read(&key).await.unwrap();
        refresh_token(&stored.row) == "rt-0-1"
    })
    .await;
    assert_eq!((at.tally().redemptions, at.tally().replays), (1, 0));
}

/// While a broker redeems, another user logs in to the same session, at a broker with a newer key. The first broker can't read
/// that row, and hands out nothing in its place.
#[tokio::test]
async fn a_result_is_not_served_in_the_place_of_another_login() {
    let Rollout {
        at,
        answers,
        behind,
        ahead,
        key,
        ..
    } = Rollout::start().await;
    let asking = tokio::spawn({
        let (behind, key) = (Arc::clone(&behind), key.clone());
        async move { ask_within(&behind, &key, Duration::from_secs(3)).await }
    });
    at.requested(1).await;
    let other = Row {
        access_token: secret("of another user"),
        refresh_token: secret("rt-other"),
        expires_at: in_seconds(3600),
        user_id: Some(user("mallory")),
        ..Row::default()
    };
    ahead.put(&key, &other).await;
    answers.send_replace(true);
    let served = asking.await.unwrap();
    assert!(served.is_err(), "{served:?}");
    let later = ask(&behind, &key).await;
    assert!(matches!(later, Err(Error::KeyMissing(_))), "{later:?}");
    let stored = ahead.read(&key).await.unwrap();
    assert_eq!(access_token(&stored.row), "of another user");
}
