//! Tests that a session is read whole, whether its providers were guessed or not, and what it costs.

use std::sync::Arc;

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
};
use token_broker::tokens::Binding;
use tokio::sync::Notify;

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

/// The request for the guessed rows is on its way while others change the session. The answer tells of all rows that are
/// there when it arrives, guessed or not.
#[tokio::test]
async fn rows_that_come_and_go_between_guess_and_answer_are_told_of() {
    let (server, tenant, _) = start().await;
    let (on_its_way, arrives) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hook = (Arc::clone(&on_its_way), Arc::clone(&arrives));
    let proxy = RespProxy::start(server.port(), move |command| {
        let (on_its_way, arrives) = hook.clone();
        async move {
            if command.name() == "MULTI" {
                on_its_way.notify_one();
                arrives.notified().await;
            }
            Fate::Forward
        }
    })
    .await;
    let (reader, writer) = (tenant.at_port(proxy.port()).broker(), tenant.broker());
    for provider in ["known", "gone"] {
        writer.put(&key("s", provider), &row("u", "old")).await;
    }
    // By the script, because nothing is guessed yet.
    assert_eq!(reader.rows_of(&session("s")).await.len(), 2);

    let reading = tokio::spawn(async move { reader.rows_of(&session("s")).await });
    on_its_way.notified().await;
    for provider in ["known", "new"] {
        writer.put(&key("s", provider), &row("u", "new")).await;
    }
    assert!(writer.remove(&key("s", "gone")).await);
    arrives.notify_one();
    let rows = reading.await.unwrap();
    let tokens = rows.iter().map(|(provider, stored)| {
        let token = stored.row.access_token.as_ref().unwrap();
        (provider.as_str(), token.expose().to_owned())
    });
    let expected = ["known", "new"].map(|provider| (provider, "new".to_owned()));
    assert_eq!(tokens.collect::<Vec<_>>(), expected);
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
    let read = broker
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await;
    assert_eq!(read.unwrap().unreadable, [provider("known")]);

    let index = tenant.key("upstream:idx:s");
    tenant.run::<()>(&["DEL", &index]);
    tenant.run::<()>(&["RPUSH", &index, "no index"]);
    let read = broker
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await;
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
            let rows = broker
                .get_all(&session("s"), &Binding::default(), &Default::default())
                .await;
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
