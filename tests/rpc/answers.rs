//! Tests what callers get: the row as it was sent, and the fields that the broker adds.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use token_broker::proto::v1::{self, delete_request::Target};

use crate::serving::{Client, Serving, get, get_all, session, store};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

async fn entry(client: &mut Client, session: &str, provider: &str) -> v1::TokenEntry {
    client
        .get(get(session, provider))
        .await
        .unwrap()
        .into_inner()
        .entry
        .unwrap()
}

/// Every field is returned. Times are rounded down to the second.
#[tokio::test]
async fn a_row_comes_back_as_it_was_sent() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut request = store("s", "p");
    let tokens = request.tokens.as_mut().unwrap();
    tokens.id_token = "it".to_owned();
    tokens.token_type = "DPoP".to_owned();
    tokens.scopes = vec!["openid".to_owned(), "repo:read".to_owned()];
    tokens.expires_at = at(4_000_000_000, 999_999_999);
    tokens.session_expires_at = at(4_000_000_001, 1);
    tokens.refresh_expires_at = at(4_000_000_002, 0);
    let mut expected = tokens.clone();
    // These fields are output only: a caller can't set them.
    tokens.provider = "another".to_owned();
    tokens.updated_at = at(1, 0);

    let begun = now();
    let version = client.store(request).await.unwrap().into_inner().version;
    let entry = entry(&mut client, "s", "p").await;
    let found = entry.tokens.clone().unwrap();
    let updated = found.updated_at.unwrap();
    assert!((begun..=now()).contains(&updated.seconds) && updated.nanos == 0);
    expected.provider = "p".to_owned();
    expected.updated_at = found.updated_at;
    for time in [&mut expected.expires_at, &mut expected.session_expires_at] {
        time.as_mut().unwrap().nanos = 0;
    }
    assert!(found == expected);
    assert_eq!(
        (entry.version, entry.expired, entry.reauth_required),
        (version, false, false)
    );
    assert_eq!(entry.reauth_reason(), v1::ReauthReason::Unspecified);

    let all = client.get_all(get_all("s")).await.unwrap().into_inner();
    assert!(all.entries["p"] == entry && all.entries.len() == 1);
    let latest = v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "p".to_owned(),
    };
    let latest = client
        .get_latest_for_user(latest)
        .await
        .unwrap()
        .into_inner()
        .entry;
    assert!(latest == Some(entry));
}

#[tokio::test]
async fn what_is_left_out_has_defaults() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let tokens = v1::UpstreamTokens {
        access_token: "at".to_owned(),
        ..Default::default()
    };
    let request = v1::StoreRequest {
        tokens: Some(tokens),
        ..store("s", "p")
    };
    client.store(request).await.unwrap();
    let found = entry(&mut client, "s", "p").await.tokens.unwrap();
    assert_eq!(found.token_type, "Bearer");
    assert_eq!(
        (
            found.expires_at,
            found.session_expires_at,
            found.refresh_expires_at
        ),
        (None, None, None)
    );
}

/// An expired row is returned and marked as expired. So is a row without an access token.
#[tokio::test]
async fn expired_rows_are_marked() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for (provider, expires_at, access_token, expired) in [
        ("past", at(now() - 60, 0), "at", true),
        ("future", at(now() + 3_600, 0), "at", false),
        ("never", None, "at", false),
        ("tokenless", at(now() + 3_600, 0), "", true),
    ] {
        let mut request = store("s", provider);
        let tokens = request.tokens.as_mut().unwrap();
        tokens.expires_at = expires_at;
        tokens.access_token = access_token.to_owned();
        client.store(request).await.unwrap();
        assert_eq!(
            entry(&mut client, "s", provider).await.expired,
            expired,
            "{provider}"
        );
        let all = client.get_all(get_all("s")).await.unwrap().into_inner();
        assert_eq!(all.entries[provider].expired, expired, "{provider}");
    }
}

/// A missing row is no error in calls that must be safe to retry.
#[tokio::test]
async fn deletes_and_bulk_reads_of_nothing_are_ok() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let all = client
        .get_all(get_all("unknown"))
        .await
        .unwrap()
        .into_inner();
    assert!(all.entries.is_empty() && all.unreadable.is_empty());
    client.store(store("s", "p")).await.unwrap();
    client.store(store("s", "q")).await.unwrap();
    for (target, deleted) in [
        (Target::Provider("p".to_owned()), [1, 0]),
        (Target::AllProviders(true), [1, 0]),
    ] {
        for deleted in deleted {
            let request = v1::DeleteRequest {
                session_id: session("s"),
                target: Some(target.clone()),
                version: None,
            };
            assert_eq!(
                client.delete(request).await.unwrap().into_inner().deleted,
                deleted
            );
        }
    }
    client.store(store("s", "p")).await.unwrap();
    for expected in [(1, true), (0, false)] {
        let request = v1::DeleteUserRequest {
            user_id: "u".to_owned(),
        };
        let deleted = client.delete_user(request).await.unwrap().into_inner();
        assert_eq!((deleted.deleted_rows, deleted.existed), expected);
        assert_eq!(deleted.deleted_identities, 0);
    }
}

/// A listing is read page by page, and contains no token.
#[tokio::test]
async fn a_listing_goes_page_by_page() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    for number in 0..5 {
        client
            .store(store(&format!("s{number}"), "p"))
            .await
            .unwrap();
    }
    let mut request = v1::ListUserSessionsRequest {
        user_id: "u".to_owned(),
        page_size: 2,
        ..Default::default()
    };
    let mut found = Vec::new();
    for expected in [2, 2, 1] {
        let page = client
            .list_user_sessions(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.sessions.len(), expected);
        found.extend(page.sessions);
        request.page_token = page.next_page_token;
    }
    assert!(request.page_token.is_empty());
    for (number, listed) in found.iter().enumerate() {
        assert_eq!(listed.session_id, session(&format!("s{number}")));
        assert_eq!(
            (listed.provider.as_str(), listed.client_id.as_str()),
            ("p", "client")
        );
        assert!(listed.updated_at.is_some() && listed.expires_at.is_none());
    }
}
