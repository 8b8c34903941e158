//! What each answer of a provider, and each failure, means for the caller and for the row (R4, R6).

use std::{sync::Arc, time::Duration};

use testkit::{
    reserved_port::ReservedPort,
    rotating_provider::{Fault, RotatingProvider, Rules},
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::until,
};
use token_broker::{
    error::Error,
    refresh::provider::{Authentication, ProviderOptions, Replay, Rotation, SecretSource},
    store::MemoryStore,
    tokens::Wanted,
    types::{ReauthReason, StoredRow},
};
use tokio::time::Instant;

use crate::brokers::{PATIENCE, Process, access_token, ending, expired, key, options_at};

type Broker = Process<Arc<MemoryStore>>;

/// How long a caller waits who needs no answer of the provider.
const SHORT: Duration = Duration::from_millis(400);

/// What came of a call.
struct Outcome {
    got: Result<StoredRow, Error>,
    mark: Option<ReauthReason>,
    requests: usize,
}

/// A scripted provider, and two brokers.
struct Scene {
    endpoint: TokenEndpoint,
    brokers: Vec<Broker>,
}

impl Scene {
    async fn new(
        answers: impl IntoIterator<Item = Behaviour>,
        change: impl Fn(&mut ProviderOptions),
    ) -> Self {
        let endpoint = TokenEndpoint::start().await;
        endpoint.behave("/token", answers);
        let mut options = options_at(&endpoint.url("/token"));
        change(&mut options);
        let brokers = Process::start_all(2, &Arc::new(MemoryStore::new()), &options);
        brokers[0].put(&key("s"), expired("rt-0")).await.unwrap();
        Self { endpoint, brokers }
    }

    fn requests(&self) -> usize {
        self.endpoint.received_at("/token").len()
    }

    /// Asks a broker for an access token.
    async fn ask(&self, broker: usize) -> Outcome {
        self.ask_within(broker, PATIENCE).await
    }

    async fn ask_within(&self, broker: usize, patience: Duration) -> Outcome {
        let (key, broker) = (key("s"), &self.brokers[broker]);
        let got = broker.get_within(&key, Wanted::default(), patience).await;
        Outcome {
            got,
            mark: broker.read(&key).await.unwrap().row.reauth,
            requests: self.requests(),
        }
    }

    /// A token that is still valid is handed out as it is.
    async fn assert_valid_is_served(&self) {
        let key = key("valid");
        self.brokers[0].plant(&key, &ending("rt-1", 20)).await;
        let call = self.brokers[0].get_within(&key, Wanted::default(), SHORT);
        assert_eq!(access_token(&call.await.unwrap()), "old");
    }
}

fn tokens() -> Behaviour {
    Behaviour::json(
        200,
        r#"{"access_token":"new","refresh_token":"rt-2","expires_in":3600}"#,
    )
}

fn strict(_: &mut ProviderOptions) {}

fn never(options: &mut ProviderOptions) {
    options.replay = Replay::Never;
}

fn is_unavailable(outcome: &Outcome) -> Option<Duration> {
    match &outcome.got {
        Err(Error::ProviderUnavailable { retry_after, .. }) => {
            Some(retry_after.unwrap_or_default())
        }
        _ => None,
    }
}

fn is_reauth(outcome: &Outcome, expected: ReauthReason) -> bool {
    let told = matches!(outcome.got, Err(Error::ReauthRequired(reason)) if reason == expected);
    told && outcome.mark == Some(expected)
}

#[tokio::test]
async fn a_provider_that_refuses_connections() {
    let nobody = ReservedPort::new();
    let change = |options: &mut ProviderOptions| {
        let url = format!("http://{}/token", nobody.address());
        options.endpoints.token = url.parse().ok();
    };
    let scene = Scene::new([tokens()], change).await;
    let outcome = scene.ask_within(0, SHORT).await;
    assert!(is_unavailable(&outcome).is_some(), "{:?}", outcome.got);
    assert_eq!((outcome.mark, outcome.requests), (None, 0));
    scene.assert_valid_is_served().await;
}

#[tokio::test]
async fn a_provider_that_asks_to_wait() {
    let busy = Behaviour::answer(429, &["Retry-After: 8"], "");
    // Who has less time than that is told at once.
    let soon = Duration::from_secs(4);
    let scene = Scene::new([busy, tokens()], strict).await;
    let began = Instant::now();
    // Each broker keeps to it.
    for broker in [0, 1, 0, 1] {
        let outcome = scene.ask_within(broker, soon).await;
        let wait = is_unavailable(&outcome).unwrap();
        assert!(wait >= soon && wait <= Duration::from_secs(8), "{wait:?}");
        assert_eq!((outcome.mark, outcome.requests), (None, 1));
    }
    let outcome = scene.ask(1).await;
    assert_eq!(access_token(&outcome.got.unwrap()), "new");
    assert!(began.elapsed() >= Duration::from_secs(8));
    assert_eq!(outcome.requests, 2);
}

#[tokio::test]
async fn a_provider_that_is_busy_now() {
    for busy in [
        Behaviour::answer(429, &[], ""),
        Behaviour::answer(503, &["Retry-After: 0"], ""),
        Behaviour::json(400, r#"{"error":"temporarily_unavailable"}"#),
        Behaviour::json(400, r#"{"error":"nobody_knows"}"#),
    ] {
        let scene = Scene::new([busy.clone()], strict).await;
        scene.assert_valid_is_served().await;
        scene
            .endpoint
            .behave("/token", [busy.clone(), busy, tokens()]);
        let outcome = scene.ask(0).await;
        assert_eq!(access_token(&outcome.got.unwrap()), "new");
        assert_eq!(outcome.mark, None);
    }
}

#[tokio::test]
async fn answers_that_tell_nothing() {
    let ten_megabytes = "x".repeat(10 << 20);
    let cut_off = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"access";
    let cases = [
        ("500", Behaviour::answer(500, &[], "")),
        (
            "502",
            Behaviour::answer(502, &["Content-Type: text/html"], "<html>"),
        ),
        ("503", Behaviour::answer(503, &[], "")),
        ("garbage", Behaviour::json(200, "{{{ not JSON")),
        ("no HTTP", Behaviour::raw(&b"\x00\x01 nonsense"[..])),
        ("cut off", Behaviour::raw(&cut_off[..])),
        ("reset", Behaviour::raw(&b""[..]).end(End::Reset)),
        ("silence", Behaviour::raw(&b""[..]).end(End::Hang)),
        ("10 MB", Behaviour::json(200, &ten_megabytes)),
        (
            "HTML",
            Behaviour::answer(200, &["Content-Type: text/html"], "<html>log in"),
        ),
        (
            "redirect",
            Behaviour::answer(302, &["Location: /elsewhere"], ""),
        ),
        (
            "no access token",
            Behaviour::json(200, r#"{"refresh_token":"rt-2"}"#),
        ),
    ];
    let check = |(name, answer): (&'static str, Behaviour)| async move {
        let change = |options: &mut ProviderOptions| {
            never(options);
            // Its end is waited for.
            if name == "silence" {
                options.timeout = Duration::from_secs(2);
            }
        };
        let scene = Scene::new([answer], change).await;
        scene.endpoint.behave("/elsewhere", [tokens()]);
        for broker in [0, 1] {
            let outcome = scene.ask(broker).await;
            assert!(
                is_reauth(&outcome, ReauthReason::InDoubt),
                "{name}: {:?}",
                outcome.got
            );
            assert_eq!(outcome.requests, 1, "{name}");
        }
        assert!(scene.endpoint.received_at("/elsewhere").is_empty());
    };
    futures_util::future::join_all(cases.map(check)).await;
}

/// Where it isn't configured otherwise, what tells nothing is sent once more, and never a third time.
#[tokio::test]
async fn answers_that_tell_nothing_to_a_second_request() {
    let garbage = || Behaviour::json(200, "garbage");
    let (twice, once) = tokio::join!(
        Scene::new([garbage()], strict),
        Scene::new([garbage(), tokens()], strict)
    );
    twice.assert_valid_is_served().await;
    // The request goes on without its caller. Nobody is there to wait for a second one.
    let sent = 1;
    until("the request comes", async || twice.requests() == sent).await;
    let (twice_got, once_got) = tokio::join!(twice.ask(0), once.ask(1));
    assert!(
        is_reauth(&twice_got, ReauthReason::InDoubt),
        "{:?}",
        twice_got.got
    );
    assert_eq!(twice_got.requests, sent + 2);
    assert_eq!(access_token(&once_got.got.unwrap()), "new");
    assert_eq!(once_got.requests, 2);
    assert_eq!(twice.ask(1).await.requests, sent + 2);
}

/// The token is redeemed, and the answer is lost on the way.
#[tokio::test]
async fn answers_that_are_lost_after_the_redemption() {
    let bad_gateway = || Some(Behaviour::answer(502, &[], ""));
    let lost = |rotation, answers: Option<Behaviour>| async move {
        let grace = match rotation {
            Rotation::Grace(grace) => grace,
            _ => Duration::ZERO,
        };
        let provider = RotatingProvider::start(Rules {
            grace,
            ..Rules::default()
        })
        .await;
        provider.fail(move |number| Fault {
            loses_answer: number == 0 && answers.is_none(),
            answers: answers.clone().filter(|_| number == 0),
            ..Fault::default()
        });
        let mut options = options_at(&provider.url());
        options.rotation = rotation;
        let broker = Process::start(Arc::new(MemoryStore::new()), options);
        let key = key("s");
        broker.put(&key, expired(&provider.log_in())).await.unwrap();
        let got = broker.get(&key, Wanted::default()).await;
        let mark = broker.read(&key).await.unwrap().row.reauth;
        let requests = provider.tally().requests;
        (
            Outcome {
                got,
                mark,
                requests,
            },
            provider,
        )
    };
    let grace = Rotation::Grace(Duration::from_secs(60));
    let (reset, gateway, grace_reset, grace_gateway) = tokio::join!(
        lost(Rotation::Strict, None),
        lost(Rotation::Strict, bad_gateway()),
        lost(grace, None),
        lost(grace, bad_gateway()),
    );
    for (outcome, _) in [reset, gateway] {
        assert!(
            is_reauth(&outcome, ReauthReason::InDoubt),
            "{:?}",
            outcome.got
        );
        assert_eq!(outcome.requests, 2);
    }
    for (outcome, provider) in [grace_reset, grace_gateway] {
        assert!(provider.accepts(access_token(&outcome.got.unwrap())));
        assert_eq!((outcome.requests, provider.revoked()), (2, 0));
    }
}

/// A whole answer counts, however its connection ends.
#[tokio::test]
async fn a_connection_is_reset_after_the_answer() {
    let scene = Scene::new([tokens().end(End::Reset)], never).await;
    let outcome = scene.ask(0).await;
    assert_eq!(access_token(&outcome.got.unwrap()), "new");
    assert_eq!(outcome.requests, 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_refused() {
    let refused = Behaviour::json(400, r#"{"error":"invalid_grant"}"#);
    let scene = Scene::new([refused], strict).await;
    for broker in [0, 1, 0, 1] {
        let outcome = scene.ask(broker).await;
        assert!(
            is_reauth(&outcome, ReauthReason::Refused),
            "{:?}",
            outcome.got
        );
        assert_eq!(outcome.requests, 1);
    }
    scene.assert_valid_is_served().await;
    // Another token is another matter.
    scene.endpoint.behave("/token", [tokens()]);
    scene.brokers[0]
        .put(&key("s"), expired("rt-other"))
        .await
        .unwrap();
    assert_eq!(access_token(&scene.ask(1).await.got.unwrap()), "new");
}

#[tokio::test]
async fn a_client_that_is_refused() {
    for code in [
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "use_dpop_nonce",
    ] {
        let body = format!(r#"{{"error":"{code}"}}"#);
        let scene = Scene::new([Behaviour::json(401, &body)], strict).await;
        for broker in [0, 1] {
            let outcome = scene.ask(broker).await;
            let got = &outcome.got;
            assert!(
                matches!(got, Err(Error::ProviderMisconfigured(_))) || broker == 1,
                "{got:?}"
            );
            assert!(broker == 0 || is_unavailable(&outcome).is_some() || got.is_err());
            assert_eq!(outcome.mark, None);
        }
        assert!(scene.requests() <= 3, "{code}: {}", scene.requests());
        scene.assert_valid_is_served().await;
        // When the client is right again, so is the row.
        scene.endpoint.behave("/token", [tokens()]);
        let mended = scene.ask(1).await.got.unwrap();
        assert_eq!(access_token(&mended), "new");
    }
}

/// The secret was changed at the provider, and its file since the request was prepared.
#[tokio::test]
async fn a_secret_that_was_changed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "old secret").unwrap();
    let invalid = Behaviour::json(401, r#"{"error":"invalid_client"}"#);
    let scene = Scene::new(
        [invalid.after(Duration::from_secs(2)), tokens()],
        |options| {
            options.authentication = Authentication::SecretPost(SecretSource::File(file.clone()));
        },
    )
    .await;
    let key = key("s");
    let call = scene.brokers[0].get(&key, Wanted::default());
    until("the request comes", async || scene.requests() == 1).await;
    std::fs::write(&file, "new secret").unwrap();
    assert_eq!(access_token(&call.await.unwrap()), "new");
    let sent = scene.endpoint.received_at("/token");
    let secrets: Vec<_> = sent
        .iter()
        .map(|r| r.parameter("client_secret").unwrap())
        .collect();
    assert_eq!(secrets, ["old%20secret", "new%20secret"]);
}
