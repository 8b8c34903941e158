//! Rows that nothing is sent for, and an answer of which nothing is kept (R5, R9, R10, R12).

use std::{sync::Arc, time::Duration};

use testkit::{
    rows,
    token_endpoint::{Behaviour, TokenEndpoint},
};
use token_broker::{
    error::Error,
    refresh::provider::ProviderOptions,
    store::MemoryStore,
    tokens::Wanted,
    types::{Origin, ReauthReason, Row, StoredRow, Subject},
};

use crate::{
    brokers::{Process, access_token, ending, expired, key, options_at},
    echo::log,
    id_tokens::id_token,
};

struct Scene {
    endpoint: TokenEndpoint,
    broker: Process<Arc<MemoryStore>>,
}

impl Scene {
    async fn new(answer: Behaviour, change: impl Fn(&mut ProviderOptions)) -> Self {
        let endpoint = TokenEndpoint::start().await;
        endpoint.behave("/token", [answer]);
        let mut options = options_at(&endpoint.url("/token"));
        change(&mut options);
        let broker = Process::start(Arc::new(MemoryStore::new()), options);
        Self { endpoint, broker }
    }

    async fn get(&self) -> Result<StoredRow, Error> {
        self.broker.get(&key("s"), Wanted::default()).await
    }

    async fn row(&self) -> Row {
        self.broker.read(&key("s")).await.unwrap().row
    }

    fn requests(&self) -> usize {
        self.endpoint.received_at("/token").len()
    }

    /// Checks what a call says about a row, that nothing is sent, and that the row isn't marked.
    async fn assert_not_sent(&self, row: &Row, is_expected: impl Fn(&Error) -> bool) {
        self.broker.plant(&key("s"), row).await;
        let error = self.get().await.unwrap_err();
        assert!(is_expected(&error), "{error:?}");
        assert_eq!((self.requests(), self.row().await.reauth), (0, None));
        // The access token is of use until its end.
        let valid = Row {
            expires_at: rows::in_seconds(20),
            updated_at: rows::in_seconds(-3_600),
            ..row.clone()
        };
        self.broker.plant(&key("s"), &valid).await;
        assert_eq!(access_token(&self.get().await.unwrap()), "old");
        assert_eq!(self.requests(), 0);
    }
}

fn tokens() -> Behaviour {
    Behaviour::json(
        200,
        r#"{"access_token":"new","refresh_token":"rt-2","expires_in":3600}"#,
    )
}

fn as_it_is(_: &mut ProviderOptions) {}

#[tokio::test]
async fn an_answer_about_another_user() {
    for (issuer, subject, is_kept) in [
        ("https://issuer.example", "alice", true),
        ("https://issuer.example/", "alice", true),
        ("https://issuer.example", "mallory", false),
        ("https://other.example", "alice", false),
    ] {
        let body = format!(
            r#"{{"access_token":"new","refresh_token":"rt-2","expires_in":60,"id_token":"{}"}}"#,
            id_token(issuer, subject)
        );
        let issuer = |options: &mut ProviderOptions| {
            options.endpoints.issuer = "https://issuer.example".parse().ok();
            options.endpoints.revocation = options.endpoints.token.clone();
        };
        let scene = Scene::new(Behaviour::json(200, &body), issuer).await;
        let mut row = expired("rt-1");
        row.upstream_subject = Subject::new("alice").ok();
        scene.broker.put(&key("s"), row.clone()).await.unwrap();
        let got = scene.get().await;
        if is_kept {
            assert_eq!(access_token(&got.unwrap()), "new");
            continue;
        }
        let refused = ReauthReason::Refused;
        assert!(matches!(got, Err(Error::ReauthRequired(reason)) if reason == refused));
        let left = scene.row().await;
        assert_eq!(left.reauth, Some(refused));
        assert_eq!(rows::access_token(&left), "old");
        assert_eq!(rows::refresh_token(&left), "rt-1");
        assert!(left.id_token.is_none());
        scene.get().await.unwrap_err();
        assert_eq!(scene.requests(), 1);
        // The token was redeemed: storing it again mends nothing.
        let again = scene.broker.put(&key("s"), row).await;
        assert!(
            matches!(again, Err(Error::RefreshTokenRedeemed)),
            "{again:?}"
        );
        assert_eq!(scene.row().await, left);
        // A login does.
        scene.broker.put(&key("s"), expired("rt-9")).await.unwrap();
        scene.endpoint.behave("/token", [tokens()]);
        assert_eq!(access_token(&scene.get().await.unwrap()), "new");
    }
}

#[tokio::test]
async fn an_id_token_says_nothing_about_a_row_without_a_subject() {
    let body = format!(
        r#"{{"access_token":"new","expires_in":60,"id_token":"{}"}}"#,
        id_token("https://other.example", "anybody")
    );
    let scene = Scene::new(Behaviour::json(200, &body), as_it_is).await;
    scene.broker.put(&key("s"), expired("rt-1")).await.unwrap();
    let got = scene.get().await.unwrap();
    assert_eq!(
        (access_token(&got), rows::refresh_token(&got.row)),
        ("new", "rt-1")
    );
}

#[tokio::test]
async fn tokens_that_are_bound_to_a_key_of_the_client() {
    for kind in ["DPoP", "dpop", "PoP", "MAC"] {
        let scene = Scene::new(tokens(), as_it_is).await;
        let mut row = expired("rt-1");
        row.token_type = kind.to_owned();
        let is_expected = |error: &Error| matches!(error, Error::NotRefreshable(_));
        scene.assert_not_sent(&row, is_expected).await;
    }
}

#[tokio::test]
async fn no_refresh_token() {
    let scene = Scene::new(tokens(), as_it_is).await;
    let mut row = expired("rt-1");
    row.refresh_token = None;
    let is_expected = |error: &Error| matches!(error, Error::NoRefreshToken);
    scene.assert_not_sent(&row, is_expected).await;
}

#[tokio::test]
async fn a_refresh_token_past_its_end() {
    let scene = Scene::new(tokens(), as_it_is).await;
    let mut row = expired("rt-1");
    row.refresh_expires_at = rows::in_seconds(-1);
    let refused = |error: &Error| matches!(error, Error::ReauthRequired(ReauthReason::Refused));
    scene.assert_not_sent(&row, refused).await;
}

#[tokio::test]
async fn tokens_that_were_obtained_elsewhere() {
    let elsewhere = Origin {
        server: "https://former.example/token".to_owned(),
        client_id: "former".to_owned(),
    };
    let mut row = expired("rt-1");
    row.origin = Some(elsewhere.clone());
    let scene = Scene::new(tokens(), as_it_is).await;
    let changed = |error: &Error| matches!(error, Error::ProviderChanged);
    scene.assert_not_sent(&row, changed).await;
    // Another client at the same server is another origin.
    let other_client = Origin {
        client_id: "other".to_owned(),
        ..options_at(&scene.endpoint.url("/token")).origin()
    };
    row.origin = Some(other_client);
    scene.assert_not_sent(&row, changed).await;

    let formerly = |options: &mut ProviderOptions| options.formerly = vec![elsewhere.clone()];
    let scene = Scene::new(tokens(), formerly).await;
    row.origin = Some(elsewhere.clone());
    scene.broker.plant(&key("s"), &row).await;
    let got = scene.get().await.unwrap();
    assert_eq!(access_token(&got), "new");
    // The new refresh token comes from here, and works when `formerly` is gone.
    let here = options_at(&scene.endpoint.url("/token")).origin();
    assert_eq!(got.row.origin, Some(here));
}

#[tokio::test]
async fn a_provider_without_settings() {
    log();
    let scene = Scene::new(tokens(), as_it_is).await;
    let unknown = rows::key("s", "unknown");
    scene.broker.plant(&unknown, &expired("rt-1")).await;
    let got = scene.broker.get(&unknown, Wanted::default()).await;
    assert!(matches!(got, Err(Error::ProviderNotConfigured)), "{got:?}");
    scene
        .broker
        .get(&unknown, Wanted::default())
        .await
        .unwrap_err();
    let log = log().text();
    let told = log
        .lines()
        .filter(|line| line.contains("provider=\"unknown\""));
    assert_eq!(told.count(), 1, "{log}");
    scene.broker.plant(&unknown, &ending("rt-1", 20)).await;
    let got = scene.broker.get(&unknown, Wanted::default()).await.unwrap();
    assert_eq!(access_token(&got), "old");
}

/// A marked row is not asked for again, and its access token is served until its end.
#[tokio::test]
async fn a_row_that_is_marked() {
    let refused = Behaviour::json(400, r#"{"error":"invalid_grant"}"#);
    let scene = Scene::new(refused, as_it_is).await;
    scene.broker.plant(&key("s"), &ending("rt-1", 6)).await;
    assert_eq!(access_token(&scene.get().await.unwrap()), "old");
    assert_eq!(scene.row().await.reauth, Some(ReauthReason::Refused));
    assert_eq!(access_token(&scene.get().await.unwrap()), "old");
    tokio::time::sleep(Duration::from_millis(6_100)).await;
    let got = scene.get().await;
    assert!(
        matches!(got, Err(Error::ReauthRequired(ReauthReason::Refused))),
        "{got:?}"
    );
    assert_eq!(scene.requests(), 1);
}
