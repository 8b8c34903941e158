//! Tests that no call lasts longer than the settings allow, whatever the servers do.

use std::time::{Duration, Instant};

use testkit::{
    broker::{Broker, request},
    cluster::{self, Cluster},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
    sentinel::{self, Sentinels},
    waiting::until,
};
use token_broker::{
    error::Error,
    store::{Identities, Store},
    tokens::Binding,
};

/// The longest time of a call: `redis-failover-wait`, one timeout for an answer, and the delay that
/// a loaded machine may add. The servers never answer, so a call without a bound never ends.
const LONGEST: Duration = Duration::from_millis(1_000 + 500 + 8_000);

/// Makes calls of each kind at once, and checks that each fails in time.
async fn calls_fail_in_time<S: Store + Identities>(broker: &Broker<S>, when: &str) {
    let (key, all, user) = (key("s", "p"), Binding::default(), user("u"));
    let begun = Instant::now();
    let timed = async |call: &'static str, failed: Option<Error>| {
        let is_unavailable = matches!(
            failed,
            Some(Error::StoreUnavailable(_) | Error::OutcomeUnknown(_) | Error::NotDurable(_))
        );
        assert!(is_unavailable, "{call} while {when}: {failed:?}");
        assert!(
            begun.elapsed() < LONGEST,
            "{call} while {when}: {:?}",
            begun.elapsed()
        );
    };
    tokio::join!(
        async {
            timed(
                "Store",
                broker.store(request(&key, &row("u", "at"))).await.err(),
            )
            .await
        },
        async { timed("Get", broker.get(&key, &all).await.err()).await },
        async {
            timed(
                "GetAll",
                broker
                    .get_all(&key.session, &all, &Default::default())
                    .await
                    .err(),
            )
            .await
        },
        async { timed("Delete", broker.delete(&key, None).await.err()).await },
        async { timed("Delete all", broker.delete_all(&key.session).await.err()).await },
        async { timed("DeleteUser", broker.delete_user(&user).await.err()).await },
        async {
            timed(
                "latest",
                broker
                    .latest_for_user(&user, &key.provider, &Default::default())
                    .await
                    .err(),
            )
            .await
        },
        async {
            timed(
                "listing",
                broker
                    .list_user_sessions(&user, 0, None, &Default::default())
                    .await
                    .err(),
            )
            .await
        },
    );
}

/// Every server hangs, and then every server is down.
async fn bounded(tenant: RedisTenant, servers: &[RedisServer]) {
    let tenant = tenant.with("redis-failover-wait", "1s");
    let replicated = tenant
        .clone()
        .with("durability", "replicated")
        .with("durability-timeout", "300ms");
    let brokers = [tenant, replicated].map(|tenant| {
        let store = tenant.store_with(Duration::from_millis(500));
        Broker::new(store, testkit::broker::rules(tenant.name().clone()))
    });
    for broker in &brokers {
        // It connects. A replica may take longer than the broker waits for it.
        until("a row is stored", async || {
            let stored = broker.store(request(&key("s", "p"), &row("u", "at")));
            stored.await.is_ok()
        })
        .await;
    }
    servers.iter().for_each(RedisServer::pause);
    for broker in &brokers {
        calls_fail_in_time(broker, "every server hangs").await;
    }
    servers.iter().for_each(RedisServer::kill);
    for broker in &brokers {
        calls_fail_in_time(broker, "every server is gone").await;
    }
}

#[tokio::test]
async fn no_call_outlasts_its_bounds_with_sentinels() {
    let sentinels = Sentinels::start(&sentinel::Options::default());
    sentinels.settled().await;
    bounded(RedisTenant::on(&sentinels), &sentinels.servers).await;
}

#[tokio::test]
async fn no_call_outlasts_its_bounds_in_a_cluster() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    bounded(RedisTenant::on(&cluster), &cluster.nodes).await;
}
