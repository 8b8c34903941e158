//! Where the endpoints are.

use std::time::Duration;

use futures_util::future::join_all;
use testkit::{
    certificates::Certificates,
    token_endpoint::{Behaviour, End, TokenEndpoint},
    waiting::until,
};
use token_broker::refresh::provider::{
    Answer, Asked, PrepareError, Provider, ProviderOptions, Verdict, Why,
};

use crate::setup::{TOKEN, options, redeem, tokens};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

fn metadata(server: &TokenEndpoint, issuer: &str) -> Behaviour {
    let token = server.url(TOKEN);
    Behaviour::json(
        200,
        &format!(r#"{{"issuer":"{issuer}","token_endpoint":"{token}"}}"#),
    )
}

fn options_of(server: &TokenEndpoint) -> ProviderOptions {
    let mut options = options();
    options.endpoints.issuer = Some(server.url("").parse().unwrap());
    options
}

/// Returns what the operator is told if only the operator can mend it.
async fn misconfigured(options: ProviderOptions) -> String {
    match Provider::new(options).prepare().await {
        Err(PrepareError::Misconfigured(what)) => what,
        other => panic!("{other:?}"),
    }
}

async fn unreachable(options: ProviderOptions) -> Why {
    match Provider::new(options).prepare().await {
        Err(PrepareError::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_issuer_names_the_endpoint_and_is_asked_once() {
    let server = TokenEndpoint::start().await;
    server.behave(OPENID, [metadata(&server, &server.url(""))]);
    server.behave(TOKEN, [tokens()]);
    let provider = Provider::new(options_of(&server));
    for _ in 0..3 {
        let prepared = provider.prepare().await.unwrap();
        let answer = prepared.send(&crate::setup::secret("r")).await;
        assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
    }
    assert_eq!(server.received_at(OPENID).len(), 1);
}

#[tokio::test]
async fn the_metadata_of_rfc_8414_does_too() {
    let server = TokenEndpoint::start().await;
    server.behave(OAUTH, [metadata(&server, &server.url(""))]);
    server.behave(TOKEN, [tokens()]);
    let answer = redeem(options_of(&server)).await;
    assert!(matches!(answer, Answer::Tokens(_)), "{answer:?}");
}

#[tokio::test]
async fn another_issuer_is_not_believed() {
    let server = TokenEndpoint::start().await;
    for issuer in ["https://idp.example", &server.url("/")] {
        server.behave(OPENID, [metadata(&server, issuer)]);
        let told = misconfigured(options_of(&server)).await;
        assert_eq!(told, Why::IssuerMismatch.to_string(), "{issuer}");
        let trial = Provider::new(options_of(&server)).try_out(false).await;
        let asked = Asked {
            url: server.url(OPENID),
            issuer: Ok((*issuer).to_owned()),
        };
        assert_eq!(trial.asked.last(), Some(&asked));
    }
}

#[tokio::test]
async fn metadata_that_is_of_no_use() {
    let server = TokenEndpoint::start().await;
    let issuer = server.url("");
    let bare = format!(r#"{{"issuer":"{issuer}"}}"#);
    let elsewhere =
        format!(r#"{{"issuer":"{issuer}","token_endpoint":"http://idp.example/token"}}"#);
    for behaviour in [
        Behaviour::json(200, &bare),
        Behaviour::json(200, &elsewhere),
    ] {
        server.behave(OPENID, [behaviour]);
        let told = misconfigured(options_of(&server)).await;
        assert_eq!(told, Why::NoEndpoint.to_string());
    }
    for (behaviour, why) in [
        (Behaviour::json(200, "garbage"), Why::DiscoveryFailed),
        (
            Behaviour::answer(302, &["Location: /a"], ""),
            Why::Status(302),
        ),
        (Behaviour::json(200, &" ".repeat(300 << 10)), Why::TooLarge),
    ] {
        server.behave(OPENID, [behaviour]);
        assert_eq!(unreachable(options_of(&server)).await, why);
    }
}

/// Only where no address has metadata, nobody can ever redeem.
#[tokio::test]
async fn metadata_that_is_nowhere() {
    let server = TokenEndpoint::start().await;
    let none = || Behaviour::answer(404, &[], "");
    for (openid, oauth, why) in [
        (none(), none(), None),
        (Behaviour::answer(410, &[], ""), none(), None),
        (Behaviour::answer(500, &[], ""), none(), Some(500)),
        (none(), Behaviour::answer(503, &[], ""), Some(503)),
        (Behaviour::answer(403, &[], ""), none(), Some(403)),
    ] {
        server.behave(OPENID, [openid]);
        server.behave(OAUTH, [oauth]);
        let options = options_of(&server);
        match why {
            None => assert_eq!(misconfigured(options).await, Why::NoMetadata.to_string()),
            Some(status) => assert_eq!(unreachable(options).await, Why::Status(status)),
        }
    }
    server.behave(OPENID, [none()]);
    server.behave(OAUTH, [none()]);
    let trial = Provider::new(options_of(&server)).try_out(false).await;
    let asked: Vec<_> = trial.asked.iter().map(|asked| &*asked.url).collect();
    let last = [server.url(OPENID), server.url(OAUTH)];
    assert_eq!(asked, last, "{trial:?}");
    assert!(
        matches!(trial.verdict, Verdict::Misconfigured(_)),
        "{trial:?}"
    );
}

#[tokio::test]
async fn an_issuer_behind_tls_leads_to_nothing_without_it() {
    let dir = tempfile::TempDir::new().unwrap();
    Certificates::shared().write_to(dir.path());
    let server = TokenEndpoint::start_with_tls(dir.path(), "server", false).await;
    let plain = TokenEndpoint::start().await;
    let mut options = options_of(&server);
    options.ca_file = Some(dir.path().join("ca.pem"));
    let none = Why::NoEndpoint.to_string();
    for (token, expected) in [(&plain, Some(none)), (&server, None)] {
        let issuer = server.url("");
        let token = token.url(TOKEN);
        let text = format!(r#"{{"issuer":"{issuer}","token_endpoint":"{token}"}}"#);
        server.behave(OPENID, [Behaviour::json(200, &text)]);
        let why = match Provider::new(options.clone()).prepare().await {
            Ok(_) => None,
            Err(PrepareError::Misconfigured(what)) => Some(what),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(why, expected);
    }
}

#[tokio::test]
async fn those_who_wait_for_metadata_share_what_came_of_it() {
    let server = TokenEndpoint::start().await;
    let slow = Behaviour::answer(500, &[], "").after(std::time::Duration::from_millis(50));
    server.behave(OPENID, [slow]);
    server.behave(OAUTH, [Behaviour::answer(500, &[], "")]);
    let provider = Provider::new(options_of(&server));
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let provider = provider.clone();
            tokio::spawn(async move { provider.prepare().await.map(drop) })
        })
        .collect();
    for attempt in attempts {
        let why = attempt.await.unwrap().unwrap_err();
        assert_eq!(why, PrepareError::Unreachable(Why::Status(500)));
    }
    assert_eq!(server.received_at(OPENID).len(), 1);
    // It isn't remembered longer than they waited.
    provider.prepare().await.unwrap_err();
    assert_eq!(server.received_at(OPENID).len(), 2);
}

/// Metadata that the broker has serves while it is fetched again, however long that takes.
#[tokio::test]
async fn an_issuer_that_hangs_holds_no_refresh_whose_metadata_is_only_old() {
    let server = TokenEndpoint::start().await;
    let good = metadata(&server, &server.url(""));
    server.behave(OPENID, [good, Behaviour::raw("").end(End::Hang)]);
    let provider = Provider::new(options_of(&server));
    provider.prepare().await.unwrap();
    pass(3601).await;
    let prepare = async || {
        // The issuer has twice as long to answer.
        let prepared = tokio::time::timeout(Duration::from_secs(5), provider.prepare());
        prepared.await.expect("it waits for the issuer").unwrap();
    };
    join_all((0..20).map(|_| prepare())).await;
    until("the metadata is fetched", async || fetched(&server) == 2).await;
    join_all((0..20).map(|_| prepare())).await;
    assert_eq!(fetched(&server), 2, "one fetch at a time");
}

#[tokio::test]
async fn metadata_is_fetched_again_and_kept_if_that_fails() {
    let server = TokenEndpoint::start().await;
    let good = metadata(&server, &server.url(""));
    let bad = Behaviour::json(200, "garbage");
    server.behave(OPENID, [good, bad]);
    let provider = Provider::new(options_of(&server));
    provider.prepare().await.unwrap();
    pass(3601).await;
    let failed = async || {
        provider.prepare().await.unwrap();
        fetched(&server) == 2
    };
    until("the metadata is fetched again", failed).await;
    for _ in 0..3 {
        provider.prepare().await.unwrap();
    }
    assert_eq!(fetched(&server), 2, "it is left alone for a while");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_looked_up_again() {
    let server = TokenEndpoint::start().await;
    let issuer = server.url("");
    let moved = format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{}"}}"#,
        server.url("/moved")
    );
    let old = metadata(&server, &issuer);
    server.behave(OPENID, [old, Behaviour::json(200, &moved)]);
    server.behave("/moved", [tokens()]);
    let provider = Provider::new(options_of(&server));
    let send = async || {
        let prepared = provider.prepare().await.unwrap();
        prepared.send(&crate::setup::secret("r")).await
    };
    let gone = |answer| {
        let why = Why::NotRedeemedStatus(404);
        matches!(answer, Answer::OurFault { why: told, .. } if told == why)
    };
    for _ in 0..3 {
        assert!(gone(send().await));
    }
    assert_eq!(fetched(&server), 1, "it is left alone for a while");
    pass(11).await;
    // The first answer that the endpoint is gone has it looked up, and no call waits for that.
    let found = async || matches!(send().await, Answer::Tokens(_));
    until("the endpoint is found where it is now", found).await;
    assert_eq!(fetched(&server), 2);
}

fn fetched(server: &TokenEndpoint) -> usize {
    server.received_at(OPENID).len()
}

/// Lets so many seconds pass, which takes no time.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_trial_redeems_nothing() {
    let server = TokenEndpoint::start().await;
    server.behave(OPENID, [metadata(&server, &server.url(""))]);
    let trial = Provider::new(options_of(&server)).try_out(false).await;
    assert_eq!(trial.verdict, Verdict::Connected);
    assert_eq!(trial.token_endpoint.unwrap().as_str(), server.url(TOKEN));
    assert!(server.received_at(TOKEN).is_empty());

    for (code, is_accepted) in [("invalid_grant", true), ("invalid_client", false)] {
        server.behave(
            TOKEN,
            [Behaviour::json(400, &format!(r#"{{"error":"{code}"}}"#))],
        );
        let trial = Provider::new(options_of(&server)).try_out(true).await;
        assert_eq!(
            trial.verdict == Verdict::ClientAccepted,
            is_accepted,
            "{trial:?}"
        );
    }
}
