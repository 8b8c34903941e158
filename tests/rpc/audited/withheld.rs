//! What becomes of calls whose events can't be written.

use std::time::Duration;

use testkit::{requests::Requests, waiting::until};
use token_broker::{
    access::{Guard, Rpc},
    audit::Duty,
    proto::v1,
};
use tonic::Code;

use super::trail::*;
use crate::{
    callers::world::policy,
    every_rpc::{call, every_call, identity, pending, requests},
    metrics::{CALLS, value, values},
    refusal::refused,
    serving::{get, session, store},
};

/// Makes the first call without a disk, as `attempt` does, and returns what that returns.
///
/// A writer that has nothing to do looks for its file each second, also in this moment. Then it's the one to find out, and the
/// call is refused before it does anything.
async fn first_without_a_disk<T>(mut attempt: impl AsyncFnMut() -> (Audited, T)) -> (Audited, T) {
    for _ in 0..5 {
        let (audited, told) = attempt().await;
        if audited.audit.figures().unwrap().totals().refused == 0 {
            return (audited, told);
        }
    }
    panic!("the call is refused");
}

#[tokio::test]
async fn without_a_disk_nothing_is_done_and_no_answer_leaves() {
    let (audited, (mut client, told)) = first_without_a_disk(async || {
        let audited = Audited::open(Duty::Required).await;
        let mut client = audited.serving.client().await;
        client.store(store("s", "p")).await.unwrap();
        audited.point_to("/dev/full");
        let told = client.store(store("other", "p")).await;
        (audited, (client, told))
    })
    .await;
    // The first call is done, and its answer is withheld. A write may have been applied.
    refused(told, Code::Unavailable, "OUTCOME_UNKNOWN");
    // It counts as what its caller was told.
    let stores = |labels: &[&str]| {
        let labels: Vec<_> = [&["rpc=\"Store\""], labels].concat();
        value(&values(&audited.serving), CALLS, &labels)
    };
    assert_eq!(stores(&["reason=\"OUTCOME_UNKNOWN\""]), 1.0);
    assert_eq!(stores(&["code=\"OK\""]), 1.0);
    for (_, answer) in every_call(audited.serving.channel().await).await {
        refused(answer, Code::Unavailable, "AUDIT_UNAVAILABLE");
    }
    let totals = audited.audit.figures().unwrap().totals();
    assert_eq!(
        (totals.refused, totals.withheld, totals.failing),
        (Rpc::ALL.len() as u64, 1, 1)
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
    assert!(
        report.told_missing.refused >= Rpc::ALL.len() as u64,
        "{report:?}"
    );
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
        // Only the first answer is withheld, and later calls are refused.
        let (audited, told) = first_without_a_disk(async || {
            let audited = Audited::open(Duty::Required).await;
            let mut users = audited.serving.users().await;
            let found = users.resolve_user(identity("p")).await.unwrap();
            let user_id = found.into_inner().user_id;
            let mut flows = audited.serving.pending().await;
            flows.create(pending("there", "p")).await.unwrap();
            let channel = audited.serving.channel().await;
            let requests = Requests {
                user: user_id.clone(),
                known: user_id,
                deletes_all: true,
                state: session(match rpc {
                    Rpc::Create => "new",
                    _ => "there",
                }),
                ..requests("p")
            };
            audited.point_to("/dev/full");
            let told = call(&channel, *rpc, requests).await;
            (audited, told)
        })
        .await;
        let reason = match NOT_TO_REPEAT.contains(rpc) {
            true => "OUTCOME_UNKNOWN",
            false => "AUDIT_UNAVAILABLE",
        };
        refused(told, Code::Unavailable, reason);
        let totals = audited.audit.figures().unwrap().totals();
        assert_eq!(totals.withheld, 1, "{rpc:?}");
    }
}

#[tokio::test]
async fn an_answer_to_a_read_is_withheld() {
    let (audited, told) = first_without_a_disk(async || {
        let audited = Audited::open(Duty::Required).await;
        let mut client = audited.serving.client().await;
        client.store(store("s", "p")).await.unwrap();
        audited.point_to("/dev/full");
        let told = client.get(get("s", "p")).await;
        (audited, told)
    })
    .await;
    refused(told, Code::Unavailable, "AUDIT_UNAVAILABLE");
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
    assert_eq!(report.told_missing.lost, totals.lost);
}
