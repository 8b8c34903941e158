//! What the broker makes of each answer of Redis' that is no answer to the question: what is sent again, and
//! what isn't. The table is in `docs/redis.md`.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use testkit::{
    broker::{Broker, request, rules},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Command, Fate, RespProxy},
    rows::*,
};
use token_broker::{
    store::{Condition, Error, Put, PutOutcome, Store, redis::RedisStore},
    tokens::{Precondition, StoreTokens},
    types::{Row, Version},
};

use crate::cluster::cluster;

/// A store behind a proxy that applies `fate` to the first `times` calls, and a counter of the calls.
struct ProxiedStore {
    store: RedisStore,
    calls: Arc<AtomicUsize>,
    _proxy: RespProxy,
}

/// Returns whether a command belongs to a call.
fn is_call(name: &str) -> bool {
    ["GET", "EVALSHA", "EVAL", "DEL"].contains(&name)
}

async fn behind_proxy(
    server: &RedisServer,
    tenant: &RedisTenant,
    times: usize,
    fate: Fate,
) -> ProxiedStore {
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    let (proxy, store) = behind_hook(server, tenant, move |command| {
        let number = is_call(&command.name()).then(|| count.fetch_add(1, Ordering::SeqCst) + 1);
        let meddle = number.is_some_and(|number| number <= times);
        let fate = if meddle { fate.clone() } else { Fate::Forward };
        async move { fate }
    })
    .await;
    ProxiedStore {
        store,
        calls,
        _proxy: proxy,
    }
}

/// Returns a store behind a proxy that asks `hook` about each command.
async fn behind_hook<F>(
    server: &RedisServer,
    tenant: &RedisTenant,
    hook: impl Fn(Command) -> F + Send + Sync + 'static,
) -> (RespProxy, RedisStore)
where
    F: Future<Output = Fate> + Send + 'static,
{
    let proxy = RespProxy::start(server.port(), hook).await;
    // The cluster must announce the proxy's address, or the store would bypass the proxy.
    let announced = [
        "CONFIG",
        "SET",
        "cluster-announce-port",
        &proxy.port().to_string(),
    ];
    tenant.run::<()>(&announced);
    let store = tenant
        .at_port(proxy.port())
        .store_with(Duration::from_secs(10));
    (proxy, store)
}

/// Replaces the call with a command that Redis answers with `error`.
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
        version,
        condition,
        ..put_always(&key, &row)
    };
    store.put(put).await
}

/// A call that Redis refused wasn't done, whatever it is. The store sends it again until it succeeds.
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
        let written = behind_proxy(&server, &tenant, 2, answer(error)).await;
        let outcome = put(&written.store, Condition::Always, Version::random()).await;
        assert_eq!(outcome.unwrap(), PutOutcome::Written, "{error}");
        let calls = written.calls.load(Ordering::SeqCst);
        assert!(calls >= 3, "{error}: refused twice, then done: {calls}");
        let read = behind_proxy(&server, &tenant, 2, answer(error)).await;
        let row = read.store.get(&key("s", "p")).await;
        assert!(row.unwrap().is_some(), "{error}");
        let deleted = behind_proxy(&server, &tenant, 2, answer(error)).await;
        assert_eq!(
            deleted.store.delete_session(&session("s")).await.unwrap(),
            1,
            "{error}"
        );
    }
}

/// If a node reports the slot's new node, all calls follow it.
#[tokio::test]
async fn a_slot_that_has_moved_is_followed() {
    let server = cluster().await;
    let tenant = RedisTenant::on_cluster(&server);
    let error = format!("MOVED 1 127.0.0.1:{}", server.port());
    let proxied = behind_proxy(&server, &tenant, 1, answer(&error)).await;
    for _ in 0..2 {
        let outcome = put(&proxied.store, Condition::Always, Version::random()).await;
        assert_eq!(outcome.unwrap(), PutOutcome::Written);
    }
    let calls = proxied.calls.load(Ordering::SeqCst);
    assert_eq!(calls, 1, "it went to the other node, and so did the next");
}

/// If a node reports where a key is moving to, only the read of that key follows. A script waits, because on the
/// other node it would treat keys that haven't moved yet as missing.
#[tokio::test]
async fn a_slot_that_moves_is_followed_by_reads_of_one_key() {
    let server = cluster().await;
    let error = format!("ASK 1 127.0.0.1:{}", server.port());
    let tenant = RedisTenant::on_cluster(&server);
    let written = behind_proxy(&server, &tenant, 2, answer(&error)).await;
    let outcome = put(&written.store, Condition::Always, Version::random()).await;
    assert_eq!(outcome.unwrap(), PutOutcome::Written);
    assert!(
        written.calls.load(Ordering::SeqCst) >= 3,
        "sent again, here"
    );
    let read = behind_proxy(&server, &tenant, 1, answer(&error)).await;
    assert!(read.store.get(&key("s", "p")).await.unwrap().is_some());
    assert_eq!(
        read.calls.load(Ordering::SeqCst),
        1,
        "it went to the other node"
    );
}

/// A call that Redis answers with this error fails, and isn't sent again.
async fn fails_at_once(server: &RedisServer, tenant: &RedisTenant, error: &str) {
    let proxied = behind_proxy(server, tenant, usize::MAX, answer(error)).await;
    let outcome = put(&proxied.store, Condition::Always, Version::random()).await;
    let unavailable = matches!(outcome, Err(Error::Unavailable(_)));
    assert!(unavailable, "{error}: {outcome:?}");
    assert_eq!(proxied.calls.load(Ordering::SeqCst), 1, "{error}");
}

/// An error that won't go away by itself fails the call at once.
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

/// With a single server, no other server can take the call. The store doesn't wait because the server is a replica,
/// or a primary without replicas.
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

/// If the connection ended, it is unknown whether the call was applied. A read is sent again. A write is sent again
/// only by a caller that knows what it means: a write that names a version is applied at most once.
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
        let exact = behind_proxy(&server, &tenant, 1, fate.clone()).await;
        let broker = Broker::new(exact.store.clone(), rules(tenant.name().clone()));
        let named = Precondition::Version(first);
        let second = broker.put_if(&key, &row, named).await.unwrap();
        let read = behind_proxy(&server, &tenant, 2, fate.clone()).await;
        let row = read.store.get(&key).await.unwrap().unwrap().unwrap();
        assert_eq!(row.version, second, "{fate:?}");
        let session_read = behind_proxy(&server, &tenant, 1, fate.clone()).await;
        assert_eq!(
            session_read
                .store
                .get_session(&session("s"))
                .await
                .unwrap()
                .len(),
            1
        );
        let deleted = behind_proxy(&server, &tenant, 1, fate.clone()).await;
        let broker = Broker::new(deleted.store.clone(), rules(tenant.name().clone()));
        // Only the attempt that finds the version can know that it deleted the row.
        match (&fate, broker.delete(&key, Some(second)).await) {
            (Fate::DropBefore, deleted) => assert!(deleted.unwrap()),
            (_, Err(token_broker::error::Error::OutcomeUnknown(_))) => {}
            (_, deleted) => panic!("{deleted:?}"),
        }
        assert!(tenant.snapshot().0.is_empty(), "{fate:?}");

        // The store itself repeats no write, whatever its condition. It reports that the outcome is unknown.
        let conditions = [
            Condition::Always,
            Condition::Absent,
            Condition::Version(second),
        ];
        for condition in conditions {
            let blind = behind_proxy(&server, &tenant, 1, fate.clone()).await;
            let outcome = put(&blind.store, condition, Version::random()).await;
            let unknown = matches!(outcome, Err(Error::Unknown(_)));
            assert!(unknown, "{fate:?} {condition:?}: {outcome:?}");
            let calls = blind.calls.load(Ordering::SeqCst);
            assert_eq!(calls, 1, "{fate:?} {condition:?}: sent once");
        }
        let session_gone = behind_proxy(&server, &tenant, 1, fate.clone()).await;
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

/// What another caller does between a write whose answer is lost and the next command of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Delete,
    Login,
}

/// A carried token is written once. If the row was deleted or replaced after a write whose answer was lost, the broker
/// neither brings the row back nor takes the newer row's token.
#[tokio::test]
async fn a_write_whose_answer_was_lost_undoes_nothing_that_came_after_it() {
    let single = RedisServer::start();
    carries_once(&single, &RedisTenant::on(&single)).await;
    let node = cluster().await;
    carries_once(&node, &RedisTenant::on_cluster(&node)).await;
}

async fn carries_once(server: &RedisServer, tenant: &RedisTenant) {
    // Counts the calls of the broker under test: 0 while it makes none.
    let calls = Arc::<AtomicUsize>::default();
    let meddling = Arc::<Mutex<Option<BoxFuture<'static, ()>>>>::default();
    let (count, meddler) = (Arc::clone(&calls), Arc::clone(&meddling));
    let hook = move |command: Command| {
        let (count, meddler) = (Arc::clone(&count), Arc::clone(&meddler));
        async move {
            let is_counted = is_call(&command.name()) && count.load(Ordering::SeqCst) > 0;
            match is_counted.then(|| count.fetch_add(1, Ordering::SeqCst)) {
                // The first is the read, and the second the write.
                Some(2) => return Fate::DropAfter,
                Some(3) => {
                    count.store(0, Ordering::SeqCst);
                    let meddling = meddler.lock().unwrap().take();
                    meddling.expect("something to do").await;
                }
                _ => {}
            }
            Fate::Forward
        }
    };
    let (proxy, store) = behind_hook(server, tenant, hook).await;
    let broker = Broker::new(store, rules(tenant.name().clone()));
    let store = tenant.at_port(proxy.port()).store();
    let other = Broker::new(store, rules(tenant.name().clone()));
    let (key, silent) = (key("s", "p"), row("u", "silent"));
    let silent = Row {
        refresh_token: None,
        ..silent
    };
    for (between, expected) in [
        (Between::Nothing, Some("refresh-old")),
        (Between::Delete, None),
        (Between::Login, Some("refresh-new")),
    ] {
        other.put(&key, &row("u", "old")).await;
        let (meddler, at) = (other.clone(), key.clone());
        *meddling.lock().unwrap() = Some(Box::pin(async move {
            match between {
                Between::Nothing => {}
                Between::Delete => _ = meddler.remove(&at).await,
                Between::Login => _ = meddler.put(&at, &row("u", "new")).await,
            }
        }));
        calls.store(1, Ordering::SeqCst);
        let request = StoreTokens {
            carry_forward: true,
            ..request(&key, &silent)
        };
        let stored = broker.store(request).await;
        assert_eq!(calls.load(Ordering::SeqCst), 0, "the answer was lost");
        let left = other.read(&key).await;
        let left = left.map(|stored| refresh_token(&stored.row).to_owned());
        assert_eq!(left.as_deref(), expected, "{between:?}: {stored:?}");
        match stored {
            Ok(_) => assert_eq!(between, Between::Nothing),
            Err(token_broker::error::Error::OutcomeUnknown(_)) => {
                assert_ne!(between, Between::Nothing);
            }
            Err(error) => panic!("{between:?}: {error:?}"),
        }
    }
}

/// Redis answered something that no script answers, so that it may have done anything.
#[tokio::test]
async fn a_write_with_an_odd_answer_may_have_been_applied() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let odd = ["ECHO", "odd"].map(|arg| arg.as_bytes().to_vec()).to_vec();
    let odd = behind_proxy(&server, &tenant, usize::MAX, Fate::Replace(odd)).await;
    let unknown = |error: Error| matches!(error, Error::Unknown(_));
    let (key, version) = (key("s", "p"), Version::random());
    let stored = put(&odd.store, Condition::Always, version).await;
    assert!(stored.is_err_and(unknown));
    assert!(odd.store.delete(&key, None).await.is_err_and(unknown));
    let session = odd.store.delete_session(&key.session).await;
    assert!(session.is_err_and(unknown));
}

/// Two nodes may each believe that the other one has the keys of a slot that moves.
#[tokio::test]
async fn nodes_that_point_at_each_other_are_not_asked_without_a_pause() {
    let server = cluster().await;
    let tenant = RedisTenant::on_cluster(&server);
    let port = Arc::new(AtomicUsize::new(0));
    let calls = Arc::<AtomicUsize>::default();
    let (own, count) = (Arc::clone(&port), Arc::clone(&calls));
    let (proxy, store) = behind_hook(&server, &tenant, move |command| {
        let fate = if command.name() == "GET" {
            count.fetch_add(1, Ordering::SeqCst);
            answer(&format!("ASK 1 127.0.0.1:{}", own.load(Ordering::SeqCst)))
        } else {
            Fate::Forward
        };
        async move { fate }
    })
    .await;
    port.store(proxy.port().into(), Ordering::SeqCst);
    assert!(store.get(&key("s", "p")).await.is_err());
    let calls = calls.load(Ordering::SeqCst);
    assert!((5..200).contains(&calls), "{calls} in two seconds");
}
