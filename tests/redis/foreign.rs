//! I10: members of an index that lie outside of the tenant are ignored and counted. The keys that
//! they name are never touched.

use crate::monitor::{Command, Monitor};
use testkit::{
    broker::Broker, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*,
    snapshot::Snapshot,
};
use token_broker::{store::redis::RedisStore, types::Row};

/// Makes calls of every kind on the session `s` and the user `u`.
async fn everything(broker: &Broker<RedisStore>) {
    for round in 0..20 {
        broker
            .put(&key("s", &format!("p{}", round % 3)), &row("u", "at"))
            .await;
        broker
            .put(&key(&format!("s{round}"), "p"), &row("u", "at"))
            .await;
    }
    let endless = Row {
        expires_at: None,
        ..row("u", "at")
    };
    broker.put(&key("s", "p1"), &endless).await;
    broker.put(&key("s", "p1"), &row("v", "at")).await;
    assert_eq!(broker.rows_of(&session("s")).await.len(), 3);
    assert_eq!(broker.listed(&user("u")).await.len(), 22);
    broker
        .latest_for_user(&user("u"), &provider("p"), &Default::default())
        .await
        .unwrap();
    broker
        .put_carrying(
            &key("s", "p9"),
            &Row {
                refresh_token: None,
                ..row("u", "at")
            },
        )
        .await;
    broker.remove(&key("s", "p0")).await;
    broker.delete_all(&session("s1")).await.unwrap();
    broker.delete_user(&user("u")).await.unwrap();
    broker.delete_all(&session("s")).await.unwrap();
}

/// Adds members to both indexes: rows of another tenant, other keys, and texts that aren't keys.
fn plant(tenant: &RedisTenant, other: &RedisTenant) -> Vec<Vec<u8>> {
    let mut members: Vec<Vec<u8>> = [
        "upstream:s:p",
        "upstream:idx:s",
        "user:upstream:u",
        "user:u",
    ]
    .iter()
    .map(|rest| other.key(rest).into_bytes())
    .collect();
    for text in [
        "elsewhere",
        "gone",
        "",
        "*",
        "thv:auth:",
        "thv:auth:{x:y}:upstream:s:p",
    ] {
        members.push(text.as_bytes().to_vec());
    }
    members.push(b"\xff\xfe\x00\r\n".to_vec());
    members.push(format!("{}upstream:s:p", &tenant.prefix()[1..]).into_bytes());
    for index in ["upstream:idx:s", "user:upstream:u"] {
        let mut add = redis::cmd("SADD");
        add.arg(tenant.key(index)).arg(&members);
        add.exec(&mut tenant.raw()).unwrap();
    }
    members
}

#[tokio::test]
async fn i10_foreign_members_are_ignored_and_counted() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let other = tenant.another();
    other
        .broker()
        .put(&key("s", "p"), &row("u", "theirs"))
        .await;
    other.run::<()>(&["SET", &other.key("user:u"), "{}"]);
    other.run::<()>(&["SET", "elsewhere", "not ours"]);
    let outside = |tenant: &RedisTenant| {
        let mut all = Snapshot::take(&mut tenant.raw(), "");
        all.0
            .retain(|key, _| !key.starts_with(tenant.prefix().as_bytes()));
        all
    };
    let before = outside(&tenant);

    let broker = tenant.broker();
    let members = plant(&tenant, &other);
    let monitor = Monitor::start(&server);
    everything(&broker).await;
    let commands = monitor.finish();
    assert!(outside(&tenant) == before, "I10: a foreign key was changed");
    assert!(
        broker.backend().foreign_members() > 0,
        "I10: foreign members aren't counted"
    );
    let with_keys = |command: &&Command| command.in_script && command.verb != "TIME";
    for command in commands.iter().filter(with_keys) {
        let touched = &command.args[0];
        assert!(
            touched.starts_with(&tenant.prefix()),
            "I10: {} {touched}",
            command.verb
        );
    }

    // The broker mustn't remove them from a user's index.
    let left = tenant.snapshot();
    let index = left
        .get(&tenant.key("user:upstream:u"))
        .expect("I10: the index");
    let testkit::snapshot::Content::Set(left) = &index.content else {
        panic!("I10: {index:?}");
    };
    assert!(
        left.iter()
            .eq(members.iter().collect::<std::collections::BTreeSet<_>>())
    );
}

/// Keys of the tenant that aren't rows don't count as rows in an index either, and they stay.
#[tokio::test]
async fn i10_own_keys_that_are_no_rows_stay() {
    let tenant = crate::tenant();
    let broker = tenant.broker();
    broker.put(&key("another", "p"), &row("v", "at")).await;
    tenant.run::<()>(&["SET", &tenant.key("user:v"), "{}"]);
    tenant.run::<()>(&["SET", &tenant.key("provider:1:p:sub"), r#"{"user_id":"v"}"#]);
    tenant.run::<()>(&["SET", &tenant.key("pending:x"), "{}"]);
    let before = tenant.snapshot();
    let others = [
        "upstream:another:p",
        "upstream:idx:another",
        "user:upstream:v",
        "user:v",
    ];
    for member in others.iter().chain(&["provider:1:p:sub", "pending:x"]) {
        for index in ["upstream:idx:s", "user:upstream:u"] {
            tenant.run::<()>(&["SADD", &tenant.key(index), &tenant.key(member)]);
        }
    }
    everything(&broker).await;
    let after = tenant.snapshot();
    for (name, value) in &before.0 {
        let found = after.0.get(name).map(|found| &found.content);
        assert_eq!(
            found,
            Some(&value.content),
            "{}",
            String::from_utf8_lossy(name)
        );
    }
}

/// A member that isn't spelled as a row of the session is none to `Delete` either, nor to the limit on providers.
#[tokio::test]
async fn i10_what_get_all_ignores_delete_all_leaves() {
    let tenant = crate::tenant();
    let broker = tenant.broker();
    for number in 0..63 {
        let key = key("s", &format!("p{number}"));
        broker.put(&key, &row("u", "at")).await;
    }
    broker.put(&key("s", "a b"), &row("u", "at")).await;
    broker.remove(&key("s", "p0")).await;
    let foreign: Vec<_> = [&b""[..], b"%61", b"a:b", b"a b", b"\xff", b"{"]
        .into_iter()
        .map(|rest| [tenant.key("upstream:s:").as_bytes(), rest].concat())
        .collect();
    let index = tenant.key("upstream:idx:s");
    for member in &foreign {
        let mut raw = tenant.raw();
        let (mut set, mut add) = (redis::cmd("SET"), redis::cmd("SADD"));
        set.arg(member).arg(r#"{"access_token":"at"}"#);
        set.exec(&mut raw).unwrap();
        add.arg(&index).arg(member).exec(&mut raw).unwrap();
    }
    assert_eq!(broker.rows_of(&session("s")).await.len(), 63);
    broker.put(&key("s", "p0"), &row("u", "at")).await;
    let full = broker
        .store(testkit::broker::request(&key("s", "p63"), &row("u", "at")))
        .await;
    assert!(full.is_err(), "{full:?}");

    let counted = broker.backend().foreign_members();
    assert_eq!(broker.delete_all(&session("s")).await.unwrap(), 64);
    assert!(broker.backend().foreign_members() > counted, "I10: counted");
    assert!(broker.rows_of(&session("s")).await.is_empty());
    let mut left = tenant.snapshot();
    let testkit::snapshot::Content::Set(members) = &left.get(&index).unwrap().content else {
        panic!("I10: the index");
    };
    assert!(
        members
            .iter()
            .eq(foreign.iter().collect::<std::collections::BTreeSet<_>>())
    );
    left.0.retain(|key, _| foreign.contains(key));
    assert_eq!(
        left.0.len(),
        foreign.len(),
        "I10: a foreign key was deleted"
    );
}
