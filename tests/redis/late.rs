//! Tests that a write isn't carried out after the broker has given it up, however long the way to Redis takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
    waiting::until,
};
use token_broker::store::{Condition, Error, Put, PutOutcome, Store, redis::RedisStore};
use tokio::sync::watch;

/// How long the broker waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A store whose writes are under way until the test says that they arrive.
async fn slow(
    server: &RedisServer,
    tenant: &RedisTenant,
) -> (RedisStore, watch::Sender<bool>, RespProxy) {
    let (arrive, arrives) = watch::channel(false);
    let proxy = RespProxy::start(server.port(), move |command| {
        let mut arrives = arrives.clone();
        async move {
            if command.name().starts_with("EVAL") {
                arrives.wait_for(|&arrives| arrives).await.ok();
            }
            Fate::Forward
        }
    })
    .await;
    let timeout = humantime::format_duration(TIMEOUT).to_string();
    let slow = tenant.at_port(proxy.port()).with("redis-timeout", &timeout);
    (slow.store(), arrive, proxy)
}

async fn put(store: &RedisStore, condition: Condition) -> Result<PutOutcome, Error> {
    let (key, row) = (key("s", "p"), row("u", "late"));
    let put = Put {
        condition,
        ..put_always(&key, &row)
    };
    store.put(put).await
}

/// Makes a call whose write is late, changes the row meanwhile, and returns whether the change is still there when
/// the write has arrived.
macro_rules! undoes_nothing {
    ($name:literal, |$store:ident| $call:expr) => {{
        let server = RedisServer::start();
        let tenant = RedisTenant::on(&server);
        let broker = tenant.broker();
        // Redis knows the scripts.
        broker.remove(&key("other", "p")).await;
        broker.delete_all(&session("other")).await.unwrap();
        broker.put(&key("s", "p"), &row("u", "first")).await;
        let ($store, arrive, _proxy) = slow(&server, &tenant).await;
        // The connections are open.
        $store.get(&key("s", "p")).await.unwrap();
        let outcome = $call.await;
        assert!(
            matches!(outcome, Err(Error::Unknown(_))),
            "{}: {outcome:?}",
            $name
        );
        broker.put(&key("s", "p"), &row("u", "second")).await;
        let newer = tenant.snapshot();
        arrive.send_replace(true);
        // What is asked now is answered after it.
        let stats = || server.ask::<String>(&["INFO", "errorstats"]).unwrap();
        until("the write is answered", || async {
            stats().contains("errorstat_LATE")
        })
        .await;
        assert_eq!(tenant.snapshot(), newer, "{}", $name);
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_given_up_is_not_carried_out() {
    let all = session("s");
    undoes_nothing!("Store", |store| put(&store, Condition::Always));
    undoes_nothing!("Delete", |store| store.delete(&key("s", "p"), None));
    undoes_nothing!("Delete all", |store| store.delete_session(&all));
}

/// The clocks of servers are set, and drift. Whoever is told that a write came too late sends it again.
#[tokio::test]
async fn a_clock_that_was_set_delays_nothing() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let ahead = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ahead);
    let proxy = RespProxy::start(server.port(), move |command| {
        let is_first = command.name() == "EVALSHA" && count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            // A day later than the broker believes.
            let answer = "local time = redis.call('TIME') \
                return redis.error_reply('LATE ' .. string.format('%.0f', (time[1] + 86400) * 1000000 + time[2]))";
            match is_first {
                true => Fate::Replace(["EVAL", answer, "0"].map(|arg| arg.as_bytes().to_vec()).to_vec()),
                false => Fate::Forward,
            }
        }
    })
    .await;
    let store = tenant.at_port(proxy.port()).store();
    assert!(matches!(
        put(&store, Condition::Always).await,
        Ok(PutOutcome::Written)
    ));
    assert!(ahead.load(Ordering::SeqCst) > 1);
}
