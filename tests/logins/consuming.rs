//! `Consume` by a thousand callers at once.

use testkit::{redis_server::RedisServer, waiting::until};
use tonic::Status;

use crate::{
    CROWD, PREFIX,
    brokers::{Brokers, PATIENT, consume, counts, pending, tally},
    flaws::{Flaw, planted},
};

/// A thousand callbacks of one login arrive at once. Returns what they were answered.
pub async fn callbacks(
    brokers: &Brokers,
    servers: &[&RedisServer],
    state: &'static str,
) -> Vec<Result<String, Status>> {
    brokers
        .one(0)
        .pending()
        .create(pending(state, "c"))
        .await
        .unwrap();
    let callback = |_, channel| async move { consume(channel, state, None).await };
    brokers.crowd(servers, CROWD, callback).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_callbacks_one_gets_the_login() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &PATIENT).await;
    let answers = callbacks(&brokers, &[&server], "x").await;
    let due = counts([("OK", 1), ("STATE_NOT_FOUND", CROWD - 1)]);
    assert_eq!(tally(&answers), due);
    let won: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(won, ["session of x"]);
}

/// The control: where a step looks first and takes afterwards, several get it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_before_the_taking_would_have_been_noticed() {
    let server = RedisServer::start();
    let proxy = planted(&server, Flaw::ConsumeLooksFirst).await;
    let brokers = Brokers::behind(proxy.port(), &PATIENT).await;
    let won = tally(&callbacks(&brokers, &[&server], "x").await)["OK"];
    println!("{won} callers got one authorization");
    assert!(won > 1);
}

/// A callback for another provider burns it, and a thousand right ones find nothing. Returns what they were answered.
async fn after_a_misrouted_callback(brokers: &Brokers) -> Vec<Result<String, Status>> {
    let mut client = brokers.one(0).pending();
    client.create(pending("burnt", "c")).await.unwrap();
    let wrong = [consume(brokers.one(1).channel(), "burnt", Some("evil")).await];
    assert_eq!(tally(&wrong), counts([("PROVIDER_MISMATCH", 1)]));
    let callback = |_, channel| async move { consume(channel, "burnt", Some("okta")).await };
    brokers.rush(CROWD, callback).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misrouted_callback_burns_it_for_everybody() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &PATIENT).await;
    let late = after_a_misrouted_callback(&brokers).await;
    assert_eq!(tally(&late), counts([("STATE_NOT_FOUND", CROWD)]));

    // Right and wrong ones at once: one of them all gets it or burns it.
    for state in ["both", "both again", "and again"] {
        let mut client = brokers.one(0).pending();
        client.create(pending(state, "c")).await.unwrap();
        let answers = brokers
            .crowd(&[&server], CROWD, |number, channel| async move {
                consume(channel, state, Some(["okta", "evil"][number / 3 % 2])).await
            })
            .await;
        let mut told = tally(&answers);
        assert_eq!(told.remove("STATE_NOT_FOUND"), Some(CROWD - 1));
        let won = told.pop_first().unwrap();
        assert!(won == ("OK".to_owned(), 1) || won == ("PROVIDER_MISMATCH".to_owned(), 1));
        let late = [consume(brokers.one(2).channel(), state, Some("okta")).await];
        assert_eq!(tally(&late), counts([("STATE_NOT_FOUND", 1)]));
    }
}

/// The control: where the misrouted callback leaves it, the right one gets it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misrouted_callback_that_burns_nothing_would_have_been_noticed() {
    let server = RedisServer::start();
    let proxy = planted(&server, Flaw::ConsumeLeavesIt).await;
    let brokers = Brokers::behind(proxy.port(), &PATIENT).await;
    let late = after_a_misrouted_callback(&brokers).await;
    assert_eq!(tally(&late), counts([("OK", CROWD)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_nobody_gets() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &PATIENT).await;
    let mut short = pending("x", "c");
    short.ttl = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    brokers.one(0).pending().create(short).await.unwrap();
    let key = format!("{PREFIX}pending:x");
    until("it has expired", async || {
        !server.ask::<bool>(&["EXISTS", &key]).unwrap()
    })
    .await;
    let callback = |_, channel| async { consume(channel, "x", None).await };
    let late = brokers.rush(CROWD, callback).await;
    assert_eq!(tally(&late), counts([("STATE_NOT_FOUND", CROWD)]));
}
