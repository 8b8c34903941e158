//! Tests what a call that expects its own client, by its binding or by the policy, is told of what belongs to another client and
//! is sealed under a key that the broker lacks. What stays readable says whose it is. With the key, the answer is the same.

use std::time::Duration;

use testkit::{
    broker::{Broker, request},
    pending::{client, state},
    redis_tenant::RedisTenant,
    rows::{key, provider, refresh_token, row, session, user},
};
use token_broker::{
    error::Error,
    refresh::Outcome,
    store::{Sealed, redis::RedisStore},
    tokens::{Binding, Completion, StoreTokens, Wanted},
    types::{AttemptId, ClientId, ProviderSet, Reach, Row, RowKey, TokenHash},
};
use tokio::time::Instant;

use crate::{
    name,
    pending::{new, pending, text as pending_text},
    tenant, text,
};

const OWN: &str = "own";

/// How far a caller reaches that is kept to its client.
fn kept() -> Reach {
    Reach {
        client: Some(client(OWN)),
        ..Reach::default()
    }
}

fn bound_to(client: &str) -> Binding {
    Binding {
        client_id: ClientId::new(client).ok(),
        ..Binding::default()
    }
}

/// A row of the caller's client, without a refresh token.
fn of_own_client(user: &str) -> Row {
    Row {
        client_id: Some(client(OWN)),
        refresh_token: None,
        ..row(user, "mine")
    }
}

fn carrying(key: &RowKey, row: &Row) -> StoreTokens {
    StoreTokens {
        carry_forward: true,
        ..request(key, row)
    }
}

/// A tenant with a row of another client under a new key; who has that key; and who has the old one alone.
async fn half_rolled_out() -> (RedisTenant, [Broker<Sealed<RedisStore>>; 2]) {
    let tenant = tenant();
    let ahead = tenant.sealed_broker(&["new", "old"]);
    let behind = tenant.sealed_broker(&["old"]);
    ahead.put(&key("theirs", "p"), &row("u", "theirs")).await;
    (tenant, [ahead, behind])
}

#[tokio::test]
async fn a_read_that_is_bound_to_another_client_is_a_mismatch() {
    let (_tenant, brokers) = half_rolled_out().await;
    let (at, session) = (key("theirs", "p"), session("theirs"));
    let deadline = Instant::now() + Duration::from_secs(60);
    let of_another_user = Binding {
        user_id: Some(user("v")),
        ..Binding::default()
    };
    for broker in &brokers {
        for binding in [bound_to(OWN), of_another_user.clone()] {
            let reach = Reach::default();
            let wanted = Wanted::default();
            let told = [
                broker.get(&at, &binding).await.err(),
                broker.get_all(&session, &binding, &reach).await.err(),
                broker
                    .access_token(&at, &wanted, &binding, deadline)
                    .await
                    .err(),
                broker
                    .access_tokens(&session, None, &binding, &reach, deadline)
                    .await
                    .err(),
            ];
            for (told, call) in
                told.into_iter()
                    .zip(["get", "get_all", "access_token", "access_tokens"])
            {
                assert!(
                    matches!(told, Some(Error::BindingMismatch)),
                    "{call}: {told:?}"
                );
            }
        }
    }
    // Whose it is, is told that the key is missing.
    let [_, behind] = brokers;
    let own = behind.get(&at, &bound_to("client")).await;
    assert!(matches!(own, Err(Error::KeyMissing(_))), "{own:?}");
    let own = behind
        .get_all(&session, &bound_to("client"), &Reach::default())
        .await;
    assert!(own.unwrap().unreadable.contains_key(&at.provider));
}

#[tokio::test]
async fn a_refresh_of_another_clients_row_is_a_mismatch() {
    let (tenant, brokers) = half_rolled_out().await;
    let at = key("theirs", "p");
    let version = brokers[0].version(&at).await.unwrap();
    let before = text(&tenant, &at);
    for broker in &brokers {
        let attempt = AttemptId::random();
        let begun = broker.begin_refresh(&at, version, attempt, &kept()).await;
        assert!(matches!(begun, Err(Error::BindingMismatch)), "{begun:?}");
        let completion = Completion {
            attempt,
            token: TokenHash::from_bytes([7; 32]),
            version,
            outcome: Outcome::Refused,
        };
        let completed = broker.complete_refresh(&at, completion, &kept()).await;
        assert!(
            matches!(completed, Err(Error::BindingMismatch)),
            "{completed:?}"
        );
    }
    assert_eq!(text(&tenant, &at), before);
    let free = Reach::default();
    let begun = brokers[1]
        .begin_refresh(&at, version, AttemptId::random(), &free)
        .await;
    assert!(matches!(begun, Err(Error::KeyMissing(_))), "{begun:?}");
}

/// A damaged row names no client, so that it is none of the caller's.
#[tokio::test]
async fn reads_about_a_user_find_the_callers_client_alone() {
    let (tenant, brokers) = half_rolled_out().await;
    let at = key("theirs", "p");
    let whole = text(&tenant, &at);
    for stored in [whole.as_str(), "{"] {
        tenant.write_row(&name(&at), stored);
        for broker in &brokers {
            let latest = broker
                .latest_for_user(&user("u"), &at.provider, &kept())
                .await;
            assert!(
                matches!(latest, Err(Error::UserRowNotFound)),
                "{stored}: {latest:?}"
            );
            let page = broker
                .list_user_sessions(&user("u"), 0, None, &kept())
                .await;
            assert!(page.unwrap().sessions.is_empty());
        }
    }
    // Who is free is told of it.
    let latest = brokers[0]
        .latest_for_user(&user("u"), &at.provider, &Reach::default())
        .await;
    assert!(matches!(latest, Err(Error::RowUnreadable(_))), "{latest:?}");
}

/// A login goes on, whatever rows of the user other clients have.
#[tokio::test]
async fn a_login_does_not_depend_on_another_clients_row() {
    let (tenant, brokers) = half_rolled_out().await;
    let theirs = text(&tenant, &key("theirs", "p"));
    let mine = key("mine", "p");
    for broker in &brokers {
        let login = carrying(&mine, &of_own_client("u"));
        broker.store_within(login, &kept()).await.unwrap();
        let stored = broker.read(&mine).await.unwrap().row;
        assert_eq!(refresh_token(&stored), "");
        // It would be one of the client's own for the other broker.
        assert!(broker.remove(&mine).await);
    }
    let [ahead, behind] = &brokers;
    // Who is free may carry that row's token.
    let free = carrying(&key("free", "p"), &of_own_client("u"));
    let told = behind.store(free).await;
    assert!(matches!(told, Err(Error::KeyMissing(_))), "{told:?}");
    // So may a caller that is kept, if the row is of its own client.
    let with_token = Row {
        refresh_token: row("w", "kept").refresh_token,
        ..of_own_client("w")
    };
    ahead.put(&key("own", "p"), &with_token).await;
    let login = carrying(&key("again", "p"), &of_own_client("w"));
    let told = behind.store_within(login, &kept()).await;
    assert!(matches!(told, Err(Error::KeyMissing(_))), "{told:?}");
    assert_eq!(text(&tenant, &key("theirs", "p")), theirs);
}

/// The readable part of a row is no reason to lose the row: nothing vouches for it.
#[tokio::test]
async fn a_carry_forward_never_replaces_what_it_cannot_open() {
    let (tenant, [_, behind]) = half_rolled_out().await;
    let at = key("theirs", "p");
    let before = text(&tenant, &at);
    let told = behind
        .store_within(carrying(&at, &of_own_client("u")), &kept())
        .await;
    assert!(matches!(told, Err(Error::KeyMissing(_))), "{told:?}");
    assert_eq!(text(&tenant, &at), before);
}

/// Those who lack the key, and those whose envelope doesn't open.
#[tokio::test]
async fn an_authorization_of_another_client_is_none() {
    let tenant = tenant();
    let ahead = pending(&tenant, &["new", "old"]);
    let behind = pending(&tenant, &["old"]);
    ahead.create(new("x")).await.unwrap();
    let whole = pending_text(&tenant, "x");
    let damaged = whole.replace("user-of-the-login", "user-of-another-login");
    assert_ne!(whole, damaged);
    let at = |providers: &[&str]| Reach {
        providers: ProviderSet::Named(providers.iter().map(|name| provider(name)).collect()),
        ..Reach::default()
    };
    for (stored, broker, what) in [
        (&whole, &ahead, "whole"),
        (&whole, &behind, "without its key"),
        (&damaged, &ahead, "damaged"),
    ] {
        tenant.write_row("pending:x", stored);
        let x = state("x");
        for (named, reach) in [
            (None, kept()),
            (Some(provider("okta")), kept()),
            (Some(provider("evil")), kept()),
            (None, at(&["evil"])),
        ] {
            let told = broker.consume(&x, named.as_ref(), &reach).await;
            assert!(
                matches!(told, Err(Error::StateNotFound)),
                "{what}, {named:?}: {told:?}"
            );
        }
        assert_eq!(&pending_text(&tenant, "x"), stored, "{what}");
        // Who reaches it is told what is wrong with it.
        let own = Reach {
            client: Some(client("client-of-the-login")),
            ..at(&["okta"])
        };
        let told = broker.consume(&x, None, &own).await;
        match what {
            "whole" => assert!(told.is_ok(), "{told:?}"),
            "damaged" => assert!(matches!(told, Err(Error::RecordUnreadable(_))), "{told:?}"),
            _ => assert!(matches!(told, Err(Error::KeyMissing(_))), "{told:?}"),
        }
    }
}
