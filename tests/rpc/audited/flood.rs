//! A flood of calls that are denied.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::Value;
use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rights, Role},
    audit::Duty,
    proto::v1,
};
use tonic::Code;

use super::trail::*;
use crate::{
    callers::world::{OWN, Shows, policy, providers},
    refusal::refused,
    serving::{get, store},
};

/// Whoever reaches the port can be refused any number of times, and must not push what callers did out of the files.
#[tokio::test]
async fn a_flood_of_unknown_callers_costs_a_few_lines() {
    const CALLS: usize = 2_000;
    let rights = Rights {
        roles: vec![Role::AuthServer],
        reach: token_broker::types::Reach {
            providers: providers(&[OWN]),
            ..Default::default()
        },
        ..Default::default()
    };
    let audited = Audited::start(Guard::of(policy([("server", rights)])), Duty::Required).await;
    let connect = async |shows| {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::with_interceptor(channel, shows)
    };
    let server = connect(Shows::caller("server")).await;
    until("calls are admitted", || {
        let mut server = server.clone();
        async move { server.store(store("s", OWN)).await.is_ok() }
    })
    .await;
    let before = audited.lines();
    let begun = std::time::Instant::now();
    let (nobody, unknown) = (
        connect(Shows::default()).await,
        connect(Shows::caller("unknown")).await,
    );
    for _ in 0..CALLS / 20 {
        let refusals = (0..10).map(|_| {
            let (mut nobody, mut unknown) = (nobody.clone(), unknown.clone());
            async move {
                refused(
                    nobody.get(get("s", OWN)).await,
                    Code::Unauthenticated,
                    "NO_CREDENTIALS",
                );
                refused(
                    unknown.store(store("s", OWN)).await,
                    Code::Unauthenticated,
                    "UNKNOWN_CALLER",
                );
            }
        });
        futures_util::future::join_all(refusals).await;
    }
    let mut server = server.clone();
    server.get(get("s", OWN)).await.unwrap();
    let windows = begun.elapsed().as_secs() / 5 + 1;
    audited.audit.close(Duration::from_secs(10)).await;

    let report = audited.report();
    assert!(report.is_whole(), "{report:?}");
    let calls = audited.calls(before);
    let (of_callers, single): (Vec<_>, Vec<_>) =
        calls.iter().partition(|call| call["caller"] == "server");
    assert_eq!(of_callers.len(), 1);
    assert!(single.len() as u64 <= windows * 10, "{}", single.len());
    // Each refusal is in one of the lines, by what was called and why it was refused.
    let text = fs::read_to_string(audited.path("first")).unwrap();
    let mut told = BTreeMap::new();
    for call in single {
        *told
            .entry((call["rpc"].to_string(), call["reason"].to_string()))
            .or_insert(0) += 1;
    }
    for line in text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        if line["event"] != "unknown-callers" {
            continue;
        }
        let counts = line["calls"].as_array().unwrap();
        for count in counts {
            *told
                .entry((count["rpc"].to_string(), count["reason"].to_string()))
                .or_insert(0) += count["count"].as_u64().unwrap();
        }
        let total: u64 = counts
            .iter()
            .map(|count| count["count"].as_u64().unwrap())
            .sum();
        assert_eq!(line["count"], total);
    }
    let half = CALLS as u64 / 2;
    let expected = [("Get", "NO_CREDENTIALS"), ("Store", "UNKNOWN_CALLER")];
    let expected = expected.map(|(rpc, reason)| {
        (
            (format!("\"TokenBroker/{rpc}\""), format!("\"{reason}\"")),
            half,
        )
    });
    assert_eq!(told, expected.into());
    assert_no_canary(&text);
}

/// A caller that the policy knows can be denied any number of times, too: its denials are counted by themselves, and it takes no
/// place of the events of others.
#[tokio::test]
async fn a_flood_of_denied_calls_costs_a_few_lines() {
    const CALLS: u64 = 300;
    let rights = |role| Rights {
        roles: vec![role],
        reach: token_broker::types::Reach {
            providers: providers(&[OWN]),
            ..Default::default()
        },
        ..Default::default()
    };
    let callers = [
        ("server", rights(Role::AuthServer)),
        ("denied", rights(Role::Sidecar)),
        ("once", rights(Role::Sidecar)),
    ];
    let audited = Audited::start(Guard::of(policy(callers)), Duty::Required).await;
    let connect = async |name| {
        let channel = audited.serving.channel().await;
        v1::token_broker_client::TokenBrokerClient::with_interceptor(channel, Shows::caller(name))
    };
    let server = connect("server").await;
    until("calls are admitted", || {
        let mut server = server.clone();
        async move { server.store(store("s", OWN)).await.is_ok() }
    })
    .await;
    let before = audited.lines();
    let begun = std::time::Instant::now();
    let mut denied = connect("denied").await;
    for _ in 0..CALLS {
        refused(
            denied.get(get("s", OWN)).await,
            Code::PermissionDenied,
            "NOT_ALLOWED",
        );
    }
    // Another caller's denial has an event of its own nevertheless.
    refused(
        connect("once").await.get(get("s", OWN)).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
    let windows = begun.elapsed().as_secs() / 5 + 1;
    audited.audit.close(Duration::from_secs(10)).await;

    assert!(audited.report().is_whole());
    let calls = audited.calls(before);
    let of = |caller: &str| calls.iter().filter(|call| call["caller"] == caller).count() as u64;
    assert_eq!(of("once"), 1);
    assert!(of("denied") <= windows * 10, "{}", of("denied"));
    let text = fs::read_to_string(audited.path("first")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let counted: Vec<_> = lines
        .filter(|line| line["event"] == "denied-calls")
        .collect();
    let mut told = of("denied");
    for line in &counted {
        assert_eq!(
            (&line["caller"], &line["tenant"]),
            (&"denied".into(), &"default:default".into())
        );
        let calls = &line["calls"][0];
        assert_eq!(
            (&calls["rpc"], &calls["reason"]),
            (&"TokenBroker/Get".into(), &"NOT_ALLOWED".into())
        );
        assert_eq!(line["count"], calls["count"]);
        told += line["count"].as_u64().unwrap();
    }
    assert_eq!(told, CALLS, "{counted:?}");
}
