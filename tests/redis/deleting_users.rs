//! `DeleteUser` is killed, or others come, between every two of its steps (guarantees, section 2.3): no identity refuses a
//! login or leads to the deleted user, and a repeated `DeleteUser` finds everything.

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use testkit::{
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
    rows::*,
};
use token_broker::{
    identities::{UserOptions, Users},
    store::redis::RedisStore,
    types::{IdentityKey, Reach, Subject, UserId},
};

/// Returns the users of a tenant, each with five identities at most.
pub fn users(tenant: &RedisTenant) -> Users<RedisStore> {
    let options = UserOptions {
        max_identities: 5,
        patience: Duration::from_secs(1),
    };
    Users::new(Arc::new(tenant.store()), options)
}

fn identity(at: &str) -> IdentityKey {
    IdentityKey {
        provider: provider(at),
        subject: Subject::new("alice").unwrap(),
    }
}

/// What others do meanwhile.
async fn meanwhile(tenant: &RedisTenant, call: &str, alice: &UserId) {
    let users = users(tenant);
    match call {
        "ResolveUser" => drop(users.resolve(&identity("okta")).await.unwrap()),
        "LinkIdentity" => _ = users.link(&identity("more"), alice).await,
        "Store" => {
            _ = tenant
                .broker()
                .put(&key("new", "p"), &row(alice.as_str(), "at"))
                .await
        }
        _ => {}
    }
}

#[tokio::test]
async fn delete_user_is_killed_between_every_two_steps() {
    every_step(&[Fate::CutBefore, Fate::CutAfter], &["nothing"]).await;
}

#[tokio::test]
async fn others_come_between_every_two_steps_of_delete_user() {
    let calls = ["ResolveUser", "LinkIdentity", "Store"];
    every_step(&[Fate::Forward, Fate::CutBefore], &calls).await;
}

async fn every_step(fates: &[Fate], calls: &[&'static str]) {
    let server = RedisServer::start();
    for fate in fates {
        for call in calls {
            let mut at = 1;
            while step(&server, at, fate, call).await {
                at += 1;
            }
            assert!(at > 3, "`DeleteUser` has more steps than {at}");
        }
    }
}

/// Deletes a user who has a row and two identities. Before the command of this number others make a call, and then the command
/// has this fate. Returns whether there was such a command.
async fn step(server: &RedisServer, at: usize, fate: &Fate, call: &'static str) -> bool {
    let tenant = RedisTenant::on(server);
    let direct = users(&tenant);
    let alice = direct.resolve(&identity("okta")).await.unwrap().user;
    direct.link(&identity("github"), &alice).await.unwrap();
    tenant
        .broker()
        .put(&key("s", "p"), &row(alice.as_str(), "at"))
        .await;

    let due = Arc::new(AtomicBool::new(false));
    let proxy = {
        let (tenant, alice, fate, due) = (
            tenant.clone(),
            alice.clone(),
            fate.clone(),
            Arc::clone(&due),
        );
        RespProxy::start(server.port(), move |command| {
            let is_due = command.number == at;
            let (tenant, alice, fate) = (tenant.clone(), alice.clone(), fate.clone());
            due.fetch_or(is_due, Ordering::SeqCst);
            async move {
                if !is_due {
                    return Fate::Forward;
                }
                meanwhile(&tenant, call, &alice).await;
                fate
            }
        })
        .await
    };
    let through = tenant.at_port(proxy.port()).with("redis-connections", "1");
    let what = format!("{fate:?} at step {at}, and {call}");
    let broker = through.broker();
    let deleted = tokio::select! {
        biased;
        // The broker is dead.
        () = proxy.cut() => Ok(()),
        deleted = broker.delete_user(&alice) => deleted.map(drop),
    };
    drop(broker);
    if deleted.is_err() {
        // A broker may see the end of its connection before the proxy tells of it.
        let cut = tokio::time::timeout(Duration::from_secs(10), proxy.cut());
        cut.await.unwrap_or_else(|_| panic!("{what}: {deleted:?}"));
    }

    // Nobody is refused, and nobody is the deleted user, once its first step is done.
    let is_begun = direct.get(&alice).await.is_err();
    for at in ["okta", "github", "more"] {
        let resolved = direct.resolve(&identity(at)).await.unwrap();
        assert!(
            direct.get(&resolved.user).await.is_ok(),
            "{what}: {at} leads to nobody"
        );
        assert!(
            !is_begun || resolved.user != alice,
            "{what}: {at} leads to the deleted user"
        );
        let listed = direct
            .list(&resolved.user, &Reach::default())
            .await
            .unwrap();
        assert!(
            listed.iter().any(|listed| listed.key == identity(at)),
            "{what}: {at}"
        );
    }
    tenant.broker().delete_user(&alice).await.unwrap();
    let left = tenant.snapshot();
    for (key, value) in &left.0 {
        let text = format!("{} {:?}", String::from_utf8_lossy(key), value.content);
        let spelled = alice.as_str().as_bytes();
        let names = |bytes: &[u8]| bytes.windows(spelled.len()).any(|part| part == spelled);
        let is_left = names(key)
            || match &value.content {
                testkit::snapshot::Content::Text(bytes) => names(bytes),
                testkit::snapshot::Content::Set(members) => members.iter().any(|one| names(one)),
                testkit::snapshot::Content::Other(_) => false,
            };
        assert!(!is_left, "{what}: {text} is left");
    }
    for key in left.names() {
        assert!(!key.contains("upstream:"), "{what}: {key} is left");
    }
    due.load(Ordering::SeqCst)
}

/// A set that is damaged keeps nobody logged in: what can be found without it is deleted, and then the damage is told of.
#[tokio::test]
async fn a_damaged_set_keeps_nobody_logged_in() {
    for id in ["alice", "a:b"] {
        for damaged in ["user:providers", "user:upstream"] {
            let tenant = RedisTenant::on(RedisServer::shared());
            tenant.run::<()>(&["SET", &tenant.key(&format!("user:{id}")), "{}"]);
            let alice = UserId::new(id).unwrap();
            let broker = tenant.broker();
            broker.put(&key("s", "p"), &row(id, "at")).await;
            tenant.run::<()>(&[
                "SET",
                &tenant.key("provider:4:okta:x"),
                &format!(r#"{{"user_id":"{id}"}}"#),
            ]);
            let spelled = id.replace(':', "%3A");
            let set = tenant.key(&format!("user:providers:{spelled}"));
            tenant.run::<()>(&["SADD", &set, &tenant.key("provider:4:okta:x")]);
            let other = tenant.key(&format!("{damaged}:{spelled}"));
            tenant.run::<()>(&["DEL", &other]);
            tenant.run::<()>(&["SET", &other, "no set"]);
            for call in ["first", "repeated"] {
                let deleted = broker.delete_user(&alice).await;
                let is_told = matches!(deleted, Err(token_broker::error::Error::IndexUnreadable));
                assert!(is_told, "{call}, {damaged}: {deleted:?}");
            }
            let exists = |key: String| tenant.run::<bool>(&["EXISTS", &key]);
            assert!(
                !exists(tenant.key(&format!("user:{id}"))),
                "{damaged}: the record"
            );
            let (is_row, is_identity) = (
                exists(tenant.key("upstream:s:p")),
                exists(tenant.key("provider:4:okta:x")),
            );
            let expected = (damaged == "user:upstream", damaged == "user:providers");
            assert_eq!((is_row, is_identity), expected, "{damaged}");
            // The operator deletes the key, and a repeated call finds the rest by `check --repair`.
            tenant.run::<()>(&["DEL", &other]);
            broker.delete_user(&alice).await.unwrap();
        }
    }
}
