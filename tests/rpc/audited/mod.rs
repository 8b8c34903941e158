//! The audit trail (guarantees, section 8): each call has one event, which says what happened and no secret, and no answer
//! leaves without it.

mod flood;
mod places;
mod trail;
mod withheld;

use std::{collections::BTreeMap, fs, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rights, Role, Rpc},
    audit::{Duty, Names},
    config::ServerOptions,
    proto::v1,
    types::{Reach, SessionId, UserId},
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Bytes, Service},
    transport::Channel,
};

use self::trail::*;
use crate::{
    callers::world::{FOREIGN, OWN, Shows, client_id, policy, providers},
    every_rpc::every_call,
    refusal::refused,
    serving::{SECRET, get, get_all, options, session, store},
};

#[tokio::test]
async fn every_rpc_has_one_event_for_each_outcome() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    let mut outcomes = BTreeMap::new();
    for is_stored in [false, true] {
        for at in 0..Rpc::ALL.len() {
            if is_stored {
                client.store(store("s", "p")).await.unwrap();
            }
            // `every_call` makes all calls: the event of this one is at its place.
            let before = audited.lines();
            let answers = every_call(audited.serving.channel().await).await;
            let events = audited.calls(before);
            assert_eq!(events.len(), Rpc::ALL.len());
            let ((rpc, answer), event) = (&answers[at], &events[at]);
            assert_eq!(event["rpc"], rpc.full_name());
            let code = match answer {
                Ok(_) => "OK".to_owned(),
                Err(status) => format!("{:?}", status.code()),
            };
            let told = event["code"].as_str().unwrap().replace('_', "");
            assert_eq!(told, code.to_uppercase(), "{event}");
            outcomes
                .entry(rpc.full_name())
                .or_insert_with(Vec::new)
                .push(event.clone());
        }
        client
            .delete_user(v1::DeleteUserRequest {
                user_id: "u".to_owned(),
            })
            .await
            .unwrap();
    }
    let names_no_row = [
        "GetLatestForUser",
        "ResolveUser",
        "LinkIdentity",
        "UnlinkIdentity",
        "Create",
        "Consume",
    ];
    for (rpc, events) in &outcomes {
        let (_, name) = rpc.split_once('/').unwrap();
        for event in events {
            assert_eq!(event["tenant"], "default:default");
            assert_eq!(event["decision"], "allowed");
            assert!(
                event["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
                "{event}"
            );
            for named in event["rows"].as_array().into_iter().flatten() {
                assert_eq!(named["provider"], "p", "{rpc}");
                assert!(
                    named["row"] == row("s", "p") || names_no_row.contains(&name),
                    "{event}"
                );
            }
        }
        let names_session = [
            "GetAll",
            "GetAllAccessTokens",
            "Delete",
            "Create",
            "Consume",
        ];
        let names_session = names_session
            .iter()
            .any(|r| rpc.ends_with(&format!("/{r}")));
        assert_eq!(events[0].get("session").is_some(), names_session, "{rpc}");
        let names_user = [
            "DeleteUser",
            "GetLatestForUser",
            "ListUserSessions",
            "Store",
            "ResolveUser",
            "GetUser",
            "LinkIdentity",
            "UnlinkIdentity",
            "ListIdentities",
        ];
        let names_user = names_user.iter().any(|r| rpc.ends_with(&format!("/{r}")));
        assert_eq!(events[0].get("user").is_some(), names_user, "{rpc}");
    }
    let text = fs::read_to_string(audited.path("first")).unwrap();
    assert_no_canary(&text);
    assert!(audited.report().is_whole());
}

#[tokio::test]
async fn which_tokens_were_handed_out_and_of_which_rows() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    client.store(store("s", "q")).await.unwrap();
    let before = audited.lines();
    client.get(get("s", "p")).await.unwrap();
    client.get_all(get_all("s")).await.unwrap();
    client
        .get_latest_for_user(v1::GetLatestForUserRequest {
            user_id: "u".to_owned(),
            provider: "q".to_owned(),
        })
        .await
        .unwrap();
    let mut access = audited.serving.access_tokens().await;
    access
        .get_access_token(v1::GetAccessTokenRequest {
            session_id: session("s"),
            provider: "p".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap();
    client.get(get("none", "p")).await.unwrap_err();
    let events = audited.calls(before);
    let all = serde_json::json!(["access", "refresh"]);
    let given = |provider, tokens: &Value| serde_json::json!({"provider": provider, "row": row("s", provider), "tokens": tokens});
    assert_eq!(events[0]["rows"], serde_json::json!([given("p", &all)]));
    assert_eq!(
        events[1]["rows"],
        serde_json::json!([given("p", &all), given("q", &all)])
    );
    assert_eq!(events[2]["rows"], serde_json::json!([given("q", &all)]));
    let access = serde_json::json!(["access"]);
    assert_eq!(events[3]["rows"], serde_json::json!([given("p", &access)]));
    assert_eq!(
        events[4]["rows"],
        serde_json::json!([{"provider": "p", "row": row("none", "p")}])
    );
    assert_eq!(events[4]["reason"], "ROW_NOT_FOUND");
    let user = Names::new(&KEY).user(&tenant(), &UserId::new("u").unwrap());
    assert_eq!(events[2]["user"], user.to_string());
}

#[tokio::test]
async fn who_was_denied_and_why() {
    let rights = Rights {
        roles: vec![Role::Sidecar],
        rpcs: [Rpc::Get].into_iter().collect(),
        reach: token_broker::types::Reach {
            providers: providers(&[OWN]),
            ..Default::default()
        },
        ..Default::default()
    };
    let guard = Guard::of(policy([("limited", rights)]));
    let audited = Audited::start(guard, Duty::Required).await;
    let connect = async |shows| {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::with_interceptor(channel, shows)
    };
    let mut known = connect(Shows::caller("limited")).await;
    until("calls are admitted", || {
        let mut known = known.clone();
        async move { known.get(get("s", OWN)).await.unwrap_err().code() == Code::NotFound }
    })
    .await;
    let before = audited.lines();
    refused(
        known.get(get("s", FOREIGN)).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
    refused(
        known.store(store("s", OWN)).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
    let mut unknown = connect(Shows::caller("unknown")).await;
    refused(
        unknown.get(get("s", OWN)).await,
        Code::Unauthenticated,
        "UNKNOWN_CALLER",
    );
    let mut nobody = connect(Shows::default()).await;
    refused(
        nobody.get(get("s", OWN)).await,
        Code::Unauthenticated,
        "NO_CREDENTIALS",
    );
    let events = audited.calls(before);
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            assert_eq!(event["decision"], "denied");
            (
                text("rpc"),
                text("caller"),
                text("by"),
                text("reason"),
                text("why").is_empty(),
            )
        })
        .collect();
    let event = |rpc: &str, caller: &str, by: &str, reason: &str, no_why| {
        (
            format!("TokenBroker/{rpc}"),
            caller.to_owned(),
            by.to_owned(),
            reason.to_owned(),
            no_why,
        )
    };
    assert_eq!(
        told,
        [
            event("Get", "limited", "bearer", "NOT_ALLOWED", false),
            event("Store", "limited", "bearer", "NOT_ALLOWED", false),
            event("Get", "", "", "UNKNOWN_CALLER", false),
            event("Get", "", "", "NO_CREDENTIALS", true),
        ]
    );
    assert_eq!(events[0]["rows"][0]["row"], row("s", FOREIGN));
    assert_no_canary(&fs::read_to_string(audited.path("first")).unwrap());
}

#[tokio::test]
async fn calls_that_never_reach_a_handler_have_their_events() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    let before = audited.lines();
    let large = v1::StoreRequest {
        provider: "p".repeat(200 * 1024),
        ..store("s", "p")
    };
    refused(
        client.store(large).await,
        Code::ResourceExhausted,
        "TOO_LARGE",
    );
    let events = audited.calls(before);
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["code"], &events[0]["reason"]),
        (&"RESOURCE_EXHAUSTED".into(), &"TOO_LARGE".into())
    );
}

#[tokio::test]
async fn a_crowd_has_as_many_events_as_answers() {
    let audited = Audited::open(Duty::Required).await;
    let client = audited.serving.client().await;
    let before = audited.lines();
    let crowd = (0..64).map(|caller| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let name = format!("s{caller}");
            for _ in 0..10 {
                client.store(store(&name, "p")).await.unwrap();
                client.get(get(&name, "p")).await.unwrap();
            }
        })
    });
    for caller in crowd.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let events = audited.calls(before);
    assert_eq!(events.len(), 64 * 20);
    for caller in 0..64 {
        let name = row(&format!("s{caller}"), "p");
        let own = events
            .iter()
            .filter(|event| event["rows"][0]["row"] == name);
        // Each caller's events are in the order of its calls.
        let rpcs: Vec<_> = own.map(|event| event["rpc"].as_str().unwrap()).collect();
        assert_eq!(rpcs, ["TokenBroker/Store", "TokenBroker/Get"].repeat(10));
    }
    assert!(audited.report().is_whole());
}

/// Begins a `Get` whose message never comes.
async fn half_sent(channel: &mut Channel) -> Result<Code, tonic::transport::Error> {
    let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Status>>();
    let request = http::Request::post("http://broker/tokenbroker.v1.TokenBroker/Get")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::StreamBody::new(never)))
        .unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let response = channel.call(request).await?;
    Ok(Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()))
}

#[tokio::test]
async fn a_call_that_is_cut_off_or_given_up_has_its_event() {
    let short = ServerOptions {
        call_timeout: Duration::from_secs(2),
        ..options()
    };
    let guard = Guard::open(tenant());
    let audited = Audited::start_with(guard, Duty::Required, short).await;
    audited.serving.client().await;
    let before = audited.lines();
    let mut channel = audited.serving.channel().await;
    let code = half_sent(&mut channel).await.unwrap();
    assert_eq!(code, Code::DeadlineExceeded);
    let given_up = tokio::time::timeout(Duration::from_millis(100), half_sent(&mut channel));
    given_up.await.unwrap_err();
    until("the events are written", || async {
        audited.calls(before).len() >= 2
    })
    .await;
    let events = audited.calls(before);
    let codes: Vec<_> = events
        .iter()
        .map(|event| event["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes[0], "DEADLINE_EXCEEDED");
    // What it had sent so far is no message.
    assert!(
        ["INVALID_ARGUMENT", "CANCELLED"].contains(&codes[1]),
        "{codes:?}"
    );
}

/// An auth server tells the tokens of another user than the row's (section 6, R5).
#[tokio::test]
async fn an_answer_about_another_user_is_an_event() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    let refresh_token = format!("rt-{SECRET}");
    let stored = client.store(store("s", "rotating")).await.unwrap();
    let version = stored.into_inner().version;
    let (session_id, provider) = (session("s"), "rotating".to_owned());
    let begin = v1::BeginRefreshRequest {
        session_id: session_id.clone(),
        provider: provider.clone(),
        version,
        attempt_id: vec![1; 16],
    };
    client.begin_refresh(begin).await.unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = part(r#"{"iss":"https://rotating.example","sub":"mallory","aud":"client"}"#);
    let tokens = v1::RefreshedTokens {
        access_token: format!("at-{SECRET}"),
        id_token: [part(r#"{"alg":"RS256"}"#), claims, part(SECRET)].join("."),
        ..Default::default()
    };
    let complete = v1::CompleteRefreshRequest {
        session_id,
        provider,
        attempt_id: vec![1; 16],
        refresh_token_sha256: Sha256::digest(&refresh_token).to_vec(),
        version,
        outcome: Some(v1::complete_refresh_request::Outcome::Tokens(tokens)),
    };
    client.complete_refresh(complete).await.unwrap();
    audited.audit.close(Duration::from_secs(10)).await;
    let text = fs::read_to_string(audited.path("first")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = lines
        .filter(|line| line["event"] == "another-user")
        .collect();
    assert_eq!(told.len(), 1, "{text}");
    assert_eq!(told[0]["tenant"], "default:default");
    assert_eq!(told[0]["rows"][0]["row"], row("s", "rotating"));
    assert_no_canary(&text);
}

/// The trail says whose login or identity it was, also where the request doesn't name anybody, and where the caller didn't get
/// it.
#[tokio::test]
async fn the_trail_says_whose_it_was() {
    let rights = |client: Option<&str>| Rights {
        roles: vec![Role::AuthServer],
        reach: Reach {
            client: client.and_then(client_id),
            ..Reach::default()
        },
        ..Rights::default()
    };
    let guard = Guard::of(policy([
        ("kept", rights(Some("web"))),
        ("free", rights(None)),
    ]));
    let audited = Audited::start(guard, Duty::Required).await;
    let connect = async |name| {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::with_interceptor(channel, Shows::caller(name))
    };
    let free = connect("free").await;
    until("calls are admitted", || {
        let mut free = free.clone();
        async move { free.get(get("s", "p")).await.unwrap_err().code() == Code::NotFound }
    })
    .await;
    let pending = async |name: &'static str| {
        let channel = audited.serving.channel().await;
        v1::pending_authorizations_client::PendingAuthorizationsClient::with_interceptor(
            channel,
            Shows::caller(name),
        )
    };
    let users = audited.serving.channel().await;
    let mut users =
        v1::identities_client::IdentitiesClient::with_interceptor(users, Shows::caller("free"));
    let (mut free, mut kept) = (pending("free").await, pending("kept").await);
    let names = Names::new(&KEY);
    let user = |id: &str| Value::from(names.user(&tenant(), &UserId::new(id).unwrap()).to_string());
    let whose = Value::from(
        names
            .session(&tenant(), &SessionId::new(session("s")).unwrap())
            .to_string(),
    );
    let consume = |provider: Option<&str>| v1::ConsumeRequest {
        state: session("x"),
        provider: provider.map(str::to_owned),
    };
    let create = v1::CreateRequest {
        state: session("x"),
        user_id: Some("u".to_owned()),
        client_id: "client".to_owned(),
        ..crate::every_rpc::pending("x", "p")
    };
    let last = || audited.calls(0).pop().unwrap();

    free.create(create.clone()).await.unwrap();
    let none = kept.consume(consume(None)).await;
    refused(none, Code::NotFound, "STATE_NOT_FOUND");
    let event = last();
    assert_eq!(
        (&event["decision"], &event["code"]),
        (&"denied".into(), &"NOT_FOUND".into()),
        "{event}"
    );
    assert_eq!(
        (&event["session"], &event["user"]),
        (&whose, &user("u")),
        "{event}"
    );
    assert!(event["why"].is_string(), "{event}");

    let burnt = free.consume(consume(Some("q"))).await;
    refused(burnt, Code::FailedPrecondition, "PROVIDER_MISMATCH");
    let event = last();
    assert_eq!(
        (&event["session"], &event["user"]),
        (&whose, &user("u")),
        "{event}"
    );
    let at: Vec<_> = event["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["provider"])
        .collect();
    assert_eq!(at, ["q", "p"], "{event}");

    let again = v1::CreateRequest {
        state: session("y"),
        ..create
    };
    free.create(again).await.unwrap();
    let taken = v1::ConsumeRequest {
        state: session("y"),
        provider: None,
    };
    free.consume(taken).await.unwrap();
    let event = last();
    assert_eq!(
        (&event["decision"], &event["user"]),
        (&"allowed".into(), &user("u")),
        "{event}"
    );

    let identity = crate::every_rpc::identity("p");
    for (count, created) in [(1, true), (0, false)] {
        let made = users
            .resolve_user(identity.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(made.created, created);
        assert_eq!(last()["count"], count);
    }
    let made = users
        .resolve_user(identity.clone())
        .await
        .unwrap()
        .into_inner();
    let unlink = v1::UnlinkIdentityRequest {
        provider: identity.provider,
        provider_subject: identity.provider_subject,
        user_id: None,
    };
    for (count, is_known) in [(1, true), (0, false)] {
        users.unlink_identity(unlink.clone()).await.unwrap();
        let event = last();
        assert_eq!(event["count"], count, "{event}");
        assert_eq!(event["user"] == user(&made.user_id), is_known, "{event}");
    }
}
