//! Tests that a session is read whole, whether its providers were guessed or not, and what it costs.

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::tokens::Binding;

use crate::monitor::{Monitor, sent};

const GUESSED: [&str; 5] = ["MULTI", "SMEMBERS", "MGET", "EXISTS", "EXEC"];

/// A server of its own, a tenant there, and a broker that has read a session with the provider `known`.
async fn start() -> (
    RedisServer,
    RedisTenant,
    testkit::broker::Broker<impl token_broker::store::Store>,
) {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    broker.put(&key("first", "known"), &row("u", "at")).await;
    broker.rows_of(&session("first")).await;
    (server, tenant, broker)
}

macro_rules! commands {
    ($server:ident, $call:expr) => {{
        let monitor = Monitor::start(&$server);
        let outcome = $call;
        let commands = monitor.finish();
        let sent: Vec<_> = sent(&commands)
            .iter()
            .map(|verb| verb.to_string())
            .collect();
        (outcome, sent)
    }};
}

#[tokio::test]
async fn a_session_with_known_providers_is_read_without_a_script() {
    let (server, tenant, broker) = start().await;
    broker.put(&key("s", "known"), &row("u", "at")).await;
    let (rows, commands) = commands!(server, broker.rows_of(&session("s")).await);
    assert_eq!(
        (rows.len(), commands),
        (1, GUESSED.map(str::to_owned).to_vec())
    );

    // A member whose row is gone, and one of another program.
    for member in [tenant.key("upstream:s:gone"), "foreign".to_owned()] {
        tenant.run::<()>(&["SADD", &tenant.key("upstream:idx:s"), &member]);
    }
    broker.put(&key("t", "gone"), &row("u", "at")).await;
    broker.rows_of(&session("t")).await;
    let (rows, commands) = commands!(server, broker.rows_of(&session("s")).await);
    assert_eq!(
        (rows.len(), commands),
        (1, GUESSED.map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn a_session_with_an_unknown_provider_is_read_whole() {
    let (server, _tenant, broker) = start().await;
    for provider in ["known", "new"] {
        broker.put(&key("s", provider), &row("u", "at")).await;
    }
    for scripts in [1, 0] {
        let (rows, commands) = commands!(server, broker.rows_of(&session("s")).await);
        assert_eq!(rows.len(), 2);
        let found = commands.iter().filter(|verb| verb.starts_with("EVAL"));
        assert_eq!(found.count(), scripts, "{commands:?}");
    }
}

/// A row that no index names isn't a row of the session, though it was guessed.
#[tokio::test]
async fn a_row_outside_of_the_index_is_not_in_the_session() {
    let (_server, tenant, broker) = start().await;
    broker.put(&key("s", "known"), &row("u", "at")).await;
    tenant.run::<()>(&["DEL", &tenant.key("upstream:idx:s")]);
    assert!(broker.rows_of(&session("s")).await.is_empty());
}

#[tokio::test]
async fn a_guessed_key_of_another_type_is_unreadable() {
    let (_server, tenant, broker) = start().await;
    broker.put(&key("s", "known"), &row("u", "at")).await;
    let row = tenant.key("upstream:s:known");
    tenant.run::<()>(&["DEL", &row]);
    tenant.run::<()>(&["RPUSH", &row, "no row"]);
    let read = broker.get_all(&session("s"), &Binding::default()).await;
    assert_eq!(read.unwrap().unreadable, [provider("known")]);

    let index = tenant.key("upstream:idx:s");
    tenant.run::<()>(&["DEL", &index]);
    tenant.run::<()>(&["RPUSH", &index, "no index"]);
    let read = broker.get_all(&session("s"), &Binding::default()).await;
    assert!(
        matches!(read, Err(token_broker::error::Error::IndexUnreadable)),
        "{read:?}"
    );
}

/// Connections are shared, so that none may be left inside of a transaction.
#[tokio::test]
async fn without_transactions_sessions_are_read_all_the_same() {
    for refused in ["-multi", "-exec", "-smembers"] {
        let (server, _tenant, broker) = start().await;
        broker.put(&key("s", "known"), &row("u", "at")).await;
        server
            .ask::<()>(&["ACL", "SETUSER", "default", refused])
            .unwrap();
        for _ in 0..4 {
            let rows = broker.get_all(&session("s"), &Binding::default()).await;
            // The script, too, needs SMEMBERS.
            assert_eq!(rows.is_ok(), refused != "-smembers", "{refused}: {rows:?}");
            assert!(broker.read(&key("s", "known")).await.is_some(), "{refused}");
        }
        server
            .ask::<()>(&["ACL", "SETUSER", "default", "+@all"])
            .unwrap();
        assert_eq!(broker.rows_of(&session("s")).await.len(), 1);
    }
}
