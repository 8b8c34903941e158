//! Every field of the requests of `Identities` and `PendingAuthorizations`: an invalid value is `INVALID_ARGUMENT`, and the
//! error names the field.

use std::sync::atomic::{AtomicU64, Ordering};

use prost_types::Duration;
use token_broker::proto::v1;
use tonic::Code;

use crate::{
    every_rpc::{identity, pending},
    refusal::refusal,
    serving::{SECRET, Serving, session},
    table::Table,
};

#[tokio::test]
async fn calls_about_users_name_the_field() {
    let serving = Serving::memory().await;
    let users = serving.users().await;
    let found = users.clone().resolve_user(identity("p")).await.unwrap();
    let user_id = found.into_inner().user_id;

    Table::of(identity("p"))
        .id("provider", |request, id| request.provider = id)
        .id("provider_subject", |request, id| {
            request.provider_subject = id
        })
        .check(async |request| users.clone().resolve_user(request).await)
        .await;
    let get = v1::GetUserRequest {
        user_id: user_id.clone(),
    };
    Table::of(get)
        .id("user_id", |request, id| request.user_id = id)
        .check(async |request| users.clone().get_user(request).await)
        .await;
    let link = v1::LinkIdentityRequest {
        user_id: user_id.clone(),
        provider: "p".to_owned(),
        provider_subject: "another".to_owned(),
    };
    Table::of(link)
        .id("user_id", |request, id| request.user_id = id)
        .id("provider", |request, id| request.provider = id)
        .id("provider_subject", |request, id| {
            request.provider_subject = id
        })
        .check(async |request| users.clone().link_identity(request).await)
        .await;
    let list = v1::ListIdentitiesRequest {
        user_id: user_id.clone(),
    };
    Table::of(list)
        .id("user_id", |request, id| request.user_id = id)
        .check(async |request| users.clone().list_identities(request).await)
        .await;
    let unlink = v1::UnlinkIdentityRequest {
        provider: "p".to_owned(),
        provider_subject: "another".to_owned(),
        user_id: Some(user_id),
    };
    Table::of(unlink)
        .id("provider", |request, id| request.provider = id)
        .id("provider_subject", |request, id| {
            request.provider_subject = id
        })
        // An empty one doesn't mean any user.
        .id("user_id", |request, id| request.user_id = Some(id))
        .check(async |request| users.clone().unlink_identity(request).await)
        .await;
}

/// Nothing that was refused has changed anything.
#[tokio::test]
async fn an_empty_user_unlinks_nothing() {
    let serving = Serving::memory().await;
    let mut users = serving.users().await;
    let first = users.resolve_user(identity("p")).await.unwrap();
    let unlink = v1::UnlinkIdentityRequest {
        provider: "p".to_owned(),
        provider_subject: "subject".to_owned(),
        user_id: Some(String::new()),
    };
    let found = refusal(users.unlink_identity(unlink).await);
    assert_eq!(found.fields, ["user_id"]);
    let again = users.resolve_user(identity("p")).await.unwrap();
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!((first.created, again.created), (true, false));
    assert_eq!(first.user_id, again.user_id);
}

/// States that no redirect carries unharmed.
const BAD_STATES: [&str; 3] = ["\u{e9}", "\u{65e5}", "\u{2028}"];

fn span(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

#[tokio::test]
async fn create_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.pending().await;
    let mut table = Table::of(pending("state", "p"))
        .id("state", |request, id| request.state = id)
        .id("provider", |request, id| request.provider = id)
        .id("session_id", |request, id| request.session_id = id)
        .id("client_id", |request, id| request.client_id = id)
        .id("user_id", |request, id| request.user_id = Some(id));
    for bad in BAD_STATES {
        table = table.bad("state", move |request| {
            request.state = format!("{SECRET}{bad}")
        });
    }
    for bad in [
        span(0, 0),
        span(0, 999_999_999),
        span(-1, 0),
        span(i64::MIN, 0),
        span(i64::MAX, 0),
        span(3_601, 0),
        span(3_600, 1),
        span(10, -1),
        span(10, 1_000_000_000),
    ] {
        table = table.bad("ttl", move |request| request.ttl = bad);
    }
    table
        .check(async |request| client.clone().create(request).await)
        .await;
    for ttl in [span(1, 0), span(3_600, 0)] {
        let request = v1::CreateRequest {
            ttl,
            ..pending(&format!("{}", ttl.unwrap().seconds), "p")
        };
        client.clone().create(request).await.unwrap();
    }
}

#[tokio::test]
async fn consume_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.pending().await;
    client.clone().create(pending("state", "p")).await.unwrap();
    let consume = v1::ConsumeRequest {
        state: session("state"),
        provider: Some("p".to_owned()),
    };
    let mut table = Table::of(consume)
        .id("state", |request, id| request.state = id)
        // An empty one doesn't mean any provider.
        .id("provider", |request, id| request.provider = Some(id));
    for bad in BAD_STATES {
        table = table.bad("state", move |request| {
            request.state = format!("{SECRET}{bad}")
        });
    }
    table
        .check(async |request| client.clone().consume(request).await)
        .await;
}

#[tokio::test]
async fn every_bad_field_is_named() {
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    let bad = v1::CreateRequest {
        state: String::new(),
        provider: "\n".to_owned(),
        session_id: String::new(),
        client_id: "\0".to_owned(),
        user_id: Some(String::new()),
        ttl: span(0, 0),
        payload: Vec::new(),
    };
    let mut found = refusal(client.create(bad).await);
    assert_eq!(found.code, Code::InvalidArgument);
    found.fields.sort();
    let expected = [
        "client_id",
        "provider",
        "session_id",
        "state",
        "ttl",
        "user_id",
    ];
    assert_eq!(found.fields, expected);
}

/// What one leg of a login is given comes back as it was, whatever it is.
#[tokio::test]
async fn what_was_created_is_what_is_consumed() {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let serving = Serving::memory().await;
    let mut client = serving.pending().await;
    for (user_id, payload) in [
        (None, Vec::new()),
        (Some("u:{1}".to_owned()), (0..=255).collect::<Vec<u8>>()),
        (Some("\u{65e5}".to_owned()), vec![0xff; 16 * 1024]),
    ] {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let created = v1::CreateRequest {
            user_id: user_id.clone(),
            payload: payload.clone(),
            ..pending(&format!("a:{{b}} %7E~{number}"), "p")
        };
        client.create(created.clone()).await.unwrap();
        let consume = v1::ConsumeRequest {
            state: created.state,
            provider: None,
        };
        let taken = client.consume(consume).await.unwrap().into_inner();
        let expected = v1::ConsumeResponse {
            provider: created.provider,
            session_id: created.session_id,
            client_id: created.client_id,
            user_id,
            payload,
        };
        assert!(taken == expected);
    }
}
