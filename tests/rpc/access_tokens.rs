//! Tests the service `AccessTokens`: what it hands out, and that this is never a refresh token (guarantees, section 2.2).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::Timestamp;
use testkit::requests::token_request;
use token_broker::proto::v1::{self, FILE_DESCRIPTOR_SET};
use tonic::{Code, Request};

use crate::{
    refusal::{refusal, refused},
    serving::{Client, SECRET, Serving, session, store},
};

/// Returns a request for one access token.
pub fn one(session: &str, provider: &str) -> v1::GetAccessTokenRequest {
    token_request(&self::session(session), provider)
}

/// Returns a request for all access tokens of a session.
pub fn all(session: &str) -> v1::GetAllAccessTokensRequest {
    v1::GetAllAccessTokensRequest {
        session_id: self::session(session),
        ..Default::default()
    }
}

/// Returns the time so many seconds from now.
pub fn after(seconds: i64) -> Option<Timestamp> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Some(Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap() + seconds,
        nanos: 0,
    })
}

/// Stores a row whose access token expires so many seconds from now, and returns its version.
async fn stored(client: &mut Client, provider: &str, expires: Option<Timestamp>) -> u64 {
    let mut request = store("s", provider);
    let tokens = request.tokens.as_mut().unwrap();
    tokens.expires_at = expires;
    tokens.id_token = format!("id-{SECRET}");
    tokens.scopes = vec!["repo".to_owned()];
    client.store(request).await.unwrap().into_inner().version
}

/// The names of all fields in a message, and in the messages within it.
fn names(message: &MessageDescriptor) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![message.clone()];
    let mut seen = BTreeSet::new();
    while let Some(message) = left.pop() {
        if !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        found.extend(message.fields().map(|field| field.name().to_owned()));
        let inner = |field: FieldDescriptor| match field.kind() {
            Kind::Message(message) => Some(message),
            _ => None,
        };
        left.extend(message.fields().filter_map(inner));
    }
    found
}

#[test]
fn no_answer_has_room_for_a_refresh_token() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let answers = |service: &str| -> Vec<_> {
        let service = pool.get_service_by_name(service).unwrap();
        service
            .methods()
            .map(|m| (m.name().to_owned(), names(&m.output())))
            .collect()
    };
    let tells = |names: &BTreeSet<String>| names.iter().any(|name| name.contains("refresh_token"));
    let access = answers("tokenbroker.v1.AccessTokens");
    assert_eq!(access.len(), 2);
    for (rpc, names) in access {
        assert!(
            names.contains("access_token") && names.contains("id_token"),
            "{rpc}"
        );
        assert!(!tells(&names), "{rpc}: {names:?}");
        // Nor a whole row, nor bytes or text of another name.
        let known = [
            "access_token",
            "code",
            "expires_at",
            "failed",
            "id_token",
            "key",
            "nanos",
            "reason",
            "reauth_reason",
            "retry_delay",
            "scopes",
            "seconds",
            "token",
            "token_type",
            "tokens",
            "value",
            "version",
        ];
        let unknown: Vec<_> = names
            .iter()
            .filter(|n| !known.contains(&n.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{rpc}: {unknown:?}");
    }
    // The RPCs that hand out refresh tokens are few, and for auth servers.
    let telling: Vec<_> = answers("tokenbroker.v1.TokenBroker")
        .into_iter()
        .filter(|(_, names)| tells(names))
        .map(|(rpc, _)| rpc)
        .collect();
    let expected = [
        "Get",
        "GetAll",
        "GetLatestForUser",
        "BeginRefresh",
        "CompleteRefresh",
    ];
    assert_eq!(telling, expected);
}

#[tokio::test]
async fn a_valid_token_is_handed_out_and_the_id_token_only_when_asked_for() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    let expires = after(3_600);
    let version = stored(&mut client, "p", expires).await;
    for include_id_token in [false, true] {
        let expected = v1::AccessToken {
            access_token: format!("at-{SECRET}"),
            token_type: "Bearer".to_owned(),
            scopes: vec!["repo".to_owned()],
            expires_at: expires,
            version,
            id_token: if include_id_token {
                format!("id-{SECRET}")
            } else {
                String::new()
            },
        };
        let request = v1::GetAccessTokenRequest {
            include_id_token,
            ..one("s", "p")
        };
        let answer = access.get_access_token(request).await.unwrap();
        assert!(answer.into_inner().token == Some(expected.clone()));
        let request = v1::GetAllAccessTokensRequest {
            include_id_token,
            ..all("s")
        };
        let answer = access.get_all_access_tokens(request).await.unwrap();
        let v1::GetAllAccessTokensResponse { tokens, failed } = answer.into_inner();
        assert!(tokens == [("p".to_owned(), expected)].into());
        assert!(failed.is_empty());
    }
}

#[tokio::test]
async fn a_session_without_rows_has_no_tokens() {
    let serving = Serving::memory().await;
    serving.client().await;
    let mut access = serving.access_tokens().await;
    let answer = access.get_access_token(one("s", "p")).await;
    refused(answer, Code::NotFound, "ROW_NOT_FOUND");
    let answer = access.get_all_access_tokens(all("s")).await.unwrap();
    let v1::GetAllAccessTokensResponse { tokens, failed } = answer.into_inner();
    assert!(tokens.is_empty() && failed.is_empty());
}

#[tokio::test]
async fn a_row_of_somebody_else_is_not_handed_out() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    stored(&mut client, "p", after(3_600)).await;
    let expected = |user: &str| {
        Some(v1::Binding {
            user_id: Some(user.to_owned()),
            ..Default::default()
        })
    };
    for (user, is_served) in [("u", true), ("another", false)] {
        let request = v1::GetAccessTokenRequest {
            binding: expected(user),
            ..one("s", "p")
        };
        let single = access.get_access_token(request).await;
        let request = v1::GetAllAccessTokensRequest {
            binding: expected(user),
            ..all("s")
        };
        let bulk = access.get_all_access_tokens(request).await;
        if is_served {
            single.unwrap();
            bulk.unwrap();
        } else {
            refused(single, Code::PermissionDenied, "BINDING_MISMATCH");
            refused(bulk, Code::PermissionDenied, "BINDING_MISMATCH");
        }
    }
}

/// Nobody has to refresh a token of another version than the one that was refused.
#[tokio::test]
async fn a_token_that_replaced_the_rejected_one_is_handed_out() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    let rejected = stored(&mut client, "p", after(3_600)).await;
    let newer = stored(&mut client, "p", after(3_600)).await;
    let request = v1::GetAccessTokenRequest {
        rejected_version: Some(rejected),
        ..one("s", "p")
    };
    let answer = access.get_access_token(request).await.unwrap();
    assert_eq!(answer.into_inner().token.unwrap().version, newer);
}

/// What is wrong with one provider is told for that provider, as a call for it alone tells it.
#[tokio::test]
async fn one_providers_failure_is_its_own() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    stored(&mut client, "good", after(3_600)).await;
    stored(&mut client, "without-end", None).await;
    stored(&mut client, "expired", after(-60)).await;
    let answer = access.get_all_access_tokens(all("s")).await.unwrap();
    let v1::GetAllAccessTokensResponse { tokens, failed } = answer.into_inner();
    let served: BTreeSet<_> = tokens.keys().map(String::as_str).collect();
    assert_eq!(served, ["good", "without-end"].into());
    assert!(failed.keys().eq(["expired"]));
    let told = &failed["expired"];

    let alone = refusal(access.get_access_token(one("s", "expired")).await);
    assert_eq!(
        (Code::from(told.code), told.reason.as_str()),
        (alone.code, alone.reason.as_str())
    );
    assert_eq!(told.reason, "PROVIDER_NOT_CONFIGURED");
    assert_eq!(told.reauth_reason(), v1::ReauthReason::Unspecified);
    assert_eq!(told.retry_delay, None);
}

/// A caller in a hurry gets what can be had at once.
#[tokio::test]
async fn a_valid_token_needs_next_to_no_time() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut access = serving.access_tokens().await;
    stored(&mut client, "p", after(3_600)).await;
    let begun = Instant::now();
    let mut request = Request::new(all("s"));
    request.set_timeout(Duration::from_secs(9));
    let answer = access.get_all_access_tokens(request).await.unwrap();
    assert_eq!(answer.into_inner().tokens.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(6));
}
