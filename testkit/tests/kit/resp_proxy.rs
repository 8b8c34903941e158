//! Tests that each fate of a command has the effect that the proxy documents: on Redis, on the
//! client, and on the other connections.

use redis::aio::MultiplexedConnection;
use testkit::{
    redis_server::RedisServer,
    resp_proxy::{Fate, RespProxy},
};

/// Starts a proxy in front of `server` that applies this fate to `SET doomed`.
async fn proxy(server: &RedisServer, fate: Fate) -> RespProxy {
    RespProxy::start(server.port(), move |command| {
        let doomed = command.args.get(1).is_some_and(|arg| arg == b"doomed");
        let fate = if doomed { fate.clone() } else { Fate::Forward };
        async move { fate }
    })
    .await
}

async fn connect(proxy: &RespProxy) -> MultiplexedConnection {
    let client = redis::Client::open(("127.0.0.1", proxy.port())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn set(connection: &mut MultiplexedConnection, key: &str) -> bool {
    let set = redis::cmd("SET").arg(key).arg("there").to_owned();
    set.exec_async(connection).await.is_ok()
}

/// Returns what happens to a command that meets `fate`: whether the client gets an answer, whether
/// Redis executes the command, and whether another connection still works afterwards.
async fn outcome(fate: Fate) -> [bool; 3] {
    let server = RedisServer::start();
    let proxy = proxy(&server, fate).await;
    let (mut one, mut other) = (connect(&proxy).await, connect(&proxy).await);
    assert!(set(&mut one, "before").await && set(&mut other, "before").await);
    let answered = set(&mut one, "doomed").await;
    if proxy.was_cut() {
        proxy.cut().await;
    }
    let done: bool = server.ask(&["EXISTS", "doomed"]).unwrap();
    let others_work = set(&mut other, "after").await;
    assert_eq!(others_work, !proxy.was_cut(), "a cut ends all connections");
    [answered, done, others_work]
}

#[tokio::test]
async fn what_is_forwarded_is_done_and_answered() {
    assert_eq!(outcome(Fate::Forward).await, [true, true, true]);
}

#[tokio::test]
async fn what_is_dropped_ends_its_own_connection() {
    assert_eq!(outcome(Fate::DropBefore).await, [false, false, true]);
    assert_eq!(outcome(Fate::DropAfter).await, [false, true, true]);
}

#[tokio::test]
async fn what_is_cut_ends_all_connections() {
    assert_eq!(outcome(Fate::CutBefore).await, [false, false, false]);
    assert_eq!(outcome(Fate::CutAfter).await, [false, true, false]);
}

#[tokio::test]
async fn a_proxy_that_was_cut_accepts_no_connection() {
    let server = RedisServer::start();
    let proxy = proxy(&server, Fate::CutBefore).await;
    assert!(!set(&mut connect(&proxy).await, "doomed").await);
    proxy.cut().await;
    let client = redis::Client::open(("127.0.0.1", proxy.port())).unwrap();
    let refused = client.get_multiplexed_async_connection().await;
    assert!(
        refused.is_err(),
        "a proxy that was cut accepts a connection"
    );
}

#[tokio::test]
async fn redis_gets_what_replaces_a_command() {
    let server = RedisServer::start();
    let instead = ["SET", "instead", "there"].map(Into::into).to_vec();
    let proxy = proxy(&server, Fate::Replace(instead)).await;
    assert!(set(&mut connect(&proxy).await, "doomed").await);
    let done = |key: &str| server.ask::<bool>(&["EXISTS", key]).unwrap();
    assert!(done("instead") && !done("doomed"));
}

/// Commands that open a connection have no number, because their order isn't predictable.
#[tokio::test]
async fn commands_are_counted_over_all_connections() {
    let server = RedisServer::start();
    let proxy = proxy(&server, Fate::Forward).await;
    for number in 1..=3 {
        assert!(set(&mut connect(&proxy).await, "key").await);
        assert_eq!(proxy.commands(), number);
    }
}
