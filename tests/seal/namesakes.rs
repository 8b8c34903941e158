//! Tests two keys of one name: each broker's own key file, or a file that was made anew. A key is told by its fingerprint, so
//! that the wrong one is a missing one.

use testkit::{
    broker::{Broker, request},
    redis_tenant::RedisTenant,
    rows::{access_token, key, row, session},
    sealing,
};
use token_broker::{
    error::Error,
    seal::{KeyRing, Keys, MasterKey},
    store::{
        Sealed, Sealing,
        redis::{
            RedisStore,
            maintenance::{
                progress::Silent,
                reseal::{Report, Reseal},
            },
        },
    },
    tokens::{Binding, StoreTokens},
    types::Row,
};

use crate::{sealed_with, tenant, text};

fn with(tenant: &RedisTenant, keys: Vec<MasterKey>) -> Sealing {
    Sealing {
        keys: Keys::fixed(KeyRing::of(keys)),
        ..Sealing::off(tenant.name().clone())
    }
}

fn broker(tenant: &RedisTenant, keys: Vec<MasterKey>) -> Broker<Sealed<RedisStore>> {
    let rules = testkit::broker::rules(tenant.name().clone());
    Broker::new(Sealed::new(tenant.store(), with(tenant, keys)), rules)
}

/// A tenant with a row that `k` has sealed, and a broker whose `k` is another key.
async fn two_keys_of_one_name() -> (RedisTenant, Broker<Sealed<RedisStore>>) {
    let tenant = tenant();
    let first = broker(&tenant, vec![sealing::key("k")]);
    first.put(&key("s", "p"), &row("u", "at")).await;
    let second = broker(&tenant, vec![sealing::namesake("k")]);
    second.put(&key("s", "q"), &row("u", "theirs")).await;
    for provider in ["p", "q"] {
        let under = sealed_with(&tenant, &key("s", provider));
        assert_eq!(under.as_deref(), Some("k"));
    }
    (tenant, second)
}

fn is_missing<T: std::fmt::Debug>(answer: Result<T, Error>) {
    match answer {
        Err(Error::KeyMissing(key)) => assert_eq!(key, *sealing::key("k").id()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wrong_key_of_the_same_name_is_a_missing_one() {
    let (tenant, second) = two_keys_of_one_name().await;
    let at = key("s", "p");
    is_missing(second.get(&at, &Binding::default()).await);
    let all = second
        .get_all(&session("s"), &Binding::default(), &Default::default())
        .await
        .unwrap();
    assert_eq!((all.rows.len(), all.unreadable.len()), (1, 1));
    // Nothing overwrites what another broker can read.
    let before = text(&tenant, &at);
    let without = Row {
        refresh_token: None,
        ..row("u", "next")
    };
    let carrying = StoreTokens {
        carry_forward: true,
        ..request(&at, &without)
    };
    is_missing(second.store(carrying).await);
    assert_eq!(text(&tenant, &at), before);
}

async fn rotated(tenant: &RedisTenant, keys: Vec<MasterKey>) -> Report {
    let reseal = Reseal::new(&tenant.store(), with(tenant, keys)).taking(100);
    reseal.run(&Silent).await.unwrap()
}

#[tokio::test]
async fn a_rotation_with_the_wrong_key_leaves_the_row_and_says_which_key_it_is() {
    let (tenant, _) = two_keys_of_one_name().await;
    let before = text(&tenant, &key("s", "p"));
    let report = rotated(&tenant, vec![sealing::namesake("k")]).await;
    assert_eq!(
        (report.counts.key_missing, report.counts.unreadable),
        (1, 0)
    );
    assert_eq!(text(&tenant, &key("s", "p")), before);
    let told = report.to_string();
    let lacking = format!(
        "rows under {}, which is not here (the key of this name is another one): 1",
        sealing::key("k").id()
    );
    assert!(told.contains(&lacking), "{told}");
    assert!(told.contains("give one of them another name"), "{told}");
}

/// What the report advises: a name is for people, and so the key opens its rows under any.
#[tokio::test]
async fn a_key_that_got_another_name_opens_what_it_sealed() {
    let (tenant, _) = two_keys_of_one_name().await;
    let renamed = sealing::renamed("k", "k-old");
    let both = || vec![sealing::namesake("k"), renamed.clone()];
    let opens = broker(&tenant, both());
    for (provider, token) in [("p", "at"), ("q", "theirs")] {
        let read = opens.read(&key("s", provider)).await.unwrap();
        assert_eq!(access_token(&read.row), token);
    }
    // A row that a key has sealed under another name is sealed with it.
    let same = rotated(&tenant, vec![renamed.clone(), sealing::namesake("k")]).await;
    assert_eq!((same.done.resealed, same.left()), (1, 0), "{same}");
    let report = rotated(&tenant, both()).await;
    assert_eq!((report.done.resealed, report.left()), (2, 0), "{report}");
}
