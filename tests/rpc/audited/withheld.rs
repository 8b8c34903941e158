//! What becomes of calls whose events can't be written.

use std::time::Duration;

use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rpc},
    audit::Duty,
    proto::v1,
};
use tonic::{Code, Response, Status};

use super::trail::*;
use crate::{
    callers::world::policy,
    every_rpc::{RPCS, any, every_call, identity, pending},
    metrics::{CALLS, value, values},
    refusal::refused,
    serving::{get, get_all, session, store},
};

#[tokio::test]
async fn without_a_disk_nothing_is_done_and_no_answer_leaves() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    audited.point_to("/dev/full");
    // The first call is done, and its answer is withheld. A write may have been applied.
    refused(
        client.store(store("other", "p")).await,
        Code::Unavailable,
        "OUTCOME_UNKNOWN",
    );
    // It counts as what its caller was told.
    let stores = |labels: &[&str]| {
        let labels: Vec<_> = [&["rpc=\"Store\""], labels].concat();
        value(&values(&audited.serving), CALLS, &labels)
    };
    assert_eq!(stores(&["reason=\"OUTCOME_UNKNOWN\""]), 1.0);
    assert_eq!(stores(&["code=\"OK\""]), 1.0);
    for (rpc, answer) in every_call(audited.serving.channel().await).await {
        refused(answer, Code::Unavailable, "AUDIT_UNAVAILABLE");
        assert!(!rpc.is_empty());
    }
    let totals = audited.audit.figures().unwrap().totals();
    assert_eq!(
        (totals.refused, totals.withheld, totals.failing),
        (RPCS.len() as u64, 1, 1)
    );

    audited.point_to("first");
    until("the broker serves again", || {
        let mut client = client.clone();
        async move { client.get(get("s", "p")).await.is_ok() }
    })
    .await;
    // Nothing was deleted by the calls that were refused.
    client.get(get("s", "p")).await.unwrap();
    client.get(get("other", "p")).await.unwrap();
    let report = audited.report();
    assert!(report.is_whole(), "{report:?}");
    assert!(report.told_missing.1 >= RPCS.len() as u64, "{report:?}");
    let events = audited.calls(0);
    let withheld: Vec<_> = events
        .iter()
        .filter(|event| event.get("answer").is_some())
        .collect();
    assert_eq!(withheld.len(), 1);
    assert_eq!(
        (&withheld[0]["rpc"], &withheld[0]["rows"][0]["row"]),
        (&"TokenBroker/Store".into(), &row("other", "p").into())
    );
}

/// The RPCs that write, and may not be repeated blindly: their callers are told that the outcome isn't known.
const NOT_TO_REPEAT: [Rpc; 6] = [
    Rpc::Store,
    Rpc::Delete,
    Rpc::LinkIdentity,
    Rpc::UnlinkIdentity,
    Rpc::Create,
    Rpc::Consume,
];

/// A caller whose answer is withheld is told whether the call may be repeated, whatever it called.
#[tokio::test]
async fn a_withheld_answer_says_whether_to_repeat_the_call() {
    for rpc in Rpc::ALL {
        let audited = Audited::open(Duty::Required).await;
        let mut users = audited.serving.users().await;
        let found = users.resolve_user(identity("p")).await.unwrap();
        let user_id = found.into_inner().user_id;
        let mut flows = audited.serving.pending().await;
        flows.create(pending("there", "p")).await.unwrap();
        audited.point_to("/dev/full");
        let told = call(&audited, *rpc, user_id).await;
        let reason = match NOT_TO_REPEAT.contains(rpc) {
            true => "OUTCOME_UNKNOWN",
            false => "AUDIT_UNAVAILABLE",
        };
        refused(told, Code::Unavailable, reason);
        let totals = audited.audit.figures().unwrap().totals();
        assert_eq!(totals.withheld, 1, "{rpc:?}");
    }
}

/// Makes one call, and no other: only the first answer is withheld, and later calls are refused.
async fn call(audited: &Audited, rpc: Rpc, user_id: String) -> Result<Response<()>, Status> {
    let channel = audited.serving.channel().await;
    let mut rows = v1::token_broker_client::TokenBrokerClient::new(channel.clone());
    let mut access = v1::access_tokens_client::AccessTokensClient::new(channel.clone());
    let mut users = v1::identities_client::IdentitiesClient::new(channel.clone());
    let mut flows = v1::pending_authorizations_client::PendingAuthorizationsClient::new(channel);
    let (session_id, provider) = (session("s"), "p".to_owned());
    let (attempt_id, refresh_token_sha256) = (vec![1; 16], vec![1; 32]);
    let provider_subject = "another".to_owned();
    match rpc {
        Rpc::Store => any(rows.store(store("s", "p")).await),
        Rpc::Get => any(rows.get(get("s", "p")).await),
        Rpc::GetAll => any(rows.get_all(get_all("s")).await),
        Rpc::Delete => {
            let request = v1::DeleteRequest {
                session_id,
                target: Some(v1::delete_request::Target::AllProviders(true)),
                version: None,
            };
            any(rows.delete(request).await)
        }
        Rpc::DeleteUser => any(rows.delete_user(v1::DeleteUserRequest { user_id }).await),
        Rpc::GetLatestForUser => {
            let request = v1::GetLatestForUserRequest { user_id, provider };
            any(rows.get_latest_for_user(request).await)
        }
        Rpc::ListUserSessions => {
            let request = v1::ListUserSessionsRequest {
                user_id,
                ..Default::default()
            };
            any(rows.list_user_sessions(request).await)
        }
        Rpc::BeginRefresh => {
            let request = v1::BeginRefreshRequest {
                session_id,
                provider,
                version: 1,
                attempt_id,
            };
            any(rows.begin_refresh(request).await)
        }
        Rpc::RenewRefresh => {
            let request = v1::RenewRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
            };
            any(rows.renew_refresh(request).await)
        }
        Rpc::CompleteRefresh => {
            let request = v1::CompleteRefreshRequest {
                session_id,
                provider,
                attempt_id,
                refresh_token_sha256,
                version: 1,
                outcome: Some(v1::complete_refresh_request::Outcome::Unknown(true)),
            };
            any(rows.complete_refresh(request).await)
        }
        Rpc::GetAccessToken => {
            let request = v1::GetAccessTokenRequest {
                session_id,
                provider,
                ..Default::default()
            };
            any(access.get_access_token(request).await)
        }
        Rpc::GetAllAccessTokens => {
            let request = v1::GetAllAccessTokensRequest {
                session_id,
                ..Default::default()
            };
            any(access.get_all_access_tokens(request).await)
        }
        Rpc::ResolveUser => any(users.resolve_user(identity("p")).await),
        Rpc::GetUser => any(users.get_user(v1::GetUserRequest { user_id }).await),
        Rpc::LinkIdentity => {
            let request = v1::LinkIdentityRequest {
                user_id,
                provider,
                provider_subject,
            };
            any(users.link_identity(request).await)
        }
        Rpc::UnlinkIdentity => {
            let request = v1::UnlinkIdentityRequest {
                provider,
                provider_subject: "subject".to_owned(),
                user_id: None,
            };
            any(users.unlink_identity(request).await)
        }
        Rpc::ListIdentities => {
            let request = v1::ListIdentitiesRequest { user_id };
            any(users.list_identities(request).await)
        }
        Rpc::Create => any(flows.create(pending("new", "p")).await),
        Rpc::Consume => {
            let request = v1::ConsumeRequest {
                state: session("there"),
                provider: None,
            };
            any(flows.consume(request).await)
        }
    }
}

#[tokio::test]
async fn an_answer_to_a_read_is_withheld() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    client.store(store("s", "p")).await.unwrap();
    audited.point_to("/dev/full");
    refused(
        client.get(get("s", "p")).await,
        Code::Unavailable,
        "AUDIT_UNAVAILABLE",
    );
    let labels = ["rpc=\"Get\"", "reason=\"AUDIT_UNAVAILABLE\""];
    let gets = value(&values(&audited.serving), CALLS, &labels);
    assert_eq!(gets, 1.0, "it counts as what its caller was told");
}

/// A caller whom the policy doesn't know is refused, and isn't told so before that is written.
#[tokio::test]
async fn a_refusal_that_is_withheld_counts_as_what_the_caller_was_told() {
    let audited = Audited::start(Guard::of(policy([])), Duty::Required).await;
    let get_as_nobody = async || {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::new(channel)
            .get(get("s", "p"))
            .await
    };
    refused(
        get_as_nobody().await,
        Code::Unauthenticated,
        "NO_CREDENTIALS",
    );
    audited.point_to("/dev/full");
    refused(
        get_as_nobody().await,
        Code::Unavailable,
        "AUDIT_UNAVAILABLE",
    );
    let now = values(&audited.serving);
    for reason in ["NO_CREDENTIALS", "AUDIT_UNAVAILABLE"] {
        let reason = format!("reason=\"{reason}\"");
        assert_eq!(
            value(&now, CALLS, &["rpc=\"Get\"", &reason]),
            1.0,
            "{reason}"
        );
    }
}

#[tokio::test]
async fn with_best_effort_calls_go_on_and_the_loss_is_told() {
    let audited = Audited::open(Duty::BestEffort).await;
    let mut client = audited.serving.client().await;
    audited.point_to("/dev/full");
    for _ in 0..1_100 {
        client.get(get("none", "p")).await.unwrap_err();
    }
    let totals = audited.audit.figures().unwrap().totals();
    assert!(totals.lost >= 90, "{totals:?}");
    audited.point_to("first");
    until("events are written again", || async {
        audited.audit.figures().unwrap().totals().failing == 0
    })
    .await;
    audited.audit.close(Duration::from_secs(10)).await;
    let report = audited.report();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.told_missing.0, totals.lost);
}
