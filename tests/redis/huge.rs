//! Tests that values that are larger than any broker writes cost no more than others, and affect no other row (I8).

use testkit::{
    broker::{Broker, request},
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::*,
};
use token_broker::{
    error::Error,
    store::{
        Change, Records, Store,
        redis::maintenance::{
            check::{Check, FindingKind},
            progress::Silent,
        },
    },
    tokens::{Binding, StoreTokens},
    types::{Entry, Record, Row, RowKey, TokenHash},
};

/// How many bytes are planted. By default, a value may have 2 MiB.
const PLANTED: usize = 20 << 20;
/// What all that follows the first read may have Redis send.
const FEW: u64 = 2 * (3 << 20);

/// How what is planted begins. All of them could be decoded if they were smaller.
const BEGINNINGS: [&str; 3] = [
    r#"{"access_token":"at","x":""#,
    r#"{"version":7,"user_id":"u","provider_id":"bad","access_token":"at","x":""#,
    r#"{"user_id":"u","access_token":"at","y":[],"x":""#,
];

fn plant(tenant: &RedisTenant, rest: &str, beginning: &str) {
    let row = tenant.key(rest);
    let text = format!("{beginning}{}\"}}", "x".repeat(PLANTED));
    redis::cmd("SET")
        .arg(row)
        .arg(text)
        .exec(&mut tenant.raw())
        .unwrap();
}

/// A session with a good row and one that is too large, both of the user `u`.
async fn planted(server: &RedisServer, beginning: &str) -> (RedisTenant, RowKey, RowKey) {
    let tenant = RedisTenant::on(server).migrated();
    let (good, bad) = (key("s", "good"), key("s", "bad"));
    let broker = tenant.broker();
    for key in [&good, &bad] {
        broker.put(key, &row("u", "at")).await;
    }
    plant(&tenant, "upstream:s:bad", beginning);
    (tenant, good, bad)
}

/// How many bytes the server has sent.
fn sent(tenant: &RedisTenant) -> u64 {
    let info: String = tenant.run(&["INFO", "stats"]);
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.unwrap().trim().parse().unwrap()
}

async fn is_unreadable<S: Store + Records>(broker: &Broker<S>, good: &RowKey, bad: &RowKey) {
    let read = broker.get(bad, &Binding::default()).await;
    let Err(Error::RowUnreadable(damage)) = read else {
        panic!("it was read");
    };
    assert_eq!(damage.to_string(), "it is too large");
    // Once by the script, and once by a guess where there may be one.
    for _ in 0..2 {
        let found = broker
            .get_all(&bad.session, &Binding::default(), &Default::default())
            .await;
        let found = found.unwrap();
        assert!(found.unreadable.keys().eq([&bad.provider]));
        assert!(found.rows.keys().eq([&good.provider]));
    }
    let listed = broker.listed(&user("u")).await;
    assert_eq!(listed, std::slice::from_ref(good));
    let latest = broker
        .latest_for_user(&user("u"), &bad.provider, &Default::default())
        .await;
    assert!(matches!(latest, Err(Error::RowUnreadable(_))));
    let seen = broker.backend().look(bad).await.unwrap();
    assert!(seen.row.unwrap().is_err());
}

#[tokio::test]
async fn i8_a_row_that_is_too_large_spoils_nothing() {
    let server = RedisServer::start();
    for beginning in BEGINNINGS {
        let (tenant, good, bad) = planted(&server, beginning).await;
        let broker = tenant.broker();
        is_unreadable(&broker, &good, &bad).await;

        // From now on Redis isn't asked for all of it: each read has it send 2 MiB at most.
        for read in 0..3 {
            let before = sent(&tenant);
            assert!(broker.get(&bad, &Binding::default()).await.is_err());
            assert!(broker.read(&good).await.is_some());
            assert!(sent(&tenant) - before < FEW, "read {read}");
        }
        is_unreadable(&broker, &good, &bad).await;
        assert!(broker.read(&key("s", "none")).await.is_none());
    }
}

/// A session whose providers are guessed comes whole once, without a script.
#[tokio::test]
async fn i8_a_guess_does_not_keep_what_is_too_large() {
    let server = RedisServer::start();
    let (tenant, good, bad) = planted(&server, BEGINNINGS[0]).await;
    let broker = tenant.broker();
    for key in [key("other", "good"), key("other", "bad")] {
        broker.put(&key, &row("v", "at")).await;
    }
    assert_eq!(broker.rows_of(&session("other")).await.len(), 2);
    is_unreadable(&broker, &good, &bad).await;
}

/// What is too large can be replaced and deleted as any other row that can't be read, whoever asks.
#[tokio::test]
async fn what_is_too_large_can_be_replaced_and_deleted() {
    let server = RedisServer::start();
    for beginning in BEGINNINGS {
        let (tenant, good, bad) = planted(&server, beginning).await;
        let broker = tenant.broker();
        let before = sent(&tenant);
        assert!(broker.remove(&bad).await);
        assert!(sent(&tenant) - before < FEW, "a script was told all of it");
        plant(&tenant, "upstream:s:bad", beginning);
        tenant.run::<()>(&[
            "SADD",
            &tenant.key("user:upstream:u"),
            &tenant.key("upstream:s:bad"),
        ]);
        let gone = broker.delete_user(&user("u")).await.unwrap();
        assert_eq!(gone.rows, 2);
        assert!(broker.read(&good).await.is_none());
        assert!(tenant.snapshot().names().is_empty());

        plant(&tenant, "upstream:s:bad", beginning);
        let silent = Row {
            refresh_token: None,
            ..row("u", "new")
        };
        let carrying = StoreTokens {
            carry_forward: true,
            ..request(&bad, &silent)
        };
        broker.store(carrying).await.unwrap();
        assert_eq!(access_token(&broker.read(&bad).await.unwrap().row), "new");
    }
}

/// A member of an index and a field of a record are bounded, too.
#[tokio::test]
async fn members_and_records_that_are_too_large_are_left_out() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server).migrated();
    let (broker, good) = (tenant.broker(), key("s", "good"));
    broker.put(&good, &row("u", "at")).await;
    let huge = "x".repeat(PLANTED);
    for (index, family) in [
        ("upstream:idx:s", "upstream:s:"),
        ("user:upstream:u", "upstream:s:"),
        ("user:providers:u", "provider:"),
    ] {
        let member = format!("{}{huge}", tenant.key(family));
        tenant.run::<()>(&["SADD", &tenant.key(index), &member]);
    }
    assert_eq!(broker.rows_of(&session("s")).await.len(), 1);
    assert_eq!(broker.rows_of(&session("s")).await.len(), 1);
    assert_eq!(broker.listed(&user("u")).await, std::slice::from_ref(&good));

    // A record could be decoded, too, if it were smaller: JSON may end with spaces.
    let token = TokenHash::of(&secret("refresh-at").unwrap());
    let record = Record::new(vec![Entry::free(token)]);
    let change = Change {
        record: &record,
        row: None,
        ends: None,
    };
    let seen = broker.backend().look(&good).await.unwrap();
    assert!(broker.backend().change(&good, &seen, change).await.unwrap());
    let key = tenant.key("broker:refresh:s:good");
    let fields: Vec<String> = tenant.run(&["HKEYS", &key]);
    let field = fields.iter().find(|field| *field != "change").unwrap();
    let entry: String = tenant.run(&["HGET", &key, field]);
    tenant.run::<()>(&["HSET", &key, field, &format!("{entry} ")]);
    assert!(broker.backend().look(&good).await.is_ok());
    tenant.run::<()>(&["HSET", &key, field, &(entry + &" ".repeat(PLANTED))]);
    let seen = broker.backend().look(&good).await;
    assert!(matches!(
        seen,
        Err(token_broker::store::Error::RecordUnreadable)
    ));

    broker.delete_user(&user("u")).await.unwrap();
    assert!(broker.read(&good).await.is_none());
}

#[tokio::test]
async fn a_check_finds_what_is_too_large_and_leaves_it() {
    let server = RedisServer::start();
    let (tenant, _, _) = planted(&server, BEGINNINGS[1]).await;
    for repairs in [false, true] {
        let check = Check::new(&tenant.store()).repairing(repairs);
        let report = check.run(&Silent).await.unwrap();
        let found: Vec<_> = report
            .damage
            .iter()
            .map(|found| (found.kind, &*found.key))
            .collect();
        let row = tenant.key("upstream:s:bad");
        assert!(
            found.contains(&(FindingKind::UnreadableRow, &row)),
            "{found:?}"
        );
        let length: usize = tenant.run(&["STRLEN", &row]);
        assert!(length > PLANTED);
    }
}
