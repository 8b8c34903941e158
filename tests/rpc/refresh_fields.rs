//! Tests every field of the requests for access tokens and for refreshes: an invalid value is `INVALID_ARGUMENT`, and the
//! error names the field.

use prost_types::Duration;
use token_broker::proto::v1::{self, complete_refresh_request::Outcome};

use crate::{
    access_tokens::{all, one},
    fields::binding,
    serving::{SECRET, Serving, session, store},
    table::Table,
};

/// What is no duration, or a negative one.
const BAD_SPANS: [Duration; 6] = [
    Duration {
        seconds: -1,
        nanos: 0,
    },
    Duration {
        seconds: 0,
        nanos: -1,
    },
    Duration {
        seconds: 0,
        nanos: 1_000_000_000,
    },
    Duration {
        seconds: i64::MAX,
        nanos: 0,
    },
    Duration {
        seconds: i64::MIN,
        nanos: 0,
    },
    Duration {
        seconds: 315_576_000_001,
        nanos: 0,
    },
];

fn span(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn get_access_token_names_the_field() {
    let serving = Serving::memory().await;
    serving.client().await.store(store("s", "p")).await.unwrap();
    let client = serving.access_tokens().await;
    let mut table = Table::of(one("s", "p"))
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id)
        .bad("min_validity", |request| {
            request.min_validity = span(30 * 86_400 + 1)
        });
    for bad in BAD_SPANS {
        table = table.bad("min_validity", move |request| {
            request.min_validity = Some(bad);
        });
    }
    for bad in [0, 1 << 53, u64::MAX] {
        table = table.bad("rejected_version", move |request| {
            request.rejected_version = Some(bad);
        });
    }
    binding(table, |request, binding| request.binding = Some(binding))
        .check(async |request| client.clone().get_access_token(request).await)
        .await;
}

#[tokio::test]
async fn get_all_access_tokens_names_the_field() {
    let serving = Serving::memory().await;
    serving.client().await;
    let client = serving.access_tokens().await;
    let mut table = Table::of(all("s"))
        .id("session_id", |request, id| request.session_id = id)
        .bad("min_validity", |request| {
            request.min_validity = span(30 * 86_400 + 1)
        })
        // A user has another subject at each provider.
        .bad("binding.upstream_subject", |request| {
            request.binding = Some(v1::Binding {
                user_id: Some("u".to_owned()),
                upstream_subject: Some("subject".to_owned()),
                ..Default::default()
            });
        });
    for bad in BAD_SPANS {
        table = table.bad("min_validity", move |request| {
            request.min_validity = Some(bad);
        });
    }
    binding(table, |request, binding| request.binding = Some(binding))
        .check(async |request| client.clone().get_all_access_tokens(request).await)
        .await;
}

/// What is no attempt id.
fn bad_attempts() -> [Vec<u8>; 5] {
    [
        Vec::new(),
        vec![1; 15],
        vec![1; 17],
        vec![0; 16],
        SECRET.as_bytes().to_vec(),
    ]
}

/// What is no SHA-256.
fn bad_hashes() -> [Vec<u8>; 4] {
    [Vec::new(), vec![1; 31], vec![1; 33], vec![b'a'; 64]]
}

#[tokio::test]
async fn begin_refresh_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    let stored = client.clone().store(store("s", "p")).await.unwrap();
    let begin = v1::BeginRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        version: stored.into_inner().version,
        attempt_id: vec![7; 16],
    };
    let mut table = Table::of(begin)
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id);
    for bad in [0, 1 << 53] {
        table = table.bad("version", move |request| request.version = bad);
    }
    for bad in bad_attempts() {
        table = table.bad("attempt_id", move |request| {
            request.attempt_id.clone_from(&bad)
        });
    }
    table
        .check(async |request| client.clone().begin_refresh(request).await)
        .await;
}

#[tokio::test]
async fn renew_refresh_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    client.clone().store(store("s", "p")).await.unwrap();
    let renew = v1::RenewRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        attempt_id: vec![7; 16],
        refresh_token_sha256: vec![7; 32],
    };
    let mut table = Table::of(renew)
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id);
    for bad in bad_attempts() {
        table = table.bad("attempt_id", move |request| {
            request.attempt_id.clone_from(&bad)
        });
    }
    for bad in bad_hashes() {
        table = table.bad("refresh_token_sha256", move |request| {
            request.refresh_token_sha256.clone_from(&bad);
        });
    }
    table
        .check(async |request| client.clone().renew_refresh(request).await)
        .await;
}

impl Table<v1::CompleteRefreshRequest> {
    /// Adds a change of the provider's tokens that makes `field` invalid.
    fn tokens(self, field: &str, change: impl Fn(&mut v1::RefreshedTokens) + 'static) -> Self {
        self.bad(&format!("tokens.{field}"), move |request| {
            let mut tokens = v1::RefreshedTokens {
                access_token: format!("at-{SECRET}"),
                refresh_token: format!("rt-{SECRET}"),
                ..Default::default()
            };
            change(&mut tokens);
            request.outcome = Some(Outcome::Tokens(tokens));
        })
    }
}

#[tokio::test]
async fn complete_refresh_names_the_field() {
    let serving = Serving::memory().await;
    let client = serving.client().await;
    client.clone().store(store("s", "p")).await.unwrap();
    let complete = v1::CompleteRefreshRequest {
        session_id: session("s"),
        provider: "p".to_owned(),
        attempt_id: vec![7; 16],
        refresh_token_sha256: vec![7; 32],
        version: 7,
        outcome: Some(Outcome::NotSent(v1::RefreshNotSent { retry_after: None })),
    };
    let mut table = Table::of(complete)
        .id("session_id", |request, id| request.session_id = id)
        .id("provider", |request, id| request.provider = id)
        .bad("outcome", |request| request.outcome = None)
        .bad("refused", |request| {
            request.outcome = Some(Outcome::Refused(false))
        })
        .bad("unknown", |request| {
            request.outcome = Some(Outcome::Unknown(false))
        });
    for bad in bad_attempts() {
        table = table.bad("attempt_id", move |request| {
            request.attempt_id.clone_from(&bad)
        });
    }
    for bad in bad_hashes() {
        table = table.bad("refresh_token_sha256", move |request| {
            request.refresh_token_sha256.clone_from(&bad);
        });
    }
    for bad in [0, 1 << 53] {
        table = table.bad("version", move |request| request.version = bad);
    }
    for bad in BAD_SPANS {
        table = table
            .bad("not_sent.retry_after", move |request| {
                let retry_after = Some(bad);
                request.outcome = Some(Outcome::NotSent(v1::RefreshNotSent { retry_after }));
            })
            .tokens("expires_in", move |tokens| tokens.expires_in = Some(bad))
            .tokens("refresh_expires_in", move |tokens| {
                tokens.refresh_expires_in = Some(bad);
            });
    }
    table
        .tokens("access_token", |tokens| tokens.access_token.clear())
        .tokens("access_token", |tokens| {
            tokens.access_token = format!("{SECRET}\r\nX-Admin: 1");
        })
        .tokens("refresh_token", |tokens| {
            tokens.refresh_token = format!("{SECRET}\0");
        })
        .tokens("id_token", |tokens| {
            tokens.id_token = format!("{SECRET}\u{7f}")
        })
        .tokens("token_type", |tokens| tokens.token_type = "x".repeat(65))
        .tokens("token_type", |tokens| {
            tokens.token_type = "Bear\ner".to_owned();
        })
        .tokens("scopes[1]", |tokens| {
            tokens.scopes = vec!["good".to_owned(), format!("{SECRET} b")];
        })
        .check(async |request| client.clone().complete_refresh(request).await)
        .await;
}
