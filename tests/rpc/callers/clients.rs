//! Callers that are kept to their client: each read names it, and no other client's row is reached on any way.

use token_broker::{
    access::{Rights, Role, Rpc},
    proto::v1,
    types::Reach,
};
use tonic::Code;

use super::world::{Asks, Connection, OWN, World, client_id, policy, reason};
use crate::{
    every_rpc::pending,
    refusal::{refusal, refused},
    serving::{SECRET, get, session, store},
};

async fn world() -> World {
    let kept = |client: Option<&str>| Rights {
        roles: vec![Role::AuthServer, Role::Sidecar],
        client_id: client_id("web"),
        reach: Reach {
            client: client.and_then(client_id),
            ..Reach::default()
        },
        ..Rights::default()
    };
    let callers = [("free", kept(None)), ("kept", kept(Some("web")))];
    let world = World::start(policy(callers)).await;
    // Of another client.
    world.fill("free").await;
    world
}

fn asks(client: Option<&'static str>) -> Asks {
    Asks {
        provider: OWN,
        client,
    }
}

/// The reads that bring a binding, which has to name the caller's own client.
const BOUND: [Rpc; 4] = [
    Rpc::Get,
    Rpc::GetAll,
    Rpc::GetAccessToken,
    Rpc::GetAllAccessTokens,
];

#[tokio::test]
async fn each_read_has_to_name_the_callers_client() {
    let world = world().await;
    let (mut kept, mut free) = (world.caller("kept").await, world.caller("free").await);
    for rpc in BOUND {
        assert_eq!(
            reason(kept.call(rpc, asks(None)).await),
            "INVALID_FIELD",
            "{rpc}"
        );
        let other = kept.call(rpc, asks(Some("client"))).await;
        assert_eq!(reason(other), "NOT_ALLOWED", "{rpc}");
        let foreign_row = kept.call(rpc, asks(Some("web"))).await;
        assert_eq!(reason(foreign_row), "BINDING_MISMATCH", "{rpc}");
        assert_eq!(reason(free.call(rpc, asks(None)).await), "OK", "{rpc}");
        assert_eq!(
            reason(free.call(rpc, asks(Some("client"))).await),
            "OK",
            "{rpc}"
        );
    }
    let unbound = kept.broker.get(get("s", OWN)).await;
    assert_eq!(refusal(unbound).fields, ["binding.client_id"]);
    // Another part of the binding is not enough.
    let by_user = v1::GetRequest {
        binding: Some(v1::Binding {
            user_id: Some("u".to_owned()),
            ..Default::default()
        }),
        ..get("s", OWN)
    };
    assert_eq!(
        refusal(kept.broker.get(by_user).await).fields,
        ["binding.client_id"]
    );

    kept.broker.store(of_client("mine", "web")).await.unwrap();
    let mine = v1::GetRequest {
        binding: asks(Some("web")).binding(),
        ..get("mine", OWN)
    };
    kept.broker.get(mine).await.unwrap();
}

/// Whatever a call asks for, and whichever RPC it is, also one that is new. The control is the caller that is free.
#[tokio::test]
async fn no_answer_has_a_secret_of_another_client() {
    let mut given = Vec::new();
    for rpc in Rpc::ALL {
        for client in [None, Some("web"), Some("client")] {
            for name in ["kept", "free"] {
                let world = world().await;
                let mut free = world.caller("free").await;
                free.call(Rpc::Create, asks(Some("client"))).await.unwrap();
                let mut caller = world.caller(name).await;
                let answer = caller.send(*rpc, asks(client).requests()).await;
                let bytes = answer.unwrap_or_else(|status| format!("{status:?}").into_bytes());
                if memchr::memmem::find(&bytes, SECRET.as_bytes()).is_some() {
                    assert_eq!(name, "free", "{rpc} {client:?}");
                    given.push(*rpc);
                }
            }
        }
    }
    given.dedup();
    assert_eq!(
        given,
        [
            Rpc::Get,
            Rpc::GetAll,
            Rpc::GetLatestForUser,
            Rpc::ListUserSessions,
            Rpc::BeginRefresh,
            Rpc::CompleteRefresh,
            Rpc::GetAccessToken,
            Rpc::GetAllAccessTokens,
            Rpc::Consume,
        ]
    );
}

fn of_client(session: &str, client: &str) -> v1::StoreRequest {
    let mut request = store(session, OWN);
    request.tokens.as_mut().unwrap().client_id = client.to_owned();
    request
}

/// Reads without a binding in the request reach the caller's own rows all the same.
#[tokio::test]
async fn reads_about_a_user_reach_the_callers_client_alone() {
    let world = world().await;
    let (mut kept, mut free) = (world.caller("kept").await, world.caller("free").await);
    let latest = || v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: OWN.to_owned(),
    };
    let none = kept.broker.get_latest_for_user(latest()).await;
    refused(none, Code::NotFound, "ROW_NOT_FOUND");
    assert!(free.broker.get_latest_for_user(latest()).await.is_ok());
    let listed = async |caller: &mut Connection| {
        let request = v1::ListUserSessionsRequest {
            user_id: "u".to_owned(),
            ..Default::default()
        };
        let page = caller.broker.list_user_sessions(request).await.unwrap();
        let mut clients: Vec<_> = page
            .into_inner()
            .sessions
            .into_iter()
            .map(|row| row.client_id)
            .collect();
        clients.sort();
        clients
    };
    assert_eq!(listed(&mut kept).await, [""; 0]);
    kept.broker.store(of_client("mine", "web")).await.unwrap();
    assert_eq!(listed(&mut kept).await, ["web"]);
    assert_eq!(listed(&mut free).await, ["client", "client", "web"]);
    let found = kept.broker.get_latest_for_user(latest()).await.unwrap();
    let tokens = found.into_inner().entry.unwrap().tokens.unwrap();
    assert_eq!(tokens.client_id, "web");
}

#[tokio::test]
async fn no_row_of_another_client_is_stored() {
    let world = world().await;
    let mut kept = world.caller("kept").await;
    for client in ["client", ""] {
        let denied = kept.broker.store(of_client("new", client)).await;
        refused(denied, Code::PermissionDenied, "NOT_ALLOWED");
    }
}

/// Carrying forward would hand the refresh token of another client's row to the caller.
#[tokio::test]
async fn no_refresh_token_of_another_client_is_carried_forward() {
    let world = world().await;
    let mut kept = world.caller("kept").await;
    // From the user's other session, and from the row that is replaced.
    for name in ["mine", "s"] {
        let mut request = of_client(name, "web");
        request.carry_forward_refresh_token = true;
        request.tokens.as_mut().unwrap().refresh_token = String::new();
        kept.broker.store(request).await.unwrap();
        let read = v1::GetRequest {
            binding: asks(Some("web")).binding(),
            ..get(name, OWN)
        };
        let read = kept.broker.get(read).await.unwrap().into_inner();
        assert_eq!(
            read.entry.unwrap().tokens.unwrap().refresh_token,
            "",
            "{name}"
        );
    }
    // Its own is.
    kept.broker.store(of_client("mine", "web")).await.unwrap();
    let mut again = of_client("again", "web");
    again.carry_forward_refresh_token = true;
    again.tokens.as_mut().unwrap().refresh_token = String::new();
    kept.broker.store(again).await.unwrap();
    let read = v1::GetRequest {
        binding: asks(Some("web")).binding(),
        ..get("again", OWN)
    };
    let read = kept.broker.get(read).await.unwrap().into_inner();
    let carried = read.entry.unwrap().tokens.unwrap().refresh_token;
    assert_eq!(carried, format!("rt-{SECRET}"));
}

/// Refreshes by auth servers answer whole rows, and change them.
#[tokio::test]
async fn no_row_of_another_client_is_refreshed() {
    let world = world().await;
    let (mut kept, mut free) = (world.caller("kept").await, world.caller("free").await);
    let read = free.broker.get(get("s", OWN)).await.unwrap().into_inner();
    let version = read.entry.unwrap().version;
    let begin = |attempt: u8| v1::BeginRefreshRequest {
        session_id: session("s"),
        provider: OWN.to_owned(),
        version,
        attempt_id: vec![attempt; 16],
    };
    let denied = kept.broker.begin_refresh(begin(1)).await;
    refused(denied, Code::PermissionDenied, "BINDING_MISMATCH");
    // Also as somebody who asks for a newer row.
    let stale = v1::BeginRefreshRequest {
        version: version % 1_000 + 1,
        ..begin(1)
    };
    let denied = kept.broker.begin_refresh(stale).await;
    refused(denied, Code::PermissionDenied, "BINDING_MISMATCH");
    let denied = kept.call(Rpc::CompleteRefresh, asks(None)).await;
    assert_eq!(reason(denied), "BINDING_MISMATCH");
    // No lease was given: another caller gets one at once.
    let begun = free
        .broker
        .begin_refresh(begin(2))
        .await
        .unwrap()
        .into_inner();
    let outcome = format!(
        "{:?}",
        begun
            .outcome
            .map(|outcome| std::mem::discriminant(&outcome))
    );
    let lease = v1::begin_refresh_response::Outcome::Lease(v1::RefreshLease::default());
    assert_eq!(
        outcome,
        format!("{:?}", Some(std::mem::discriminant(&lease)))
    );
}

/// Whoever consumes another client's authorization would take over its login.
#[tokio::test]
async fn no_authorization_of_another_client_is_created_or_consumed() {
    let world = world().await;
    let (mut kept, mut free) = (world.caller("kept").await, world.caller("free").await);
    let of = |state: &str, client: &str| v1::CreateRequest {
        client_id: client.to_owned(),
        ..pending(state, OWN)
    };
    let consume = |state: &str, provider: Option<&str>| v1::ConsumeRequest {
        state: session(state),
        provider: provider.map(str::to_owned),
    };
    let denied = kept.pending.create(of("foreign", "client")).await;
    refused(denied, Code::PermissionDenied, "NOT_ALLOWED");
    free.pending.create(of("foreign", "client")).await.unwrap();
    // Neither gets it nor burns it.
    for provider in [None, Some(OWN), Some("another")] {
        let none = kept.pending.consume(consume("foreign", provider)).await;
        refused(none, Code::NotFound, "STATE_NOT_FOUND");
    }
    let taken = free.pending.consume(consume("foreign", None)).await;
    assert_eq!(taken.unwrap().into_inner().client_id, "client");

    kept.pending.create(of("mine", "web")).await.unwrap();
    let taken = kept.pending.consume(consume("mine", Some(OWN))).await;
    assert_eq!(taken.unwrap().into_inner().client_id, "web");
}
