//! Nango, PR 2859: credentials in an error's payload reached the logs. Here a provider sends back what it was sent.

use std::sync::{Arc, OnceLock};

use testkit::{
    captured_log::CapturedLog,
    token_endpoint::{Behaviour, TokenEndpoint},
    waiting::{found, until},
};
use token_broker::{refresh::provider::Replay, store::MemoryStore, tokens::Wanted};

use crate::brokers::{Process, expired, key, options_at};

/// Returns what all tests of this program log. It begins with the first call.
pub fn log() -> &'static CapturedLog {
    static LOG: OnceLock<CapturedLog> = OnceLock::new();
    LOG.get_or_init(CapturedLog::of_the_process)
}

const TOKEN: &str = "rt-that-nobody-may-see";
const NEW: &str = "at-that-nobody-may-see";
const SESSION: &str = "session-that-nobody-may-see";

#[tokio::test]
async fn a_provider_echoes_credentials() {
    let log = log();
    let echoes = [
        Behaviour::json(
            400,
            &format!(r#"{{"error":"invalid_grant","error_description":"{TOKEN}"}}"#),
        ),
        Behaviour::json(400, &format!(r#"{{"error":"{TOKEN}"}}"#)),
        Behaviour::json(
            401,
            &format!(r#"{{"error":"invalid_client","error_uri":"{TOKEN}"}}"#),
        ),
        Behaviour::json(200, &format!(r#"{{"error":"{TOKEN}","access_token":""}}"#)),
        Behaviour::json(
            200,
            &format!(r#"{{"tokens":{{"access_token":"{NEW}"}},"sent":"{TOKEN}"}}"#),
        ),
        Behaviour::answer(500, &[&format!("X-Sent: {TOKEN}")], TOKEN),
        Behaviour::answer(
            302,
            &[&format!("Location: https://x.example/?t={TOKEN}")],
            "",
        ),
        Behaviour::answer(429, &[&format!("Retry-After: {TOKEN}")], TOKEN),
        Behaviour::raw(format!("HTTP/1.1 {TOKEN}\r\n\r\n")),
        Behaviour::raw(TOKEN),
        Behaviour::json(
            200,
            &format!(r#"{{"access_token":"{NEW}","refresh_token":"{TOKEN}2"}}"#),
        ),
    ];
    for echo in echoes {
        let endpoint = TokenEndpoint::start().await;
        endpoint.behave("/token", [echo]);
        let mut options = options_at(&endpoint.url("/token"));
        options.replay = Replay::Never;
        let broker = Process::start(Arc::new(MemoryStore::new()), options);
        let key = key(SESSION);
        broker.put(&key, expired(TOKEN)).await.unwrap();
        let patience = std::time::Duration::from_millis(300);
        let got = broker.get_within(&key, Wanted::default(), patience).await;
        // It was sent, so that it could be echoed.
        let first = || endpoint.received_at("/token").into_iter().next();
        let sent = found("it is sent", first).await;
        assert_eq!(sent.parameter("refresh_token"), Some(TOKEN));
        let mut texts = vec![format!("{got:?}")];
        if let Err(error) = &got {
            texts.push(error.to_string());
            texts.extend(error.operator_detail().map(str::to_owned));
        }
        for text in texts {
            assert_nothing_in(&text);
        }
    }
    for told in ["it isn't known whether", "a refresh token was refused"] {
        until(told, async || log.text().contains(told)).await;
    }
    assert_nothing_in(&log.text());
}

fn assert_nothing_in(text: &str) {
    for secret in [TOKEN, NEW, SESSION] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
