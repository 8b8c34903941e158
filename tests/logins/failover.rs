//! Logins are taken while another Redis takes over.

use std::{collections::BTreeMap, time::Duration};

use testkit::{
    sentinel::{Options, Sentinels},
    waiting::{found, until},
};
use token_broker::proto::v1::pending_authorizations_client::PendingAuthorizationsClient;
use tonic::{Code, Status};

use crate::brokers::{Brokers, consume, pending};

/// How many logins wait. Each has three callbacks, one at each broker.
const LOGINS: usize = 333;

async fn brokers(sentinels: &Sentinels, more: &[&str]) -> Brokers {
    sentinels.settled().await;
    let brokers = Brokers::on(sentinels, more).await;
    let begun = brokers.rush(LOGINS, |number, channel| async move {
        let client = PendingAuthorizationsClient::new(channel);
        let request = pending(&format!("s{number}"), "c");
        // On a machine under load Redis may take longer than the broker waits. What was begun is then there.
        until("the login is begun", async || {
            let answer = client.clone().create(request.clone()).await;
            answer.map_or_else(|status| status.code() == Code::AlreadyExists, |_| true)
        })
        .await;
    });
    begun.await;
    brokers
}

/// All callbacks of all logins arrive. Returns how often each login was given to somebody.
async fn all_callbacks(brokers: &Brokers) -> BTreeMap<usize, usize> {
    let answers: Vec<Result<String, Status>> = brokers
        .rush(3 * LOGINS, |number, channel| async move {
            consume(channel, &format!("s{}", number / 3), None).await
        })
        .await;
    let mut given = BTreeMap::new();
    for (number, answer) in answers.iter().enumerate() {
        *given.entry(number / 3).or_default() += usize::from(answer.is_ok());
    }
    given
}

/// Returns the logins that were given to more than one.
fn given_twice(rounds: &[BTreeMap<usize, usize>]) -> Vec<usize> {
    let times = |login: &usize| rounds.iter().map(|given| given[login]).sum::<usize>() > 1;
    (0..LOGINS).filter(times).collect()
}

fn given(round: &BTreeMap<usize, usize>) -> usize {
    round.values().filter(|times| **times > 0).count()
}

/// Kills the primary, and waits until the brokers serve on another one.
async fn fail_over(sentinels: &Sentinels, brokers: &Brokers) {
    let primary = found("a primary", || sentinels.primary()).await;
    sentinels.servers[primary].kill();
    sentinels.successor_of(primary).await;
    for broker in &brokers.0 {
        until("the broker serves again", async || {
            let answer = consume(broker.channel(), "nothing", None).await;
            answer.is_err_and(|status| status.code() == Code::NotFound)
        })
        .await;
    }
}

/// What waits for replicas is given away once, whatever takes over and whoever comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_gives_no_login_to_a_second_caller() {
    let sentinels = Sentinels::start(&Options::default());
    let replicated = ["--durability=replicated", "--durability-timeout=2s"];
    let brokers = brokers(&sentinels, &replicated).await;
    let callbacks = all_callbacks(&brokers);
    let failing_over = async {
        until("some are given", async || {
            let primary = found("a primary", || sentinels.primary()).await;
            let mut raw = sentinels.servers[primary].connect().await;
            let mut count = redis::cmd("ZCARD");
            count.arg(format!("{}broker:pending", crate::PREFIX));
            count.query_async::<usize>(&mut raw).await.unwrap() < LOGINS - 20
        })
        .await;
        fail_over(&sentinels, &brokers).await;
    };
    let (first, ()) = tokio::join!(callbacks, failing_over);
    let again = all_callbacks(&brokers).await;
    println!("{} given, then {}", given(&first), given(&again));
    assert!(given(&first) > 0);
    assert_eq!(given_twice(&[first, again]), Vec::<usize>::new());
}

/// The control: where nothing waits, a replica that didn't hear of it gives everything away again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_given_twice_would_have_been_noticed() {
    // A primary that stands still for a moment isn't failed over.
    let sentinels = Sentinels::start(&Options {
        down_after: Duration::from_secs(3),
        ..Options::default()
    });
    let brokers = brokers(&sentinels, &["--durability=primary"]).await;
    let primary = found("a primary", || sentinels.primary()).await;
    let mut connection = sentinels.servers[primary].raw();
    let mut ask = redis::pipe();
    // WAIT is for the writes of its own connection, and of all that came before.
    ask.cmd("SET").arg("last").arg(1).ignore();
    ask.cmd("WAIT").arg(2).arg(10_000);
    let (replicas,): (u8,) = ask.query(&mut connection).unwrap();
    assert_eq!(replicas, 2);
    sentinels.cut(primary);
    let first = all_callbacks(&brokers).await;
    assert_eq!(
        given_twice(std::slice::from_ref(&first)),
        Vec::<usize>::new()
    );
    fail_over(&sentinels, &brokers).await;
    let again = all_callbacks(&brokers).await;
    // Nearly all. A login whose answer is lost was given to nobody.
    assert!(given_twice(&[first, again]).len() > LOGINS / 2);
}
