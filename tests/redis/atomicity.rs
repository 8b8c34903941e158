//! Tests what a call costs: every write is one atomic step, `GetAll` is one round trip, and scripts
//! are sent by their hash.

use std::time::Duration;

use testkit::{redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::{
    store::{Put, Store},
    tokens::Precondition,
    types::{Row, Version},
};

use crate::monitor::{Monitor, sent};

/// How a session is read, in one packet.
const GUESSED: [&str; 5] = ["MULTI", "SMEMBERS", "MGET", "EXISTS", "EXEC"];

/// A call, and the commands that it sends.
macro_rules! sends {
    ($server:ident, $call:expr, $expected:expr) => {
        let monitor = Monitor::start(&$server);
        $call;
        let commands = monitor.finish();
        assert_eq!(sent(&commands), $expected, "{}", stringify!($call));
    };
}

#[tokio::test]
async fn every_call_is_one_step() {
    let server = RedisServer::start();
    let broker = RedisTenant::on(&server).broker();
    let (key, other) = (key("s", "p"), key("t", "p"));
    let (row, silent) = (
        row("u", "at"),
        Row {
            refresh_token: None,
            ..row("u", "at")
        },
    );
    // Redis knows the scripts now, and the connections are open.
    for key in [&key, &other] {
        broker.put(key, &row).await;
        broker.rows_of(&key.session).await;
        broker.remove(key).await;
        broker.delete_all(&key.session).await.unwrap();
    }

    sends!(server, broker.put(&key, &row).await, ["EVALSHA"]);
    sends!(
        server,
        broker
            .put(
                &key,
                &Row {
                    user_id: Some(user("v")),
                    ..row.clone()
                }
            )
            .await,
        ["EVALSHA"]
    );
    let version = broker.put(&key, &row).await;
    let on = Precondition::Version(version);
    sends!(
        server,
        broker.put_if(&key, &row, on).await.unwrap(),
        ["EVALSHA"]
    );
    sends!(server, broker.read(&key).await, ["GET"]);
    sends!(server, broker.rows_of(&key.session).await, GUESSED);
    sends!(
        server,
        broker.put_carrying(&key, &silent).await,
        ["GET", "EVALSHA"]
    );
    sends!(server, broker.remove(&key).await, ["EVALSHA"]);
    sends!(server, broker.remove(&key).await, ["EVALSHA"]);
    sends!(
        server,
        broker.delete_all(&key.session).await.unwrap(),
        ["EVALSHA"]
    );
}

/// Each command that a script runs costs Redis a microsecond or two, as much as all that the script computes.
#[tokio::test]
async fn a_write_needs_few_commands() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let store = tenant.store();
    // The longest head that a row of a broker can have.
    for user in ["u".to_owned(), "u".repeat(512)] {
        let (key, row) = (key("s", "p"), row(&user, "at"));
        let put = async || {
            let put = Put {
                version: Version::from_number((1 << 52) + 1).unwrap(),
                keep_for: Some(Duration::from_secs(60)),
                ..put_always(&key, &row)
            };
            store.put(put).await.unwrap();
        };
        // Redis knows the scripts now.
        put().await;
        store.delete(&key, None).await.unwrap();
        for (what, most) in [("new", 12), ("replaced", 9), ("deleted", 8)] {
            let monitor = Monitor::start(&server);
            match what {
                "deleted" => _ = store.delete(&key, None).await.unwrap(),
                _ => put().await,
            }
            let mut commands = monitor.finish();
            assert_eq!(sent(&commands), ["EVALSHA"], "{what}");
            // A long head is read in two steps. Before Redis 7, two commands look at an expiry and extend it.
            commands.retain(|command| command.in_script && command.verb != "PTTL");
            let most = most + usize::from(user.len() > 1);
            assert!(commands.len() <= most, "{what}: {commands:?}");
        }
    }
}

/// The number of rows in the session doesn't matter.
#[tokio::test]
async fn get_all_of_a_full_session_is_one_round_trip() {
    let server = RedisServer::start();
    let broker = RedisTenant::on(&server).broker();
    for number in 0..64 {
        broker
            .put(&key("s", &format!("p{number}")), &row("u", "at"))
            .await;
    }
    broker.rows_of(&session("s")).await;
    sends!(
        server,
        assert_eq!(broker.rows_of(&session("s")).await.len(), 64),
        GUESSED
    );
}

/// A server that doesn't know the scripts, as after a restart or a failover, gets the text of each
/// script once.
#[tokio::test]
async fn scripts_are_sent_whole_only_where_they_are_not_known() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let (broker, key) = (tenant.broker(), key("s", "p"));
    for _ in 0..2 {
        tenant.run::<()>(&["SCRIPT", "FLUSH"]);
        sends!(
            server,
            broker.put(&key, &row("u", "at")).await,
            ["EVALSHA", "EVAL"]
        );
        sends!(server, broker.put(&key, &row("u", "at")).await, ["EVALSHA"]);
        // It hasn't seen the provider yet.
        let other = tenant.broker();
        sends!(
            server,
            other.rows_of(&key.session).await,
            ["EVALSHA", "EVAL"]
        );
    }
}

/// Each script reads at most a bounded batch of a user's rows, so that none blocks Redis for long.
#[tokio::test]
async fn delete_user_goes_in_bounded_batches() {
    const ROWS: usize = 700;
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    for number in 0..ROWS {
        broker
            .put(&key(&format!("s{number}"), "p"), &row("u", "at"))
            .await;
    }
    let monitor = Monitor::start(&server);
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(deleted.rows, ROWS as u64);
    let commands = monitor.finish();
    let calls = commands.split_inclusive(|command| !command.in_script);
    let rows = calls.map(|call| {
        let reads = call.iter().filter(|c| c.in_script && c.verb == "GETRANGE");
        reads.count()
    });
    let rows: Vec<_> = rows.filter(|rows| *rows > 0).collect();
    assert_eq!(rows.iter().sum::<usize>(), ROWS);
    assert!(rows.iter().all(|rows| *rows <= 256), "{rows:?}");
}
