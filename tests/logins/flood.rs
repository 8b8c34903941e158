//! One client begins a thousand logins that nobody ends.

use testkit::redis_server::RedisServer;

use crate::{
    CROWD,
    brokers::{Brokers, PATIENT, counts, pending, tally},
    flaws::{Flaw, planted},
};
use token_broker::proto::v1::pending_authorizations_client::PendingAuthorizationsClient;

/// How many logins of one client may wait, and how many of all.
const OF_CLIENT: usize = 100;
const OF_ALL: usize = 300;

fn limits() -> Vec<&'static str> {
    let own = ["--max-pending-of-client=100", "--max-pending=300"];
    [&PATIENT[..], &own].concat()
}

/// A client floods the broker, and another one comes at the same time. Returns how often which answer came to the first, and
/// to the other.
async fn flooded(
    server: &RedisServer,
    brokers: &Brokers,
) -> [std::collections::BTreeMap<String, usize>; 2] {
    let answers = brokers
        .crowd(&[server], CROWD, |number, channel| async move {
            let client = if number % 20 == 7 { "other" } else { "flood" };
            let request = pending(&format!("{client} {number}"), client);
            let mut client = PendingAuthorizationsClient::new(channel);
            client.create(request).await
        })
        .await;
    let (mut flood, mut other) = (Vec::new(), Vec::new());
    for (number, answer) in answers.into_iter().enumerate() {
        if number % 20 == 7 {
            &mut other
        } else {
            &mut flood
        }
        .push(answer);
    }
    [tally(&flood), tally(&other)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_clients_flood_locks_nobody_else_out() {
    let server = RedisServer::start();
    let brokers = Brokers::on(&server, &limits()).await;
    let [flood, other] = flooded(&server, &brokers).await;
    let others = CROWD / 20;
    assert_eq!(other, counts([("OK", others)]));
    let refused = CROWD - others - OF_CLIENT;
    assert_eq!(
        flood,
        counts([("OK", OF_CLIENT), ("TOO_MANY_PENDING", refused)])
    );

    // The bound of the tenant holds as exactly, whoever comes.
    let answers = brokers
        .crowd(&[&server], CROWD, |number, channel| async move {
            let request = pending(&format!("more {number}"), &format!("c{number}"));
            PendingAuthorizationsClient::new(channel)
                .create(request)
                .await
        })
        .await;
    let room = OF_ALL - OF_CLIENT - others;
    let refused = CROWD - room;
    assert_eq!(
        tally(&answers),
        counts([("OK", room), ("TOO_MANY_PENDING", refused)])
    );
}

/// The control: where clients aren't counted, the flood takes all places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_takes_all_places_would_have_been_noticed() {
    let server = RedisServer::start();
    let proxy = planted(&server, Flaw::CreateForgetsClients).await;
    let brokers = Brokers::behind(proxy.port(), &limits()).await;
    let [flood, other] = flooded(&server, &brokers).await;
    assert!(flood["OK"] > OF_CLIENT, "{flood:?}");
    assert!(other["TOO_MANY_PENDING"] > 0, "{other:?}");
}
