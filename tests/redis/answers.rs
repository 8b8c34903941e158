//! What the broker makes of each answer of Redis' that is no answer to the question: what is sent again, and
//! what isn't. The table is in `docs/operations.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{
    broker::{Broker, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
};
use token_broker::{
    store::{Condition, Error, Put, PutOutcome, Store, redis::RedisStore},
    tokens::Precondition,
    types::Version,
};

use crate::cluster::cluster;

/// A store behind a proxy that treats the first `times` calls as `fate` says, and a count of the calls.
struct Stage {
    store: RedisStore,
    calls: Arc<AtomicUsize>,
    _proxy: RespProxy,
}

/// What a call sends.
fn is_call(name: &str) -> bool {
    ["GET", "EVALSHA", "EVAL", "DEL"].contains(&name)
}

async fn stage(server: &RedisServer, tenant: &RedisTenant, times: usize, fate: Fate) -> Stage {
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    let proxy = RespProxy::start(server.port(), move |command| {
        let number = is_call(&command.name()).then(|| count.fetch_add(1, Ordering::SeqCst) + 1);
        let meddle = number.is_some_and(|number| number <= times);
        let fate = if meddle { fate.clone() } else { Fate::Forward };
        async move { fate }
    })
    .await;
    // The cluster is to name the proxy, or it would be gone around.
    let announced = [
        "CONFIG",
        "SET",
        "cluster-announce-port",
        &proxy.port().to_string(),
    ];
    tenant.run::<()>(&announced);
    let store = tenant
        .at_port(proxy.port())
        .store_with(Duration::from_secs(2));
    Stage {
        store,
        calls,
        _proxy: proxy,
    }
}

/// The call is replaced by one that Redis answers with `error`.
fn answer(error: &str) -> Fate {
    let script = format!("return redis.error_reply('{error}')");
    let command = ["EVAL", script.as_str(), "0"];
    Fate::Replace(command.iter().map(|arg| arg.as_bytes().to_vec()).collect())
}

async fn put(
    store: &RedisStore,
    condition: Condition,
    version: Version,
) -> Result<PutOutcome, Error> {
    let (key, row) = (key("s", "p"), row("u", "at"));
    let put = Put {
        key: &key,
        row: &row,
        version,
        keep_for: None,
        condition,
        source: None,
        max_providers: 64,
    };
    store.put(put).await
}

/// What Redis refused was not done, whatever it is: it is sent again until it is.
#[tokio::test]
async fn what_was_surely_not_done_is_done_a_little_later() {
    let server = cluster().await;
    for error in [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script",
        "READONLY You can not write against a read only replica.",
        "MASTERDOWN Link with MASTER is down",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR Script attempted to access a non local key in a cluster node",
    ] {
        let tenant = RedisTenant::on_cluster(&server);
        let written = stage(&server, &tenant, 2, answer(error)).await;
        let outcome = put(&written.store, Condition::Always, Version::random()).await;
        assert_eq!(outcome.unwrap(), PutOutcome::Written, "{error}");
        let calls = written.calls.load(Ordering::SeqCst);
        assert!(calls >= 3, "{error}: refused twice, then done: {calls}");
        let read = stage(&server, &tenant, 2, answer(error)).await;
        let row = read.store.get(&key("s", "p")).await;
        assert!(row.unwrap().is_some(), "{error}");
        let deleted = stage(&server, &tenant, 2, answer(error)).await;
        assert_eq!(
            deleted.store.delete_session(&session("s")).await.unwrap(),
            1,
            "{error}"
        );
    }
}

/// A node that says where the slot is now is believed, by all calls.
#[tokio::test]
async fn a_slot_that_has_moved_is_followed() {
    let server = cluster().await;
    let tenant = RedisTenant::on_cluster(&server);
    let error = format!("MOVED 1 127.0.0.1:{}", server.port());
    let stage = stage(&server, &tenant, 1, answer(&error)).await;
    for _ in 0..2 {
        let outcome = put(&stage.store, Condition::Always, Version::random()).await;
        assert_eq!(outcome.unwrap(), PutOutcome::Written);
    }
    let calls = stage.calls.load(Ordering::SeqCst);
    assert_eq!(calls, 1, "it went to the other node, and so did the next");
}

/// One that says where a key is on its way to is believed for that key. A script waits: over there it would
/// take keys that are still here for keys that don't exist.
#[tokio::test]
async fn a_slot_that_moves_is_followed_by_reads_of_one_key() {
    let server = cluster().await;
    let error = format!("ASK 1 127.0.0.1:{}", server.port());
    let tenant = RedisTenant::on_cluster(&server);
    let written = stage(&server, &tenant, 2, answer(&error)).await;
    let outcome = put(&written.store, Condition::Always, Version::random()).await;
    assert_eq!(outcome.unwrap(), PutOutcome::Written);
    assert!(
        written.calls.load(Ordering::SeqCst) >= 3,
        "sent again, here"
    );
    let read = stage(&server, &tenant, 1, answer(&error)).await;
    assert!(read.store.get(&key("s", "p")).await.unwrap().is_some());
    assert_eq!(
        read.calls.load(Ordering::SeqCst),
        1,
        "it went to the other node"
    );
}

/// A call that Redis answers so fails, and isn't sent again.
async fn fails_at_once(server: &RedisServer, tenant: &RedisTenant, error: &str) {
    let stage = stage(server, tenant, usize::MAX, answer(error)).await;
    let outcome = put(&stage.store, Condition::Always, Version::random()).await;
    let unavailable = matches!(outcome, Err(Error::Unavailable(_)));
    assert!(unavailable, "{error}: {outcome:?}");
    assert_eq!(stage.calls.load(Ordering::SeqCst), 1, "{error}");
}

/// What won't pass by itself fails at once.
#[tokio::test]
async fn what_an_operator_has_to_mend_is_not_sent_again() {
    let server = cluster().await;
    for error in [
        "OOM command not allowed when used memory > maxmemory.",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOPERM this user has no permissions",
        "ERR something else",
    ] {
        fails_at_once(&server, &RedisTenant::on_cluster(&server), error).await;
    }
}

/// With one server, nobody else will do it: a replica and a primary without replicas are no reason to wait.
#[tokio::test]
async fn a_single_server_is_not_waited_for() {
    let server = RedisServer::start();
    for error in [
        "READONLY You can not write against a read only replica.",
        "NOREPLICAS Not enough good replicas to write.",
    ] {
        fails_at_once(&server, &RedisTenant::on(&server), error).await;
    }
}

/// Whether a call was applied whose connection ended is not known. A read is sent again. A write is sent again
/// only by who knows what it means: one that names a version, which is applied once.
#[tokio::test]
async fn what_may_have_been_done_is_sent_again_only_where_it_cannot_be_done_twice() {
    let server = RedisServer::start();
    for fate in [Fate::DropBefore, Fate::DropAfter] {
        let tenant = RedisTenant::on(&server);
        let first = Version::random();
        put(&tenant.store(), Condition::Always, first)
            .await
            .unwrap();
        let (key, row) = (key("s", "p"), row("u", "at"));
        let exact = stage(&server, &tenant, 1, fate.clone()).await;
        let broker = Broker::new(exact.store.clone(), rules(tenant.name().clone()));
        let named = Precondition::Version(first);
        let second = broker.put_if(&key, &row, named).await.unwrap();
        let read = stage(&server, &tenant, 2, fate.clone()).await;
        let row = read.store.get(&key).await.unwrap().unwrap().unwrap();
        assert_eq!(row.version, second, "{fate:?}");
        let session_read = stage(&server, &tenant, 1, fate.clone()).await;
        assert_eq!(
            session_read
                .store
                .get_session(&session("s"))
                .await
                .unwrap()
                .len(),
            1
        );
        let deleted = stage(&server, &tenant, 1, fate.clone()).await;
        let broker = Broker::new(deleted.store.clone(), rules(tenant.name().clone()));
        broker.delete(&key, Some(second)).await.unwrap();
        assert!(tenant.snapshot().0.is_empty(), "{fate:?}");

        // The store itself repeats no write, whatever its condition: it says that it doesn't know.
        let conditions = [
            Condition::Always,
            Condition::Absent,
            Condition::Version(second),
        ];
        for condition in conditions {
            let blind = stage(&server, &tenant, 1, fate.clone()).await;
            let outcome = put(&blind.store, condition, Version::random()).await;
            let unknown = matches!(outcome, Err(Error::Unknown(_)));
            assert!(unknown, "{fate:?} {condition:?}: {outcome:?}");
            let calls = blind.calls.load(Ordering::SeqCst);
            assert_eq!(calls, 1, "{fate:?} {condition:?}: sent once");
        }
        let session_gone = stage(&server, &tenant, 1, fate.clone()).await;
        assert!(
            session_gone
                .store
                .delete_session(&session("s"))
                .await
                .is_err(),
            "{fate:?}"
        );
        assert_eq!(
            session_gone.calls.load(Ordering::SeqCst),
            1,
            "{fate:?}: sent once"
        );
    }
}
