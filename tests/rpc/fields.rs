//! Tests every field of every request: an invalid value is `INVALID_ARGUMENT`, and the error names
//! the field.

use prost_types::Timestamp;
use token_broker::proto::v1::{self, delete_request::Target, precondition::Condition};
use tonic::Code;

use crate::{
    refusal::refusal,
    serving::{SECRET, Serving, get, get_all, session, store},
    table::Table,
};

fn tokens(request: &mut v1::StoreRequest) -> &mut v1::UpstreamTokens {
    request.tokens.as_mut().unwrap()
}

/// Invalid times: the epoch and earlier, the year 10000, and nanoseconds out of range.
const BAD_TIMES: [Timestamp; 6] = [
    Timestamp {
        seconds: 0,
        nanos: 0,
    },
    Timestamp {
        seconds: -1,
        nanos: 0,
    },
    Timestamp {
        seconds: i64::MIN,
        nanos: 0,
    },
    Timestamp {
        seconds: 253_402_300_800,
        nanos: 0,
    },
    Timestamp {
        seconds: 4_000_000_000,
        nanos: -1,
    },
    Timestamp {
        seconds: 4_000_000_000,
        nanos: 1_000_000_000,
    },
];

#[tokio::test]
async fn store_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    let mut table = Table::of(store("s", "p"))
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id)
        .bad("tokens", |request| request.tokens = None)
        .bad("tokens", |request| {
            *tokens(request) = v1::UpstreamTokens {
                user_id: "u".to_owned(),
                ..Default::default()
            };
        })
        .optional_id("tokens.user_id", |request, id| tokens(request).user_id = id)
        .optional_id("tokens.client_id", |request, id| {
            tokens(request).client_id = id
        })
        .optional_id("tokens.upstream_subject", |request, id| {
            tokens(request).upstream_subject = id;
        })
        .bad("tokens.token_type", |request| {
            tokens(request).token_type = "x".repeat(65)
        })
        .bad("tokens.token_type", |request| {
            tokens(request).token_type = "Bear\ner".to_owned()
        });
    // A sidecar sends a token in a header.
    for bad in ["\r\nX-Admin: 1", "\0", "\u{7f}", "\u{85}"] {
        let token = format!("{SECRET}{bad}");
        let [access, refresh, id] = [(); 3].map(|()| token.clone());
        table = table
            .bad("tokens.access_token", move |request| {
                tokens(request).access_token.clone_from(&access);
            })
            .bad("tokens.refresh_token", move |request| {
                tokens(request).refresh_token.clone_from(&refresh);
            })
            .bad("tokens.id_token", move |request| {
                tokens(request).id_token.clone_from(&id);
            });
    }
    for scope in ["", " ", "a b", "a\tb", "a\n", "\u{a0}"] {
        table = table.bad("tokens.scopes[1]", move |request| {
            tokens(request).scopes = vec!["good".to_owned(), scope.to_owned()];
        });
    }
    for time in BAD_TIMES {
        table = table
            .bad("tokens.expires_at", move |request| {
                tokens(request).expires_at = Some(time)
            })
            .bad("tokens.session_expires_at", move |request| {
                tokens(request).session_expires_at = Some(time);
            })
            .bad("tokens.refresh_expires_at", move |request| {
                tokens(request).refresh_expires_at = Some(time);
            });
    }
    for (field, condition) in [
        ("precondition", None),
        (
            "precondition.must_not_exist",
            Some(Condition::MustNotExist(false)),
        ),
        ("precondition.version", Some(Condition::Version(0))),
        ("precondition.version", Some(Condition::Version(1 << 53))),
        ("precondition.version", Some(Condition::Version(u64::MAX))),
    ] {
        table = table.bad(field, move |request| {
            request.precondition = Some(v1::Precondition { condition });
        });
    }
    table
        .check(async |request| client.clone().store(request).await)
        .await;
}

/// Adds the fields of a binding to a table. Each is an id if it is set, and at least one must be
/// set.
pub fn binding<T: Clone + std::fmt::Debug + 'static>(
    table: Table<T>,
    set: impl Fn(&mut T, v1::Binding) + Clone + 'static,
) -> Table<T> {
    let [empty, user, client, subject] = [set.clone(), set.clone(), set.clone(), set];
    let none = v1::Binding::default;
    table
        .bad("binding", move |request| empty(request, none()))
        .id("binding.user_id", move |request, id| {
            user(
                request,
                v1::Binding {
                    user_id: Some(id),
                    ..none()
                },
            );
        })
        .id("binding.client_id", move |request, id| {
            client(
                request,
                v1::Binding {
                    client_id: Some(id),
                    ..none()
                },
            );
        })
        .id("binding.upstream_subject", move |request, id| {
            subject(
                request,
                v1::Binding {
                    upstream_subject: Some(id),
                    ..none()
                },
            );
        })
}

#[tokio::test]
async fn get_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    client.clone().store(store("s", "p")).await.unwrap();
    let table = Table::of(get("s", "p"))
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id);
    let table = binding(table, |request, binding| request.binding = Some(binding));
    table
        .check(async |request| client.clone().get(request).await)
        .await;
}

#[tokio::test]
async fn get_all_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    let table = Table::of(get_all("s")).id("session_id", |request, id| request.session_id = id);
    let table = binding(table, |request, binding| request.binding = Some(binding));
    table
        .check(async |request| client.clone().get_all(request).await)
        .await;
}

#[tokio::test]
async fn delete_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    let one = v1::DeleteRequest {
        session_id: session("s"),
        target: Some(Target::Provider("p".to_owned())),
        version: Some(7),
    };
    let all = v1::DeleteRequest {
        target: Some(Target::AllProviders(true)),
        version: None,
        ..one.clone()
    };
    let send = async |request| client.clone().delete(request).await;
    Table::of(one)
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| {
            request.target = Some(Target::Provider(id))
        })
        .bad("target", |request| request.target = None)
        .bad("version", |request| request.version = Some(0))
        .bad("version", |request| request.version = Some(1 << 53))
        .check(send)
        .await;
    Table::of(all)
        .id("session_id", |request, id| request.session_id = id)
        .bad("all_providers", |request| {
            request.target = Some(Target::AllProviders(false))
        })
        .bad("version", |request| request.version = Some(7))
        .check(send)
        .await;
}

#[tokio::test]
async fn calls_by_user_name_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    client.clone().store(store("s", "p")).await.unwrap();
    let latest = v1::GetLatestForUserRequest {
        user_id: "u".to_owned(),
        provider: "p".to_owned(),
    };
    Table::of(latest)
        .id("user_id", |request, id| request.user_id = id)
        .id("provider", |request, id| request.provider = id)
        .check(async |request| client.clone().get_latest_for_user(request).await)
        .await;
    let listing = v1::ListUserSessionsRequest {
        user_id: "u".to_owned(),
        ..Default::default()
    };
    Table::of(listing)
        .id("user_id", |request, id| request.user_id = id)
        .bad("page_size", |request| request.page_size = -1)
        .bad("page_size", |request| request.page_size = i32::MIN)
        .bad("page_token", |request| {
            request.page_token = format!("forged-{SECRET}")
        })
        .check(async |request| client.clone().list_user_sessions(request).await)
        .await;
    Table::of(v1::DeleteUserRequest {
        user_id: "u".to_owned(),
    })
    .id("user_id", |request, id| request.user_id = id)
    .check(async |request| client.clone().delete_user(request).await)
    .await;
}

/// All violations are reported at once.
#[tokio::test]
async fn every_bad_field_is_named() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let mut request = store("", "\n");
    request.session_id.clear();
    tokens(&mut request).user_id = "\0".to_owned();
    tokens(&mut request).expires_at = Some(BAD_TIMES[0]);
    tokens(&mut request).scopes = vec![String::new(), "a b".to_owned()];
    request.precondition = Some(v1::Precondition { condition: None });
    let mut found = refusal(client.store(request).await);
    assert_eq!(found.code, Code::InvalidArgument);
    found.fields.sort();
    let expected = [
        "precondition",
        "provider",
        "session_id",
        "tokens.expires_at",
        "tokens.scopes[0]",
        "tokens.scopes[1]",
        "tokens.user_id",
    ];
    assert_eq!(found.fields, expected);
}

/// Ids that are valid but unusual are accepted.
#[tokio::test]
async fn odd_ids_are_taken() {
    let serving = Serving::memory().await;
    let mut client = serving.client().await;
    let long = "x".repeat(512);
    for id in [
        "a:b",
        "{x}",
        "%00",
        " ",
        "é",
        "日本",
        "\u{2028}",
        "idx",
        long.as_str(),
    ] {
        let mut request = store("s", id);
        request.session_id = id.to_owned();
        tokens(&mut request).user_id = id.to_owned();
        tokens(&mut request).expires_at = Some(Timestamp {
            seconds: 1,
            nanos: 999_999_999,
        });
        client.store(request).await.unwrap();
    }
}
