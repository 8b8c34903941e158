//! The audit trail (guarantees, section 8): each call has one event, which says what happened and no secret, and no answer
//! leaves without it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::waiting::until;
use token_broker::{
    access::{Guard, Rights, Role, Rpc},
    audit::{
        Audit, AuditOptions, Destination, Duty, Names,
        verify::{self, Report},
    },
    config::ServerOptions,
    proto::v1,
    types::{ProviderName, SessionId, Tenant, UserId},
};
use tonic::{
    Code, Response, Status,
    body::Body,
    codegen::{Bytes, Service},
    transport::Channel,
};

use crate::{
    callers::world::{FOREIGN, OWN, Shows, policy, providers},
    every_rpc::{RPCS, every_call, identity, pending},
    metrics::{CALLS, value, values},
    refusal::refused,
    serving::{SECRET, Serving, get, get_all, options, session, store},
};

const KEY: [u8; 32] = [9; 32];

/// A broker with an audit trail.
struct Audited {
    serving: Serving,
    audit: Audit,
    folder: TempDir,
}

impl Audited {
    async fn start(guard: Guard, duty: Duty) -> Self {
        Self::start_with(guard, duty, options()).await
    }

    async fn start_with(guard: Guard, duty: Duty, options: ServerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        symlink("first", &path).unwrap();
        let audit = Audit::start(AuditOptions {
            duty,
            destinations: vec![Destination::File {
                path,
                rotation: None,
            }],
            names: Arc::new(Names::new(&KEY)),
            sync: false,
            patience: Duration::from_secs(10),
            places: 1_000,
        });
        let audit = audit.unwrap();
        let serving = Serving::audited(guard, audit.clone(), options).await;
        Self {
            serving,
            audit,
            folder,
        }
    }

    async fn open(duty: Duty) -> Self {
        Self::start(Guard::open(tenant()), duty).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has the lines go elsewhere, in one step.
    fn point_to(&self, target: impl AsRef<Path>) {
        symlink(target, self.path("link")).unwrap();
        fs::rename(self.path("link"), self.path("audit.jsonl")).unwrap();
    }

    /// The events of calls since `after` lines.
    fn calls(&self, after: usize) -> Vec<Value> {
        let text = fs::read_to_string(self.path("first")).unwrap();
        let lines = text.lines().skip(after);
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "call").collect()
    }

    fn lines(&self) -> usize {
        fs::read_to_string(self.path("first"))
            .unwrap()
            .lines()
            .count()
    }

    fn report(&self) -> Report {
        verify::verify(&[self.path("first")], &[]).unwrap()
    }
}

fn tenant() -> Tenant {
    "default:default".parse().unwrap()
}

fn row(session: &str, provider: &str) -> String {
    let session = SessionId::new(crate::serving::session(session)).unwrap();
    let provider = ProviderName::new(provider).unwrap();
    Names::new(&KEY)
        .row(&tenant(), &session, &provider)
        .to_string()
}

/// Fails if a text holds a secret, however it is written.
fn assert_no_canary(text: &str) {
    let lower = text.to_lowercase();
    let secret = SECRET.as_bytes();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    let json: String = secret.iter().map(|byte| format!("\\u{byte:04x}")).collect();
    let mut forms = vec![SECRET.to_lowercase(), hex, percent, json];
    // What is left of base64 whatever stands before and behind.
    for shift in 0..3 {
        let padded = [&vec![0; shift][..], secret].concat();
        let coded = STANDARD.encode(&padded);
        let (from, to) = ((shift * 4).div_ceil(3), coded.len() - 4);
        forms.push(coded[from..to].to_lowercase());
    }
    for form in forms {
        assert!(
            form.len() >= 4 && !lower.contains(&form),
            "{form} is in:\n{text}"
        );
    }
}

#[test]
#[should_panic(expected = "is in:")]
fn a_canary_in_base64_is_found() {
    assert_no_canary(&STANDARD.encode(format!("..{SECRET}..")));
}

#[tokio::test]
async fn every_rpc_has_one_event_for_each_outcome() {
    let audited = Audited::open(Duty::Required).await;
    let mut client = audited.serving.client().await;
    let mut outcomes = BTreeMap::new();
    for is_stored in [false, true] {
        for rpc in 0..RPCS.len() {
            if is_stored {
                client.store(store("s", "p")).await.unwrap();
            }
            // `every_call` makes all calls: the event of this one is at its place.
            let before = audited.lines();
            let answers = every_call(audited.serving.channel().await).await;
            let events = audited.calls(before);
            assert_eq!(events.len(), RPCS.len());
            let ((name, answer), event) = (&answers[rpc], &events[rpc]);
            let full = format!("{}/{}", RPCS[rpc].service, RPCS[rpc].name);
            assert_eq!(
                (*name, &event["rpc"]),
                (RPCS[rpc].name, &full.clone().into())
            );
            let code = match answer {
                Ok(_) => "OK".to_owned(),
                Err(status) => format!("{:?}", status.code()),
            };
            let told = event["code"].as_str().unwrap().replace('_', "");
            assert_eq!(told, code.to_uppercase(), "{event}");
            outcomes
                .entry(full)
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
        call_timeout: Duration::from_millis(500),
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
