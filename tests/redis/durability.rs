//! Tests `durability = "replicated"` (guarantees, section 4.2).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::{
    broker::{Broker, request},
    broker_process::BrokerProcess,
    deployment::Deployment,
    launch::{Launch, Program},
    pending::{consume, new_pending, pending_in},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    replica::follow,
    requests::{get_request, store_request, tokens},
    rows::*,
    waiting::until,
};
use token_broker::{
    authorizations::Authorizations,
    error::Error,
    identities::{UserOptions, Users},
    store::{Identities, Store, redis::RedisStore},
    tokens::{Binding, Precondition, StoreTokens},
    types::{IdentityKey, Subject},
};

use crate::connected;

/// Starts a primary and a replica that follows it.
async fn pair(program: Program) -> (RedisServer, RedisServer) {
    let primary = Launch::new(program).start();
    let replica = follow(&primary, Launch::new(program)).await;
    (primary, replica)
}

fn replicated(server: &impl Deployment, timeout: &str) -> RedisTenant {
    RedisTenant::on(server)
        .with("durability", "replicated")
        .with("durability-timeout", timeout)
}

/// The calls that change something. Once the second is done, there is nothing left to delete. The broker reports
/// that only once replicas know it too.
const WRITES: [&str; 5] = [
    "Store",
    "Delete",
    "Delete again",
    "Delete all",
    "DeleteUser",
];

async fn write<S: Store + Identities>(broker: &Broker<S>, call: &str) -> Option<Error> {
    let key = key("s", "p");
    match call {
        "Store" => broker.store(request(&key, &row("u", "at"))).await.err(),
        "Delete all" => broker.delete_all(&key.session).await.err(),
        "DeleteUser" => broker.delete_user(&user("u")).await.err(),
        _ => broker.delete(&key, None).await.err(),
    }
}

#[tokio::test]
async fn a_write_counts_when_a_replica_has_it() {
    let (primary, replica) = pair(Program::Usual).await;
    let tenant = replicated(&primary, "10s");
    let broker = tenant.broker();
    for _ in 0..50 {
        broker.put(&key("s", "p"), &row("u", "at")).await;
        let stored = tenant.key("upstream:s:p");
        assert!(
            replica.ask::<bool>(&["EXISTS", &stored]).unwrap(),
            "the replica has it"
        );
        assert!(broker.remove(&key("s", "p")).await);
        assert!(
            !replica.ask::<bool>(&["EXISTS", &stored]).unwrap(),
            "and has it no more"
        );
    }
    for call in WRITES {
        let error = write(&broker, call).await;
        assert!(error.is_none(), "{call}: {error:?}");
    }
}

/// The control: if no write waits, the replica lags at times, and a write counts without any replica.
#[tokio::test]
async fn without_it_a_write_counts_without_a_replica() {
    let (primary, replica) = pair(Program::Usual).await;
    replica.pause();
    let broker = RedisTenant::on(&primary).broker();
    for call in WRITES {
        let error = write(&broker, call).await;
        assert!(error.is_none(), "{call}: {error:?}");
    }
    replica.resume();
}

#[tokio::test]
async fn a_write_that_no_replica_confirms_is_not_durable() {
    not_durable_without_a_replica(Program::Usual).await;
}

#[tokio::test]
async fn nor_is_it_on_the_oldest_redis() {
    not_durable_without_a_replica(Program::Oldest).await;
}

/// There, WAIT only covers the client's own last write.
#[tokio::test]
async fn nor_is_it_on_valkey() {
    not_durable_without_a_replica(Program::Valkey).await;
}

async fn not_durable_without_a_replica(program: Program) {
    let (primary, replica) = pair(program).await;
    let tenant = replicated(&primary, "300ms");
    let broker = tenant.broker();
    replica.pause();
    let begun = Instant::now();
    for call in WRITES {
        let error = write(&broker, call).await;
        assert!(
            matches!(error, Some(Error::NotDurable(_))),
            "{call}: {error:?}"
        );
    }
    // A call that finds nothing left to write isn't durable either, over connections that wrote nothing themselves.
    for call in &WRITES[2..] {
        let error = write(&tenant.broker(), call).await;
        assert!(
            matches!(error, Some(Error::NotDurable(_))),
            "{call}: {error:?}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    // Reads still work.
    let all = Binding::default();
    assert!(
        broker
            .get(&key("u", "p"), &all)
            .await
            .is_err_and(|e| matches!(e, Error::RowNotFound))
    );
    replica.resume();
    until("writes count again", async || {
        broker
            .store(request(&key("s", "p"), &row("u", "at")))
            .await
            .is_ok()
    })
    .await;
}

/// A caller that gives up leaves no connection behind that blocks the next caller.
#[tokio::test]
async fn a_caller_that_gives_up_blocks_no_other() {
    let (primary, replica) = pair(Program::Usual).await;
    let tenant = replicated(&primary, "20s")
        .with("durability-connections", "1")
        .with("call-timeout", "30s");
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    replica.pause();
    let (key, row) = (key("s", "p"), row("u", "at"));
    let gives_up = broker.store(request(&key, &row));
    tokio::time::timeout(Duration::from_millis(100), gives_up)
        .await
        .unwrap_err();
    replica.resume();
    let begun = Instant::now();
    broker.put(&key, &row).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// Returns a broker whose writes wait for replicas.
fn waiting_broker(server: &RedisServer) -> BrokerProcess {
    let url = format!("--redis-url={}", server.url());
    BrokerProcess::start(&["--backend=redis", &url, "--durability=replicated"])
}

/// The start warns operators about a configuration that makes `replicated` less useful.
#[tokio::test]
async fn the_start_warns_of_what_is_missing() {
    let lonely = RedisServer::start();
    let broker = waiting_broker(&lonely);
    until("it warns", async || {
        let log = broker.log();
        log.contains("too few replicas") && log.contains("min-replicas-to-write isn't set")
    })
    .await;

    let (primary, _replica) = pair(Program::Usual).await;
    let demand = ["CONFIG", "SET", "min-replicas-to-write", "1"];
    primary.ask::<()>(&demand).unwrap();
    let broker = waiting_broker(&primary);
    broker.serving().await;
    let log = broker.ended().await.log;
    assert!(!log.contains("replicas"), "{log}");
}

/// No replica confirms anything, and durable writes come faster than they are given up. Reads have places left, and
/// the writes too many are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_replicas_starve_no_read() {
    let (primary, replica) = pair(Program::Usual).await;
    let url = format!("--redis-url={}", primary.url());
    let broker = BrokerProcess::start(&[
        "--backend=redis",
        &url,
        "--durability=replicated",
        "--max-calls=128",
        // No read is to fail because the machine is busy.
        "--redis-timeout=5s",
    ]);
    broker.serving().await;
    let mut client = broker.client().await;
    let store = |session: &str| store_request(session, "p", tokens("at", ""));
    client.store(store("s")).await.unwrap();
    replica.pause();

    let mut writers = tokio::task::JoinSet::new();
    // Fewer than `max-calls` allows, and more than may wait.
    for writer in 0..100 {
        // No connection has more than its share of the calls.
        let mut client = broker.client().await;
        let request = store(&format!("s{writer}"));
        writers.spawn(async move {
            let begun = Instant::now();
            let mut refused_at_once = 0;
            while begun.elapsed() < Duration::from_secs(2) {
                let asked = Instant::now();
                let status = client.store(request.clone()).await.unwrap_err();
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                refused_at_once += usize::from(asked.elapsed() < Duration::from_millis(500));
                let pause = Duration::from_millis(rand::random_range(30..70));
                tokio::time::sleep(pause).await;
            }
            refused_at_once
        });
    }
    let (mut reads, mut refused_at_once) = (0, 0);
    while !writers.is_empty() {
        let get = get_request("s", "p");
        client.get(get).await.unwrap();
        reads += 1;
        if let Ok(Some(writer)) =
            tokio::time::timeout(Duration::from_millis(5), writers.join_next()).await
        {
            refused_at_once += writer.unwrap();
        }
    }
    assert!(reads > 20, "{reads}");
    assert!(refused_at_once > 100, "{refused_at_once}");
}

/// Callers who give up on a write leave its connection to it. None is opened for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_costs_no_connection() {
    let (primary, replica) = pair(Program::Usual).await;
    let tenant = replicated(&primary, "1s").with("durability-connections", "4");
    let broker = tenant.broker();
    broker.put(&key("s", "p"), &row("u", "at")).await;
    // Six that callers share, and the one of this write.
    connected(&primary, 6 + 1).await;
    let opened = || {
        let stats: String = primary.ask(&["INFO", "stats"]).unwrap();
        let (_, count) = stats.split_once("total_connections_received:").unwrap();
        count.lines().next().unwrap().parse::<u32>().unwrap()
    };
    let before = opened();
    replica.pause();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let broker = broker.clone();
        callers.spawn(async move {
            for _ in 0..10 {
                let (key, row) = (key("s", "p"), row("u", "at"));
                let call = broker.store(request(&key, &row));
                _ = tokio::time::timeout(Duration::from_millis(100), call).await;
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    // The four for such writes, and those of this test.
    let opened = opened() - before;
    assert!(opened <= 4 + 1, "{opened}");
    replica.resume();
    broker.put(&key("s", "p"), &row("u", "at")).await;
}

/// How many writes may wait for replicas is limited, and a large `DeleteUser` counts as one of them.
#[tokio::test]
async fn a_large_delete_user_takes_one_place_among_the_writes_that_wait() {
    let (primary, _replica) = pair(Program::Usual).await;
    // Half as many writes may wait as there may be calls.
    let broker = replicated(&primary, "10s").with("max-calls", "2").broker();
    for number in 0..200 {
        let key = key(&format!("s{number}"), "p");
        broker.put(&key, &row("u", "at")).await;
    }
    let deleted = broker.delete_user(&user("u")).await.unwrap();
    assert_eq!(deleted.rows, 200);
}

/// Returns the same tenant, for brokers that wait for replicas for so long.
fn waiting_for(plain: &RedisTenant, timeout: &str) -> RedisTenant {
    let waiting = plain.clone().with("durability", "replicated");
    waiting.with("durability-timeout", timeout)
}

fn users(tenant: &RedisTenant) -> Users<RedisStore> {
    let options = UserOptions {
        max_identities: 5,
        patience: Duration::from_secs(1),
    };
    Users::new(Arc::new(tenant.store()), options)
}

fn identity(subject: &str) -> IdentityKey {
    IdentityKey {
        provider: provider("okta"),
        subject: Subject::new(subject).unwrap(),
    }
}

#[track_caller]
fn is_not_durable<T: std::fmt::Debug>(what: &str, outcome: Result<T, Error>) {
    assert!(
        matches!(outcome, Err(Error::NotDurable(_))),
        "{what}: {outcome:?}"
    );
}

/// The same for a write that isn't to be repeated: it would find what it did itself.
#[track_caller]
fn is_done_but_not_durable<T: std::fmt::Debug>(what: &str, outcome: Result<T, Error>) {
    let Err(error @ Error::DoneNotDurable(_)) = &outcome else {
        panic!("{what}: {outcome:?}")
    };
    assert_eq!(error.retry_after(), None, "{what}");
}

/// A user whose creation no replica confirmed is never named in an answer, also not by a call that finds it already there.
#[tokio::test]
async fn no_answer_names_a_user_that_no_replica_has() {
    for program in [Program::Usual, Program::Oldest, Program::Valkey] {
        let (primary, replica) = pair(program).await;
        let plain = RedisTenant::on(&primary);
        let (calm, tenant) = (waiting_for(&plain, "10s"), waiting_for(&plain, "300ms"));
        let known = users(&calm).resolve(&identity("known")).await.unwrap().user;
        replica.pause();
        for call in ["the first login", "the next one", "another"] {
            is_not_durable(call, users(&tenant).resolve(&identity("new")).await);
        }
        // The control: without `durability` there is a user by now, whom the replica doesn't know.
        let made = users(&plain).resolve(&identity("new")).await.unwrap();
        assert!(!made.created);
        for call in ["link", "link again"] {
            is_not_durable(call, users(&tenant).link(&identity("more"), &known).await);
        }
        for call in ["unlink", "unlink again"] {
            is_not_durable(call, users(&tenant).unlink(&identity("more"), None).await);
        }
        replica.resume();
        let again = users(&calm);
        until("logins count again", async || {
            again.resolve(&identity("new")).await.is_ok()
        })
        .await;
        let now = again.resolve(&identity("new")).await.unwrap();
        assert_eq!(now.user, made.user, "it is the same user");
        let record = tenant.key(&format!("user:{}", now.user.as_str()));
        assert!(
            replica.ask::<bool>(&["EXISTS", &record]).unwrap(),
            "the replica has it"
        );
    }
}

fn waiting(tenant: &RedisTenant) -> Authorizations<RedisStore> {
    pending_in(tenant.store(), 10, 10)
}

/// Whoever was given an authorization has it alone, also after a failover to a replica. The control doesn't wait for the
/// replica, and it is given away twice.
#[tokio::test]
async fn a_failover_gives_no_authorization_away_twice() {
    let (primary, replica) = pair(Program::Usual).await;
    let plain = RedisTenant::on(&primary);
    let (calm, tenant) = (waiting_for(&plain, "10s"), waiting_for(&plain, "300ms"));
    let consume = async |tenant: &RedisTenant, state: &str| {
        let taken = consume(&waiting(tenant), state).await;
        taken.map(|pending| pending.session)
    };
    for state in ["given", "refused", "control"] {
        waiting(&calm).create(new_pending(state)).await.unwrap();
    }
    consume(&calm, "given").await.unwrap();
    // From here on the replica gets nothing any more.
    replica.ask::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
    is_done_but_not_durable("create", waiting(&tenant).create(new_pending("new")).await);
    is_done_but_not_durable("consume", consume(&tenant, "refused").await);
    // So is a row on a condition. The control is the same without one, which may be repeated.
    let store = async |session: &str, precondition| {
        let request = StoreTokens {
            precondition,
            ..request(&key(session, "p"), &row("u", "at"))
        };
        tenant.broker().store(request).await
    };
    let absent = Some(Precondition::MustNotExist);
    is_done_but_not_durable("store if absent", store("a", absent).await);
    is_not_durable("store", store("b", None).await);
    consume(&plain, "control").await.unwrap();

    primary.kill();
    let failed_over = plain.at_port(replica.port());
    let again = consume(&failed_over, "given").await;
    assert!(matches!(again, Err(Error::StateNotFound)), "{again:?}");
    consume(&failed_over, "refused").await.unwrap();
    let again = consume(&failed_over, "refused").await;
    assert!(matches!(again, Err(Error::StateNotFound)), "{again:?}");
    assert!(
        consume(&failed_over, "control").await.is_ok(),
        "the control"
    );
}
