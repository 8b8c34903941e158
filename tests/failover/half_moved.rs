//! A slot whose move stopped at the worst point: the indexes are on the new node and the rows on the old one.

use std::{fmt::Debug, time::Duration};

use testkit::{
    broker_process::BrokerProcess,
    cluster::{Cluster, Options, slot},
    requests::{store_request, tokens},
    slot_move::SlotMove,
};
use token_broker::proto::v1::{
    DeleteRequest, DeleteUserRequest, GetAllRequest, StoreRequest, delete_request::Target,
    token_broker_client::TokenBrokerClient,
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{TURN, rows::prefix};

/// The deadline of calls that can't be answered during the move.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(10);
const TENANT: &str = "half:moved";

/// Starts a cluster, and a broker of the tenant.
async fn start() -> (Cluster, BrokerProcess) {
    let cluster = Cluster::start(&Options {
        // No node fails, but on a busy machine one may stand still.
        node_timeout: Duration::from_secs(5),
        ..Options::default()
    });
    cluster.settled().await;
    let url = format!("--redis-url={}", cluster.url());
    let tenant = format!("--tenant={TENANT}");
    let patient = ["--redis-timeout=5s", "--redis-connect-timeout=5s"];
    let settings = ["--backend=redis", &url, &tenant];
    let broker = BrokerProcess::start(&[&settings[..], &patient].concat());
    broker.serving().await;
    (cluster, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_elsewhere_are_not_missing() {
    let _turn = TURN.lock().await;
    let (cluster, broker) = start().await;
    let mut client = broker.client().await;
    for provider in ["github", "google"] {
        client.store(stored(provider)).await.unwrap();
    }

    let moving = indexes_first(&cluster);
    unanswered(client.get_all(within(SHORT, session())).await);
    unanswered(client.delete_user(within(SHORT, user())).await);
    // A caller who waits longer gets the right answer.
    let (read, ()) = tokio::join!(rows(client.clone()), async {
        tokio::task::block_in_place(|| while cluster.move_keys(moving, 100) > 0 {});
        cluster.finish_move(moving);
    });
    assert_eq!(read, 2);
    let deleted = client.delete_user(within(LONG, user())).await.unwrap();
    assert_eq!(deleted.into_inner().deleted_rows, 2);
    assert_eq!(rows(client).await, 0);
}

/// No key has moved yet. But a key that doesn't exist counts as moved, and an index doesn't exist once its last
/// member is gone. A delete that asked for the index then would stop half-way.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_empties_an_index_is_whole() {
    let _turn = TURN.lock().await;
    let (cluster, broker) = start().await;
    let mut client = broker.client().await;
    client.store(stored("github")).await.unwrap();

    let prefix = prefix(TENANT);
    let slot = slot(&prefix);
    let from = cluster.owner_of(slot).unwrap();
    // A script only runs while all of its keys are on this node.
    let grace = format!("{prefix}broker:grace");
    cluster.nodes[from]
        .ask::<()>(&["SET", &grace, "1"])
        .unwrap();
    let moving = cluster.begin_move(slot, from, (from + 1) % 3);
    let request = DeleteRequest {
        session_id: "s".to_owned(),
        target: Some(Target::Provider("github".to_owned())),
        version: None,
    };
    let deleted = client.delete(within(LONG, request)).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 1);
    let left: Vec<String> = cluster.nodes[from]
        .ask(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"])
        .unwrap();
    assert!(left.iter().all(|key| key.contains(":broker:")), "{left:?}");
    cluster.call_off_move(moving);
}

/// A key that doesn't exist counts as moved. So Redis refuses to read a row that is only guessed to be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_read_though_a_guess_of_its_providers_is_wrong() {
    let _turn = TURN.lock().await;
    let (cluster, broker) = start().await;
    let mut client = broker.client().await;
    client.store(stored("github")).await.unwrap();
    let other = StoreRequest {
        session_id: "other".to_owned(),
        ..stored("okta")
    };
    client.store(other).await.unwrap();
    for session_id in ["s", "other"] {
        let request = GetAllRequest {
            session_id: session_id.to_owned(),
            binding: None,
        };
        client.get_all(within(LONG, request)).await.unwrap();
    }
    let slot = slot(&prefix(TENANT));
    let from = cluster.owner_of(slot).unwrap();
    let moving = cluster.begin_move(slot, from, (from + 1) % 3);
    assert_eq!(rows(client).await, 1);
    cluster.call_off_move(moving);
}

/// Begins to move the tenant's slot, and moves the indexes first.
fn indexes_first(cluster: &Cluster) -> SlotMove {
    let prefix = prefix(TENANT);
    let slot = slot(&prefix);
    let from = cluster.owner_of(slot).unwrap();
    let to = (from + 1) % 3;
    let moving = cluster.begin_move(slot, from, to);
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(cluster.port(to)).arg("");
    migrate.arg(0).arg(LONG.as_millis() as u64).arg("KEYS");
    for index in ["upstream:idx:s", "user:upstream:u"] {
        migrate.arg(format!("{prefix}{index}"));
    }
    migrate.exec(&mut cluster.nodes[from].raw()).unwrap();
    moving
}

fn unanswered<T: Debug>(answer: Result<Response<T>, Status>) {
    let status = answer.expect_err("an answer that can't be known");
    let codes = [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable];
    assert!(codes.contains(&status.code()), "{status:?}");
}

async fn rows(mut client: TokenBrokerClient<Channel>) -> usize {
    let answer = client.get_all(within(LONG, session())).await.unwrap();
    answer.into_inner().entries.len()
}

fn stored(provider: &str) -> StoreRequest {
    store_request("s", provider, tokens("access", "u"))
}

fn session() -> GetAllRequest {
    GetAllRequest {
        session_id: "s".to_owned(),
        ..GetAllRequest::default()
    }
}

fn user() -> DeleteUserRequest {
    DeleteUserRequest {
        user_id: "u".to_owned(),
    }
}

fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}
