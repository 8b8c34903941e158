//! Calls about several providers show, refresh and name only the caller's.

use testkit::{
    broker::Broker,
    rows::{key, row, user},
};
use token_broker::{
    access::{Rights, Role},
    proto::v1::{self, delete_request::Target},
    store::MemoryStore,
    types::Reach,
};
use tonic::Code;

use super::world::{FOREIGN, OWN, World, policy, providers};
use crate::{
    access_tokens::after,
    every_rpc::{identity, pending},
    refusal::refused,
    serving::{get_all, session, store},
};

async fn world() -> World {
    let all = vec![Role::AuthServer, Role::Sidecar];
    let own = Reach {
        providers: providers(&[OWN]),
        client: None,
    };
    let callers = [
        (
            "all",
            Rights {
                roles: all.clone(),
                ..Rights::default()
            },
        ),
        (
            "own",
            Rights {
                roles: all,
                reach: own,
                ..Rights::default()
            },
        ),
    ];
    let world = World::start(policy(callers)).await;
    world.fill("all").await;
    world
}

#[tokio::test]
async fn get_all_shows_the_callers_providers() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    let names = |answer: v1::GetAllResponse| {
        let mut names: Vec<_> = answer.entries.into_keys().collect();
        names.sort();
        names
    };
    let found = own.broker.get_all(get_all("s")).await.unwrap();
    assert_eq!(names(found.into_inner()), [OWN]);
    let found = all.broker.get_all(get_all("s")).await.unwrap();
    assert_eq!(names(found.into_inner()), [OWN, FOREIGN]);
}

/// A row of a foreign provider that doesn't fit the binding would tell that it exists.
#[tokio::test]
async fn a_binding_is_not_compared_with_foreign_rows() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    let mut other = store("s", FOREIGN);
    other.tokens.as_mut().unwrap().upstream_subject = "another".to_owned();
    all.broker.store(other).await.unwrap();
    let bound = v1::GetAllRequest {
        binding: Some(v1::Binding {
            upstream_subject: Some("subject".to_owned()),
            ..Default::default()
        }),
        ..get_all("s")
    };
    let found = own.broker.get_all(bound.clone()).await.unwrap();
    assert_eq!(found.into_inner().entries.len(), 1);
    refused(
        all.broker.get_all(bound).await,
        Code::PermissionDenied,
        "BINDING_MISMATCH",
    );
}

#[tokio::test]
async fn get_all_access_tokens_names_no_foreign_provider() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    // The foreign one has to be refreshed, and can't be.
    let mut expired = store("s", FOREIGN);
    expired.tokens.as_mut().unwrap().expires_at = after(-60);
    all.broker.store(expired).await.unwrap();
    let request = v1::GetAllAccessTokensRequest {
        session_id: session("s"),
        ..Default::default()
    };
    let found = own.access.get_all_access_tokens(request.clone()).await;
    let found = found.unwrap().into_inner();
    assert_eq!(found.tokens.keys().collect::<Vec<_>>(), [OWN]);
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    let found = all.access.get_all_access_tokens(request).await;
    let found = found.unwrap().into_inner();
    assert_eq!((found.tokens.len(), found.failed.len()), (1, 1));
}

/// The pages together have each row of the caller's providers, and no other.
#[tokio::test]
async fn listings_show_the_callers_providers_page_by_page() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    for number in 0..20 {
        for provider in [OWN, FOREIGN] {
            let row = store(&format!("s{number}"), provider);
            all.broker.store(row).await.unwrap();
        }
    }
    for (caller, expected) in [(&mut own, 21), (&mut all, 42)] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListUserSessionsRequest {
                user_id: "u".to_owned(),
                page_size: 3,
                page_token: token,
            };
            let page = caller.broker.list_user_sessions(request).await.unwrap();
            let page = page.into_inner();
            assert!(page.sessions.len() <= 3);
            found.extend(
                page.sessions
                    .into_iter()
                    .map(|row| (row.session_id, row.provider)),
            );
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let is_foreign = |(_, provider): &&(String, String)| provider == FOREIGN;
        let foreign = found.iter().filter(is_foreign).count();
        found.sort();
        found.dedup();
        assert_eq!((found.len(), foreign), (expected, expected - 21));
    }
}

#[tokio::test]
async fn only_a_caller_of_all_providers_deletes_a_session_or_a_user() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    let session_of_all = || v1::DeleteRequest {
        session_id: session("s"),
        target: Some(Target::AllProviders(true)),
        version: None,
    };
    let user = || v1::DeleteUserRequest {
        user_id: "u".to_owned(),
    };
    let denied = own.broker.delete(session_of_all()).await;
    refused(denied, Code::PermissionDenied, "NOT_ALLOWED");
    let denied = own.broker.delete_user(user()).await;
    refused(denied, Code::PermissionDenied, "NOT_ALLOWED");
    let kept = all.broker.get_all(get_all("s")).await.unwrap();
    assert_eq!(kept.into_inner().entries.len(), 2);
    let deleted = all.broker.delete(session_of_all()).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 2);
    all.broker.delete_user(user()).await.unwrap();
}

#[tokio::test]
async fn list_identities_shows_the_callers_providers() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    let made = all.users.resolve_user(identity(OWN)).await.unwrap();
    let user_id = made.into_inner().user_id;
    let link = v1::LinkIdentityRequest {
        user_id: user_id.clone(),
        provider: FOREIGN.to_owned(),
        provider_subject: "subject".to_owned(),
    };
    all.users.link_identity(link).await.unwrap();
    for (caller, expected) in [(&mut own, vec![OWN]), (&mut all, vec![OWN, FOREIGN])] {
        let user_id = user_id.clone();
        let list = v1::ListIdentitiesRequest { user_id };
        let listed = caller.users.list_identities(list).await.unwrap();
        let identities = listed.into_inner().identities;
        let found: Vec<_> = identities.iter().map(|found| &*found.provider).collect();
        assert_eq!(found, expected);
    }
}

/// A caller of some providers takes what is for them, and without naming the provider nothing else. A callback that it names
/// its own provider for burns the authorization, whatever that was for.
#[tokio::test]
async fn a_foreign_authorization_is_not_there() {
    let world = world().await;
    let (mut own, mut all) = (world.caller("own").await, world.caller("all").await);
    all.pending.create(pending("x", FOREIGN)).await.unwrap();
    let consume = |provider: Option<&str>| v1::ConsumeRequest {
        state: session("x"),
        provider: provider.map(str::to_owned),
    };
    let denied = own.pending.consume(consume(Some(FOREIGN))).await;
    refused(denied, Code::PermissionDenied, "NOT_ALLOWED");
    let none = own.pending.consume(consume(None)).await;
    refused(none, Code::NotFound, "STATE_NOT_FOUND");
    let misrouted = own.pending.consume(consume(Some(OWN))).await;
    refused(misrouted, Code::FailedPrecondition, "PROVIDER_MISMATCH");
    let gone = all.pending.consume(consume(None)).await;
    refused(gone, Code::NotFound, "STATE_NOT_FOUND");
    all.pending.create(pending("y", FOREIGN)).await.unwrap();
    let consume = v1::ConsumeRequest {
        state: session("y"),
        provider: None,
    };
    all.pending.consume(consume).await.unwrap();
}

/// A page costs no more than a bound, however many rows of foreign providers the user has. Then it is short, and the next one
/// goes on behind it.
#[tokio::test]
async fn a_listing_that_finds_little_is_bounded_and_goes_on() {
    let rules = testkit::broker::rules("default:default".parse().unwrap());
    let broker = Broker::new(MemoryStore::new(), rules);
    for number in 0..9_000 {
        let name = format!("s{number}");
        let provider = if number % 1_000 == 999 { OWN } else { FOREIGN };
        broker.put(&key(&name, provider), &row("u", "at")).await;
    }
    let own = Reach {
        providers: providers(&[OWN]),
        client: None,
    };
    let (mut pages, mut found, mut token) = (0, Vec::new(), None::<String>);
    loop {
        let user = user("u");
        let listed = broker.list_user_sessions(&user, 1_000, token.as_deref(), &own);
        let page = listed.await.unwrap();
        found.extend(page.sessions.into_iter().map(|row| row.key));
        pages += 1;
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert!(found.iter().all(|key| key.provider.as_str() == OWN));
    found.sort_by(|a, b| a.session.as_str().cmp(b.session.as_str()));
    found.dedup();
    assert_eq!(found.len(), 9);
    assert!((2..=9).contains(&pages), "{pages}");
}
