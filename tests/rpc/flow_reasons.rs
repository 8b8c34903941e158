//! Tests each error reason of `Identities` and `PendingAuthorizations` (guarantees, sections 2.3 to 2.5). `refusal` checks each
//! time that no error repeats a secret.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use testkit::{
    broker::rules,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    resp_proxy::{Fate, RespProxy},
};
use token_broker::{
    access::Guard,
    proto::v1,
    server::Ready,
    store::{MemoryStore, PendingLimits},
    tokens::{Limits, Rules},
};
use tonic::Code;

use crate::{
    every_rpc::{identity, pending},
    refusal::{refusal, refused},
    serving::{OfTenant, SECRET, Serving, get, options, session, store},
};

fn link(user_id: &str, subject: &str) -> v1::LinkIdentityRequest {
    v1::LinkIdentityRequest {
        user_id: user_id.to_owned(),
        provider: "p".to_owned(),
        provider_subject: subject.to_owned(),
    }
}

fn consume(state: &str, provider: Option<&str>) -> v1::ConsumeRequest {
    v1::ConsumeRequest {
        state: session(state),
        provider: provider.map(str::to_owned),
    }
}

/// A broker of small limits.
async fn limited() -> Serving {
    let rules = Rules {
        limits: Limits {
            identities: 2,
            pending: PendingLimits {
                of_client: 2,
                of_tenant: 3,
            },
            ..Limits::default()
        },
        ..rules("default:default".parse().unwrap())
    };
    let guard = Guard::open(rules.tenant.clone());
    let tenant: OfTenant<_> = (MemoryStore::new(), rules, Box::new(Ready));
    Serving::of_tenants(guard, [tenant], options()).await
}

#[tokio::test]
async fn user_not_found() {
    let serving = Serving::memory().await;
    let mut users = serving.users().await;
    let get = |user_id: &str| v1::GetUserRequest {
        user_id: user_id.to_owned(),
    };
    let unknown = users.get_user(get(SECRET)).await;
    refused(unknown, Code::NotFound, "USER_NOT_FOUND");
    let unknown = users.link_identity(link(SECRET, "subject")).await;
    refused(unknown, Code::NotFound, "USER_NOT_FOUND");
    // Whoever was deleted is unknown.
    let made = users.resolve_user(identity("p")).await.unwrap();
    let user_id = made.into_inner().user_id;
    users.get_user(get(&user_id)).await.unwrap();
    let delete = v1::DeleteUserRequest {
        user_id: user_id.clone(),
    };
    let deleted = serving.client().await.delete_user(delete).await.unwrap();
    let deleted = deleted.into_inner();
    assert!(deleted.existed && deleted.deleted_identities == 1);
    let gone = users.get_user(get(&user_id)).await;
    refused(gone, Code::NotFound, "USER_NOT_FOUND");
    // Whoever comes back is another user.
    let again = users
        .resolve_user(identity("p"))
        .await
        .unwrap()
        .into_inner();
    assert!(again.created && again.user_id != user_id);
}

#[tokio::test]
async fn identity_linked() {
    let serving = Serving::memory().await;
    let mut users = serving.users().await;
    let one = users
        .resolve_user(identity("p"))
        .await
        .unwrap()
        .into_inner();
    let two = users
        .resolve_user(identity("q"))
        .await
        .unwrap()
        .into_inner();
    let taken = users.link_identity(link(&two.user_id, "subject")).await;
    refused(taken, Code::AlreadyExists, "IDENTITY_LINKED");
    let again = users.link_identity(link(&one.user_id, "subject")).await;
    assert!(!again.unwrap().into_inner().linked);
    let new = users.link_identity(link(&two.user_id, "another")).await;
    assert!(new.unwrap().into_inner().linked);
}

#[tokio::test]
async fn too_many_identities() {
    let serving = limited().await;
    let mut users = serving.users().await;
    let one = users.resolve_user(identity("p")).await.unwrap();
    let user_id = one.into_inner().user_id;
    users.link_identity(link(&user_id, "2")).await.unwrap();
    let full = users.link_identity(link(&user_id, "3")).await;
    refused(full, Code::ResourceExhausted, "TOO_MANY_IDENTITIES");
    // One that it has is no further one.
    users.link_identity(link(&user_id, "2")).await.unwrap();
    let unlink = v1::UnlinkIdentityRequest {
        provider: "p".to_owned(),
        provider_subject: "2".to_owned(),
        user_id: None,
    };
    users.unlink_identity(unlink).await.unwrap();
    users.link_identity(link(&user_id, "3")).await.unwrap();
}

#[tokio::test]
async fn state_not_found() {
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    let unknown = client.consume(consume("unknown", None)).await;
    refused(unknown, Code::NotFound, "STATE_NOT_FOUND");
    client.create(pending("state", "p")).await.unwrap();
    client.consume(consume("state", Some("p"))).await.unwrap();
    let again = client.consume(consume("state", Some("p"))).await;
    refused(again, Code::NotFound, "STATE_NOT_FOUND");
}

#[tokio::test]
async fn state_exists() {
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    client.create(pending("state", "p")).await.unwrap();
    let taken = client.create(pending("state", "q")).await;
    refused(taken, Code::AlreadyExists, "STATE_EXISTS");
    let kept = client.consume(consume("state", None)).await.unwrap();
    assert_eq!(kept.into_inner().provider, "p");
    // It stays taken for a while.
    let used = client.create(pending("state", "p")).await;
    refused(used, Code::AlreadyExists, "STATE_EXISTS");
}

#[tokio::test]
async fn provider_mismatch() {
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    client.create(pending("state", "p")).await.unwrap();
    let misrouted = client.consume(consume("state", Some("q"))).await;
    refused(misrouted, Code::FailedPrecondition, "PROVIDER_MISMATCH");
    let burnt = client.consume(consume("state", Some("p"))).await;
    refused(burnt, Code::NotFound, "STATE_NOT_FOUND");
}

#[tokio::test]
async fn too_many_pending() {
    let serving = limited().await;
    let mut client = serving.pending().await;
    let of = |state: &str, client: &str| v1::CreateRequest {
        client_id: client.to_owned(),
        ..pending(state, "p")
    };
    for state in ["1", "2"] {
        client.create(of(state, "a")).await.unwrap();
    }
    let full = client.create(of("3", "a")).await;
    refused(full, Code::ResourceExhausted, "TOO_MANY_PENDING");
    // Another client isn't locked out by that.
    client.create(of("3", "b")).await.unwrap();
    let full = client.create(of("4", "b")).await;
    refused(full, Code::ResourceExhausted, "TOO_MANY_PENDING");
    client.consume(consume("1", None)).await.unwrap();
    client.create(of("4", "b")).await.unwrap();
}

#[tokio::test]
async fn a_payload_that_is_too_large() {
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    let of = |size| v1::CreateRequest {
        payload: SECRET
            .as_bytes()
            .iter()
            .copied()
            .cycle()
            .take(size)
            .collect(),
        ..pending("state", "p")
    };
    let large = client.create(of(16 * 1024 + 1)).await;
    refused(large, Code::ResourceExhausted, "TOO_LARGE");
    client.create(of(16 * 1024)).await.unwrap();
}

#[tokio::test]
async fn record_unreadable() {
    let tenant = RedisTenant::on(RedisServer::shared());
    let serving = Serving::redis(&tenant, options()).await;
    let (mut users, mut client) = (serving.users().await, serving.pending().await);
    let damaged = format!("{{\"broker\":\"{SECRET}\"");
    let subject = "provider:1:p:subject";
    tenant.run::<()>(&["SET", &tenant.key(subject), &damaged]);
    tenant.run::<()>(&["SET", &tenant.key("user:u"), &damaged]);
    let state = format!("pending:{}", session("state"));
    tenant.run::<()>(&["SET", &tenant.key(&state), &damaged]);

    let get = v1::GetUserRequest {
        user_id: "u".to_owned(),
    };
    refused(
        users.get_user(get).await,
        Code::DataLoss,
        "RECORD_UNREADABLE",
    );
    // No second user is made for the person.
    let resolved = users.resolve_user(identity("p")).await;
    refused(resolved, Code::DataLoss, "RECORD_UNREADABLE");
    let linked = users.link_identity(link("u", "subject")).await;
    refused(linked, Code::DataLoss, "RECORD_UNREADABLE");
    let unlink = v1::UnlinkIdentityRequest {
        provider: "p".to_owned(),
        provider_subject: "subject".to_owned(),
        user_id: None,
    };
    let unlinked = users.unlink_identity(unlink).await;
    refused(unlinked, Code::DataLoss, "RECORD_UNREADABLE");
    let consumed = client.consume(consume("state", None)).await;
    refused(consumed, Code::DataLoss, "RECORD_UNREADABLE");
}

/// The answer to a `Consume` is lost once: the broker finds out that this call took it, and nobody else gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_doesnt_cost_a_login() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let direct = Serving::redis(&tenant, options()).await;
    // Redis knows the scripts from here on.
    let mut client = direct.pending().await;
    client.create(pending("first", "p")).await.unwrap();
    client.consume(consume("first", None)).await.unwrap();
    let mut users = direct.users().await;
    let made = users
        .resolve_user(identity("q"))
        .await
        .unwrap()
        .into_inner();
    let unlink = |subject: &str| v1::UnlinkIdentityRequest {
        provider: "p".to_owned(),
        provider_subject: subject.to_owned(),
        user_id: None,
    };
    users.link_identity(link(&made.user_id, "x")).await.unwrap();
    users.unlink_identity(unlink("x")).await.unwrap();

    let losing = Arc::<AtomicBool>::default();
    let loses = Arc::clone(&losing);
    let proxy = RespProxy::start(server.port(), move |command| {
        let key = command.args.get(3);
        let is_flow = |key: &Vec<u8>| {
            let key = String::from_utf8_lossy(key);
            key.contains(":pending:") || key.contains(":provider:")
        };
        let writes = command.name() == "EVALSHA" && key.is_some_and(|key| is_flow(&key.to_vec()));
        let lost = writes && loses.swap(false, Ordering::SeqCst);
        async move { if lost { Fate::DropAfter } else { Fate::Forward } }
    })
    .await;
    let serving = Serving::redis(&tenant.at_port(proxy.port()), options()).await;
    let (mut users, mut client) = (serving.users().await, serving.pending().await);
    let lose = || losing.store(true, Ordering::SeqCst);
    let was_lost = || assert!(!losing.load(Ordering::SeqCst), "no answer was lost");

    lose();
    client.create(pending("state", "p")).await.unwrap();
    was_lost();
    lose();
    client.consume(consume("state", None)).await.unwrap();
    was_lost();
    let again = client.consume(consume("state", None)).await;
    refused(again, Code::NotFound, "STATE_NOT_FOUND");

    lose();
    let made = users
        .resolve_user(identity("p"))
        .await
        .unwrap()
        .into_inner();
    was_lost();
    assert!(made.created);
    lose();
    let linked = users.link_identity(link(&made.user_id, "y")).await.unwrap();
    was_lost();
    assert!(linked.into_inner().linked);
    lose();
    let unlinked = users.unlink_identity(unlink("y")).await.unwrap();
    was_lost();
    assert!(unlinked.into_inner().unlinked);
}

/// Nothing begins under the name of a protocol, for whichever RPC it would (guarantees, section 1). What is there already can be
/// read and removed.
#[tokio::test]
async fn the_name_of_a_protocol_is_no_provider() {
    let serving = Serving::memory().await;
    let (mut users, mut client) = (serving.users().await, serving.pending().await);
    let mut tokens = serving.client().await;
    let user_id = users
        .resolve_user(identity("p"))
        .await
        .unwrap()
        .into_inner()
        .user_id;
    for name in ["oidc", "oauth2"] {
        let link = v1::LinkIdentityRequest {
            provider: name.to_owned(),
            ..link(&user_id, "x")
        };
        let unlink = v1::UnlinkIdentityRequest {
            provider: name.to_owned(),
            provider_subject: "x".to_owned(),
            user_id: None,
        };
        for (rpc, found) in [
            (
                "ResolveUser",
                refusal(users.resolve_user(identity(name)).await),
            ),
            ("LinkIdentity", refusal(users.link_identity(link).await)),
            (
                "UnlinkIdentity",
                refusal(users.unlink_identity(unlink).await),
            ),
            (
                "Create",
                refusal(client.create(pending("state", name)).await),
            ),
            ("Store", refusal(tokens.store(store("s", name)).await)),
        ] {
            assert_eq!(found.code, Code::InvalidArgument, "{rpc}");
            assert_eq!(found.fields, ["provider"], "{rpc}");
        }
        let absent = tokens.get(get("s", name)).await;
        refused(absent, Code::NotFound, "ROW_NOT_FOUND");
        let stray = client.consume(consume("state", Some(name))).await;
        refused(stray, Code::NotFound, "STATE_NOT_FOUND");
    }
    // The control.
    tokens.store(store("s", "OIDC")).await.unwrap();
}
