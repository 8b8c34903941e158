//! Tests refreshing as callers of both services see it, with a provider that does what the test says (guarantees, sections
//! 2.2 and 6).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use testkit::{
    provider,
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    config::ServerOptions,
    proto::v1::{
        self, begin_refresh_response::Outcome as Begun, complete_refresh_request::Outcome as Told,
        complete_refresh_response::Outcome as Completed,
    },
    refresh::provider::ProviderOptions,
};
use tonic::{Code, Request, Status};

use crate::{
    access_tokens::{after, all, one},
    refusal::{Refusal, refusal, refused},
    serving::{Client, SECRET, Serving, get, options, session, store},
};

const TOKEN: &str = "/token";

/// A time at which the access token has expired.
fn past() -> Option<Timestamp> {
    after(-60)
}

/// A provider that answers with these behaviours, one after the other.
async fn endpoint(behaviours: impl IntoIterator<Item = Behaviour>) -> TokenEndpoint {
    let endpoint = TokenEndpoint::start().await;
    endpoint.behave(TOKEN, behaviours);
    endpoint
}

/// The settings of the provider `p` at this server.
fn settings(endpoint: &TokenEndpoint) -> ProviderOptions {
    let mut options = provider::options("p");
    options.endpoints.token = Some(endpoint.url(TOKEN).parse().unwrap());
    options
}

/// A broker with the provider `p` at this server.
async fn serving(endpoint: &TokenEndpoint) -> Serving {
    Serving::refreshing([settings(endpoint)], options()).await
}

/// The provider's answer with tokens of this number.
fn tokens(number: u32) -> Behaviour {
    Behaviour::json(
        200,
        &format!(
            r#"{{"access_token":"at-{SECRET}-{number}","refresh_token":"rt-{SECRET}-{number}","expires_in":3600}}"#
        ),
    )
}

fn refusing(code: &str) -> Behaviour {
    Behaviour::json(400, &format!(r#"{{"error":"{code}"}}"#))
}

/// A provider that never answers.
fn silent() -> Behaviour {
    Behaviour::raw("").end(End::Hang)
}

/// Stores a row whose access token expires then, and returns its version.
async fn stored(client: &mut Client, provider: &str, expires_at: Option<Timestamp>) -> u64 {
    let mut request = store("s", provider);
    request.tokens.as_mut().unwrap().expires_at = expires_at;
    client.store(request).await.unwrap().into_inner().version
}

fn within<T>(message: T, millis: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(millis));
    request
}

/// Calls until the answer comes before the caller's deadline. The broker sends it shortly before, and a machine under load
/// may hold it up.
async fn in_time<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let is_late =
        |status: &Status| matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
    for _ in 0..5 {
        let answer = call().await;
        if !answer.as_ref().is_err_and(is_late) {
            return answer;
        }
    }
    panic!("no answer came in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_refreshed_once_for_all_callers() {
    let endpoint = endpoint([tokens(1).after(Duration::from_millis(200)), tokens(2)]).await;
    let mut options = settings(&endpoint);
    options.max_waiters = 100;
    let serving = Serving::refreshing([options], crate::serving::options()).await;
    let mut client = serving.client().await;
    let old = stored(&mut client, "p", past()).await;
    let access = serving.access_tokens().await;
    let calls = (0..40).map(|_| {
        let mut access = access.clone();
        async move { access.get_access_token(one("s", "p")).await }
    });
    let mut versions = BTreeSet::new();
    for answer in join_all(calls).await {
        let token = answer.unwrap().into_inner().token.unwrap();
        assert!(token.access_token == format!("at-{SECRET}-1"));
        assert!(token.expires_at.unwrap().seconds > after(3_500).unwrap().seconds);
        versions.insert(token.version);
    }
    assert_eq!(versions.len(), 1);
    assert!(!versions.contains(&old));
    assert_eq!(endpoint.received_at(TOKEN).len(), 1);
    let row = client.get(get("s", "p")).await.unwrap().into_inner();
    let row = row.entry.unwrap();
    assert!(versions.contains(&row.version));
    assert!(row.tokens.unwrap().refresh_token == format!("rt-{SECRET}-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_were_refused_at_once_cause_one_refresh() {
    let endpoint = endpoint([tokens(1), tokens(2)]).await;
    let mut options = settings(&endpoint);
    options.max_waiters = 100;
    let serving = Serving::refreshing([options], crate::serving::options()).await;
    let mut client = serving.client().await;
    let rejected = stored(&mut client, "p", after(3_600)).await;
    let access = serving.access_tokens().await;
    let ask = |version| v1::GetAccessTokenRequest {
        rejected_version: Some(version),
        ..one("s", "p")
    };
    let calls = (0..40).map(|_| {
        let mut access = access.clone();
        async move { access.get_access_token(ask(rejected)).await }
    });
    let answers = join_all(calls).await.into_iter();
    let versions: BTreeSet<_> = answers
        .map(|answer| answer.unwrap().into_inner().token.unwrap().version)
        .collect();
    let newer = *versions.first().unwrap();
    assert!(versions.len() == 1 && newer != rejected);

    // The new one is refused, too: there is nothing newer.
    let mut access = access;
    let answer = access.get_access_token(ask(newer)).await.unwrap();
    assert_eq!(answer.into_inner().token.unwrap().version, newer);
    assert_eq!(endpoint.received_at(TOKEN).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reauth_required_tells_its_cause() {
    let endpoint = endpoint([refusing("invalid_grant")]).await;
    let serving = serving(&endpoint).await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    stored(&mut client, "p", past()).await;
    for _ in 0..2 {
        let alone = refusal(access.get_access_token(one("s", "p")).await);
        let Refusal {
            code,
            reason,
            cause,
            retry_after,
            ..
        } = alone;
        assert_eq!(
            (code, reason.as_str(), cause.as_deref(), retry_after),
            (
                Code::FailedPrecondition,
                "REAUTH_REQUIRED",
                Some("REFUSED"),
                None
            )
        );
    }
    let answer = access.get_all_access_tokens(all("s")).await.unwrap();
    let told = &answer.into_inner().failed["p"];
    assert_eq!(Code::from(told.code), Code::FailedPrecondition);
    assert_eq!(told.reason, "REAUTH_REQUIRED");
    assert_eq!(told.reauth_reason(), v1::ReauthReason::Refused);
    let row = client.get(get("s", "p")).await.unwrap().into_inner();
    assert_eq!(
        row.entry.unwrap().reauth_reason(),
        v1::ReauthReason::Refused
    );
    assert_eq!(endpoint.received_at(TOKEN).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_other_reason() {
    let endpoint = endpoint([refusing("invalid_client")]).await;
    let serving = serving(&endpoint).await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    stored(&mut client, "p", past()).await;
    let answer = access.get_access_token(one("s", "p")).await;
    refused(answer, Code::FailedPrecondition, "PROVIDER_MISCONFIGURED");

    for (provider, change, reason) in [
        (
            "p",
            (|tokens: &mut v1::UpstreamTokens| tokens.refresh_token.clear()) as fn(&mut _),
            "NO_REFRESH_TOKEN",
        ),
        (
            "p",
            |tokens| tokens.token_type = "DPoP".to_owned(),
            "NOT_REFRESHABLE",
        ),
        ("other", |_| {}, "PROVIDER_NOT_CONFIGURED"),
    ] {
        let mut request = store("t", provider);
        let tokens = request.tokens.as_mut().unwrap();
        tokens.expires_at = past();
        change(tokens);
        client.store(request).await.unwrap();
        let answer = access.get_access_token(one("t", provider)).await;
        refused(answer, Code::FailedPrecondition, reason);
    }
}

/// A provider that doesn't answer costs its own tokens, and its callers no more time than they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_its_own_failure() {
    let endpoint = endpoint([silent()]).await;
    let serving = serving(&endpoint).await;
    let mut client = serving.client().await;
    let access = serving.access_tokens().await;
    stored(&mut client, "p", past()).await;
    stored(&mut client, "valid", after(3_600)).await;
    for millis in [300, 1_000] {
        let mut begun = Instant::now();
        let answer = in_time(async || {
            begun = Instant::now();
            let request = within(all("s"), millis);
            access.clone().get_all_access_tokens(request).await
        })
        .await;
        let v1::GetAllAccessTokensResponse { tokens, failed } = answer.unwrap().into_inner();
        assert!(tokens.keys().eq(["valid"]));
        assert_eq!(failed["p"].reason, "PROVIDER_UNAVAILABLE");
        assert_eq!(Code::from(failed["p"].code), Code::Unavailable);
        assert!(failed["p"].retry_delay.is_some());
        assert!(begun.elapsed() >= Duration::from_millis(millis * 8 / 10));

        let answer = in_time(async || {
            let request = within(one("s", "p"), millis);
            access.clone().get_access_token(request).await
        })
        .await;
        refused(answer, Code::Unavailable, "PROVIDER_UNAVAILABLE");
    }
}

/// Who waits for a provider that hangs leaves places for calls that need no provider, or another one: also on the same
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn callers_who_wait_do_not_fill_the_broker() {
    let endpoint = endpoint([silent()]).await;
    endpoint.behave("/works", [tokens(1)]);
    let mut hangs = settings(&endpoint);
    hangs.max_waiters = 1_000;
    let mut works = provider::options("works");
    works.endpoints.token = Some(endpoint.url("/works").parse().unwrap());
    let options = ServerOptions {
        max_calls: 64,
        // How long they wait.
        call_timeout: Duration::from_secs(5),
        ..options()
    };
    let serving = Serving::refreshing([hangs, works], options).await;
    let mut client = serving.client().await;
    stored(&mut client, "p", past()).await;
    stored(&mut client, "works", past()).await;
    stored(&mut client, "valid", after(3_600)).await;
    // Of the calls 32 may wait, and 24 of those for the same provider. One connection may have 32, of which 28 may wait, and
    // 21 for the same provider.
    let (access, other) = (serving.access_tokens().await, serving.access_tokens().await);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..60 {
        let mut access = [&access, &other][number % 2].clone();
        waiting.spawn(async move { access.get_access_token(one("s", "p")).await });
    }
    // All others are refused at once.
    for _ in 0..60 - 24 {
        let found = refusal(waiting.join_next().await.unwrap().unwrap());
        assert!(
            ["PROVIDER_UNAVAILABLE", "OVERLOADED"].contains(&found.reason.as_str()),
            "{found:?}"
        );
    }
    for access in [access, other] {
        for provider in ["valid", "works"] {
            let calls = (0..5).map(|_| {
                let mut access = access.clone();
                async move { access.get_access_token(one("s", provider)).await }
            });
            for answer in join_all(calls).await {
                answer.unwrap();
            }
        }
    }
    assert!(waiting.try_join_next().is_none(), "the others still wait");
    while let Some(answer) = waiting.join_next().await {
        refused(answer.unwrap(), Code::Unavailable, "PROVIDER_UNAVAILABLE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_goes_on_when_its_caller_hangs_up() {
    let endpoint = endpoint([tokens(1).after(Duration::from_millis(500))]).await;
    let serving = serving(&endpoint).await;
    let mut client = serving.client().await;
    let old = stored(&mut client, "p", past()).await;
    let mut access = serving.access_tokens().await;
    let call = tokio::spawn(async move { access.get_access_token(one("s", "p")).await });
    until("the provider is asked", || {
        let asked = !endpoint.received_at(TOKEN).is_empty();
        async move { asked }
    })
    .await;
    call.abort();
    until("the row is refreshed", || {
        let mut client = client.clone();
        async move {
            let row = client.get(get("s", "p")).await.unwrap().into_inner();
            row.entry.unwrap().version != old
        }
    })
    .await;
    assert_eq!(endpoint.received_at(TOKEN).len(), 1);
}

/// An auth server redeems the refresh token itself. The broker doesn't meanwhile, and takes its tokens.
#[tokio::test(flavor = "multi_thread")]
async fn an_auth_server_refreshes_itself() {
    let endpoint = endpoint([tokens(9)]).await;
    let serving = serving(&endpoint).await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    let version = stored(&mut client, "p", past()).await;
    let begin = |attempt: u8| v1::BeginRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        version,
        attempt_id: vec![attempt; 16],
    };
    let hash = Sha256::digest(format!("rt-{SECRET}")).to_vec();
    for _ in 0..2 {
        // The second call is the same attempt.
        let begun = client.begin_refresh(begin(1)).await.unwrap().into_inner();
        let Some(Begun::Lease(lease)) = begun.outcome else {
            panic!("{begun:?}");
        };
        assert!(lease.length.unwrap().seconds >= 1);
        let tokens = lease.entry.unwrap().tokens.unwrap();
        assert!(Sha256::digest(tokens.refresh_token).to_vec() == hash);
    }
    let begun = client.begin_refresh(begin(2)).await.unwrap().into_inner();
    assert!(matches!(begun.outcome, Some(Begun::Wait(_))), "{begun:?}");
    let answer = in_time(async || {
        let request = within(one("s", "p"), 300);
        access.clone().get_access_token(request).await
    })
    .await;
    refused(answer, Code::Unavailable, "PROVIDER_UNAVAILABLE");

    let renew = v1::RenewRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        attempt_id: vec![1; 16],
        refresh_token_sha256: hash.clone(),
    };
    let renewed = client.renew_refresh(renew.clone()).await.unwrap();
    assert!(renewed.into_inner().length.is_some());
    let other = v1::RenewRefreshRequest {
        attempt_id: vec![2; 16],
        ..renew
    };
    let renewed = client.renew_refresh(other).await.unwrap().into_inner();
    assert_eq!(renewed.length, None);

    let complete = v1::CompleteRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        attempt_id: vec![1; 16],
        refresh_token_sha256: hash,
        version,
        outcome: Some(Told::Tokens(v1::RefreshedTokens {
            // No limit on tokens and rows applies: the caller has the only copy.
            access_token: format!("at-{SECRET}-{}", "x".repeat(70 * 1024)),
            refresh_token: format!("rt-{SECRET}-1"),
            expires_in: Some(prost_types::Duration {
                seconds: 3_600,
                nanos: 0,
            }),
            ..Default::default()
        })),
    };
    let mut versions = BTreeSet::new();
    for _ in 0..2 {
        // The second call repeats the first, as after a lost answer.
        let completed = client.complete_refresh(complete.clone()).await.unwrap();
        let Some(Completed::Entry(entry)) = completed.into_inner().outcome else {
            panic!("the row is there");
        };
        assert!(entry.tokens.unwrap().refresh_token == format!("rt-{SECRET}-1"));
        versions.insert(entry.version);
    }
    assert_eq!(versions.len(), 1);
    let token = access.get_access_token(one("s", "p")).await.unwrap();
    assert!(versions.contains(&token.into_inner().token.unwrap().version));
    let begun = client.begin_refresh(begin(3)).await.unwrap().into_inner();
    assert!(
        matches!(begun.outcome, Some(Begun::Fresher(_))),
        "{begun:?}"
    );

    // Who read the row before can't put the old token back.
    let stale = client.store(store("s", "p")).await;
    refused(stale, Code::FailedPrecondition, "REFRESH_TOKEN_REDEEMED");
    assert!(endpoint.received_at(TOKEN).is_empty());
}
