//! What becomes of calls whose events can't be written.

use std::time::Duration;

use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rpc},
    audit::Duty,
    proto::v1,
};
use tonic::{Code, Response};

use super::trail::*;
use crate::{
    callers::world::policy,
    every_rpc::{RPCS, every_call, identity, pending},
    metrics::{CALLS, value, values},
    refusal::refused,
    serving::{get, session, store},
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

/// Of a write that was done and may not be repeated blindly, the caller is told that its outcome isn't known.
#[tokio::test]
async fn a_withheld_answer_of_a_flow_says_whether_to_repeat_it() {
    for (rpc, reason) in FLOWS {
        let audited = Audited::open(Duty::Required).await;
        let (mut users, mut flows) = (
            audited.serving.users().await,
            audited.serving.pending().await,
        );
        let found = users.resolve_user(identity("p")).await.unwrap();
        let user_id = found.into_inner().user_id;
        flows.create(pending("there", "p")).await.unwrap();
        audited.point_to("/dev/full");
        let link = |subject: &str| v1::LinkIdentityRequest {
            user_id: user_id.clone(),
            provider: "p".to_owned(),
            provider_subject: subject.to_owned(),
        };
        let consume = v1::ConsumeRequest {
            state: session("there"),
            provider: None,
        };
        let unlink = v1::UnlinkIdentityRequest {
            provider: "p".to_owned(),
            provider_subject: "subject".to_owned(),
            user_id: None,
        };
        let list = v1::ListIdentitiesRequest {
            user_id: user_id.clone(),
        };
        let get = v1::GetUserRequest {
            user_id: user_id.clone(),
        };
        let told = match rpc {
            Rpc::LinkIdentity => users.link_identity(link("2")).await.map(drop),
            Rpc::UnlinkIdentity => users.unlink_identity(unlink).await.map(drop),
            Rpc::Create => flows.create(pending("new", "p")).await.map(drop),
            Rpc::Consume => flows.consume(consume).await.map(drop),
            Rpc::ResolveUser => users.resolve_user(identity("p")).await.map(drop),
            Rpc::GetUser => users.get_user(get).await.map(drop),
            Rpc::ListIdentities => users.list_identities(list).await.map(drop),
            _ => unreachable!("the list has flows"),
        };
        refused(told.map(Response::new), Code::Unavailable, reason);
    }
}

/// The RPCs of logins, and what a caller is told of one whose answer is withheld.
const FLOWS: [(Rpc, &str); 7] = [
    (Rpc::LinkIdentity, "OUTCOME_UNKNOWN"),
    (Rpc::UnlinkIdentity, "OUTCOME_UNKNOWN"),
    (Rpc::Create, "OUTCOME_UNKNOWN"),
    (Rpc::Consume, "OUTCOME_UNKNOWN"),
    (Rpc::ResolveUser, "AUDIT_UNAVAILABLE"),
    (Rpc::GetUser, "AUDIT_UNAVAILABLE"),
    (Rpc::ListIdentities, "AUDIT_UNAVAILABLE"),
];

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
