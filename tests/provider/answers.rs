//! What each answer means.

use std::time::Duration;

use testkit::{
    token_endpoint::{Behaviour, End},
    waiting::until,
};
use token_broker::refresh::provider::{Answer, Why};

use crate::setup::{TIMEOUT, answer_to, options_at, redeem, server, tokens};

const JSON: &str = "Content-Type: application/json";

/// What is told of a code that neither standard nor configuration knows.
fn unknown_code(code: &str) -> String {
    format!(
        "passing: the answer is {code}, and it isn't known what that means: if the user has to log in again, name \
         the code in refused-codes; if the client is at fault, in misconfigured-codes"
    )
}

/// What is shown instead of a code that could be a secret.
const HIDDEN: &str = "an error whose code isn't shown, because it doesn't look like one";

/// Returns the answer in one word, with why.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Tokens(tokens) => format!("tokens {}", tokens.access_token.expose()),
        Answer::Refused { code } => format!("refused {code}"),
        Answer::OurFault { why, .. } => format!("our fault: {why}"),
        Answer::Passing { why, .. } => format!("passing: {why}"),
        Answer::Unknown { why } => format!("unknown: {why}"),
    }
}

/// Asserts what an answer with this status, these headers and this body means.
async fn means(status: u16, headers: &[&str], body: &str, meaning: &str) {
    let answer = answer_to(Behaviour::answer(status, headers, body)).await;
    assert_eq!(told(&answer), meaning, "{status} {headers:?} {body}");
}

#[tokio::test]
async fn a_success_has_tokens() {
    let answer = answer_to(tokens()).await;
    let Answer::Tokens(tokens) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(tokens.access_token.expose(), "a");
    assert_eq!(tokens.refresh_token.unwrap().expose(), "r");
    assert_eq!(tokens.expires_in, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_token_is_refused_for_good() {
    let json = r#"{"error":"invalid_grant","error_description":"the-refresh-token"}"#;
    means(400, &[JSON], json, "refused invalid_grant").await;
    means(401, &[JSON], json, "refused invalid_grant").await;
    // GitHub and Slack answer errors as successes.
    means(200, &[JSON], json, "refused invalid_grant").await;
    means(400, &[], "error=invalid_grant", "refused invalid_grant").await;
    // An error of the server says nothing for sure.
    means(500, &[JSON], json, "unknown: the answer has status 500").await;
}

#[tokio::test]
async fn codes_that_ask_for_another_login_refuse_the_token() {
    for code in [
        "interaction_required",
        "consent_required",
        "login_required",
        "account_selection_required",
        "expired_token",
        "bad_refresh_token",
        "expired_refresh_token",
        "invalid_refresh_token",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "refresh_token_revoked",
        "token_expired",
        "token_inactive",
        "token_revoked",
        "INVALID_GRANT",
        "Interaction_Required",
    ] {
        let body = format!(r#"{{"error":"{code}"}}"#);
        let meaning = format!("refused {}", code.to_lowercase());
        means(400, &[JSON], &body, &meaning).await;
        means(403, &[JSON], &body, &meaning).await;
        means(502, &[JSON], &body, "unknown: the answer has status 502").await;
    }
    let client = r#"{"error":"Invalid_Client"}"#;
    let meaning = "our fault: the answer is the error invalid_client";
    means(401, &[JSON], client, meaning).await;
}

#[tokio::test]
async fn codes_that_are_configured_are_compared_without_regard_to_case() {
    for (written, meaning) in [
        ("TOKEN_GONE", "refused token_gone"),
        ("token_gone", "refused token_gone"),
    ] {
        let body = format!(r#"{{"error":"{written}"}}"#);
        let server = server(Behaviour::json(400, &body)).await;
        let mut options = options_at(&server);
        options.codes.refused.insert("token_gone".to_owned());
        assert_eq!(told(&redeem(options).await), meaning);
    }
}

#[tokio::test]
async fn a_code_outside_of_error_counts_if_it_is_configured() {
    let body = r#"{"status":"BAD_REFRESH_TOKEN","message":"m","correlationId":"c"}"#;
    let server = server(Behaviour::json(400, body)).await;
    let mut options = options_at(&server);
    let meaning = "unknown: the answer has status 400";
    assert_eq!(told(&redeem(options.clone()).await), meaning);
    options.codes.refused.insert("BAD_REFRESH_TOKEN".to_owned());
    assert_eq!(told(&redeem(options).await), "refused BAD_REFRESH_TOKEN");
}

#[tokio::test]
async fn codes_of_a_provider_are_configured() {
    for (status, code, meaning) in [
        (200, "bad_refresh_token", "refused bad_refresh_token"),
        (
            400,
            "their_own_code",
            "our fault: the answer is the error their_own_code",
        ),
        (200, "busy", "passing: the answer is the error busy"),
        (500, "busy", "passing: the answer is the error busy"),
    ] {
        let body = format!(r#"{{"ok":false,"error":"{code}"}}"#);
        let server = server(Behaviour::json(status, &body)).await;
        let mut options = options_at(&server);
        options.codes.refused.insert("bad_refresh_token".to_owned());
        options.codes.our_fault.insert("their_own_code".to_owned());
        options.codes.not_redeemed.insert("busy".to_owned());
        assert_eq!(told(&redeem(options).await), meaning);
    }
}

#[tokio::test]
async fn the_client_is_at_fault() {
    for code in [
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "unsupported_grant_type",
        "use_dpop_nonce",
        "bad_client_secret",
        "deleted_client",
        "disabled_client",
        "incorrect_client_credentials",
        "invalid_client_credentials",
        "invalid_client_id",
        "invalid_client_secret",
        "unknown_client",
    ] {
        let body = format!(r#"{{"error":"{code}"}}"#);
        means(
            401,
            &[JSON],
            &body,
            &format!("our fault: the answer is the error {code}"),
        )
        .await;
    }
}

#[tokio::test]
async fn too_many_requests_pass() {
    let answer = answer_to(Behaviour::answer(429, &["Retry-After: 7"], "")).await;
    let Answer::Passing { retry_after, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    means(429, &[], "", "passing: the answer has status 429").await;
    let date = "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT";
    let answer = answer_to(Behaviour::answer(429, &[date], "")).await;
    let Answer::Passing { retry_after, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(900)), "a bound");
    let days = "Retry-After: 604800";
    let answer = answer_to(Behaviour::answer(503, &[days], "")).await;
    let Answer::Passing { retry_after, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(900)), "a bound");
    let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT";
    let answer = answer_to(Behaviour::answer(429, &[past], "")).await;
    let Answer::Passing { retry_after, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(retry_after, Some(Duration::ZERO));
}

#[tokio::test]
async fn unavailable_passes_only_with_retry_after() {
    means(
        503,
        &["Retry-After: 1"],
        "",
        "passing: the answer has status 503",
    )
    .await;
    means(503, &[], "", "unknown: the answer has status 503").await;
    let json = r#"{"error":"temporarily_unavailable"}"#;
    let meaning = "passing: the answer is the error temporarily_unavailable";
    means(503, &[JSON], json, meaning).await;
    means(400, &[JSON], json, meaning).await;
}

/// Who asks to come again later has done nothing. A gateway that gave up doesn't know.
#[tokio::test]
async fn an_answer_that_asks_to_wait_passes() {
    for status in [400, 401, 403, 404, 409, 420, 425] {
        let server = server(Behaviour::answer(status, &["Retry-After: 60"], "blocked")).await;
        let answer = redeem(options_at(&server)).await;
        let meaning =
            format!("passing: the answer has status {status} and asks to wait (Retry-After)");
        assert_eq!(told(&answer), meaning);
        let wait = Some(Duration::from_secs(60));
        assert!(matches!(answer, Answer::Passing { retry_after, .. } if retry_after == wait));
    }
    let headers = &["Retry-After: 60", JSON];
    for (code, meaning) in [
        ("invalid_grant", "refused invalid_grant"),
        (
            "invalid_client",
            "our fault: the answer is the error invalid_client",
        ),
    ] {
        means(403, headers, &format!(r#"{{"error":"{code}"}}"#), meaning).await;
    }
    for status in [408, 499, 500, 502, 504] {
        let meaning = format!("unknown: the answer has status {status}");
        means(status, headers, "", &meaning).await;
    }
}

#[tokio::test]
async fn other_oauth_errors_with_4xx_pass() {
    for status in [400, 403, 404] {
        for (code, shown) in [
            ("their_own_code", "the error their_own_code"),
            ("AADSTS_50", "the error aadsts_50"),
            // Nobody is asked for consent at a refresh: a policy, or a client that the provider doesn't know (ownCloud).
            ("access_denied", "the error access_denied"),
            ("the-refresh-token", HIDDEN),
            ("gho_16C7e42F", HIDDEN),
            ("rt_a81f3", HIDDEN),
            ("abcdefghijklmnopqrstuvwxyz", HIDDEN),
            ("_", HIDDEN),
        ] {
            let body = format!(r#"{{"error":"{code}"}}"#);
            means(status, &[JSON], &body, &unknown_code(shown)).await;
        }
    }
    // What it means is known: nothing that a setting would change.
    let busy = "passing: the answer is the error slow_down";
    means(400, &[JSON], r#"{"error":"slow_down"}"#, busy).await;
    // A gateway's own words. What the provider behind it did isn't known.
    for status in [408, 499] {
        let meaning = format!("unknown: the answer has status {status}");
        means(status, &[JSON], r#"{"error":"Request Timeout"}"#, &meaning).await;
        means(
            status,
            &[JSON],
            r#"{"error":"invalid_grant"}"#,
            "refused invalid_grant",
        )
        .await;
    }
}

/// What a router or gateway says before anybody looks at the token.
#[tokio::test]
async fn statuses_of_who_has_seen_no_token_are_the_brokers_fault() {
    for status in [401, 404, 405, 411, 413, 414, 415, 421, 431] {
        let meaning = format!(
            "our fault: the answer has status {status} and no OAuth error, which says that nothing was redeemed \
             (not-redeemed-statuses): is the address of the token endpoint right?"
        );
        for (headers, body) in [
            (&[][..], "<html>no such page</html>"),
            (&[JSON][..], r#"{"message":"Not Found"}"#),
            (&[][..], ""),
        ] {
            means(status, headers, body, &meaning).await;
        }
        let json = r#"{"error":"invalid_grant"}"#;
        means(status, &[JSON], json, "refused invalid_grant").await;
    }
    for status in [400, 402, 403, 406, 408, 409, 410, 418, 422, 425, 499] {
        let meaning = format!("unknown: the answer has status {status}");
        means(status, &[], "<html>forbidden</html>", &meaning).await;
    }
}

#[tokio::test]
async fn errors_of_a_server_or_gateway_are_doubt() {
    for status in [500, 502, 504] {
        let meaning = format!("unknown: the answer has status {status}");
        means(status, &[], "<html>bad gateway</html>", &meaning).await;
    }
}

#[tokio::test]
async fn statuses_of_a_provider_are_configured() {
    for (status, meaning) in [
        (502, "passing: the answer has status 502"),
        (408, "passing: the answer has status 408"),
        (404, "unknown: the answer has status 404"),
    ] {
        let server = server(Behaviour::answer(status, &[], "")).await;
        let mut options = options_at(&server);
        // The operator's list counts instead of the usual one.
        options.codes.not_redeemed_statuses = [408, 502].into();
        assert_eq!(told(&redeem(options).await), meaning);
    }
}

#[tokio::test]
async fn a_redirect_is_doubt_and_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = server(Behaviour::answer(status, &["Location: /elsewhere"], "")).await;
        let answer = redeem(options_at(&server)).await;
        assert_eq!(
            told(&answer),
            format!("unknown: the answer has status {status}")
        );
        assert_eq!((server.received().len(), server.connections()), (1, 1));
    }
}

#[tokio::test]
async fn garbage_is_doubt() {
    let unread = "unknown: the answer can't be read";
    means(200, &[JSON], "garbage", unread).await;
    means(200, &[JSON], "", unread).await;
    means(200, &[JSON], r#"{"access_token":"#, unread).await;
    let header = r#"{"access_token":"a\r\nX-Admin: 1"}"#;
    means(200, &[JSON], header, unread).await;
    means(
        200,
        &["Content-Type: text/html"],
        "<html>log in</html>",
        unread,
    )
    .await;
    means(
        200,
        &[JSON],
        "{}",
        "unknown: the answer has no access token",
    )
    .await;
    means(
        200,
        &[JSON],
        r#"{"error":"their_own"}"#,
        &unknown_code("the error their_own").replace("passing", "unknown"),
    )
    .await;
    means(200, &[JSON], r#"{"ok":false}"#, unread).await;
    let answer = answer_to(Behaviour::raw(*b"garbage\r\n\r\n")).await;
    assert_eq!(told(&answer), "unknown: the answer can't be read");
}

#[tokio::test]
async fn a_wrong_content_type_loses_no_token() {
    let body = r#"{"access_token":"a"}"#;
    means(200, &["Content-Type: text/html"], body, "tokens a").await;
    means(200, &[], body, "tokens a").await;
    // Nor do an error and tokens together, where the status says that it is a success.
    let both = r#"{"access_token":"a","error":"server_error"}"#;
    means(200, &[JSON], both, "tokens a").await;
    let meaning = "passing: the answer is the error server_error";
    means(400, &[JSON], both, meaning).await;
    let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
    means(200, &[form], "access_token=a&token_type=bearer", "tokens a").await;
    means(200, &[form], body, "tokens a").await;
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_doubt() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"a\"}";
    let head = "HTTP/1.1 200 OK\r\nContent-Le";
    for end in [End::Close, End::Reset] {
        let answer = answer_to(Behaviour::raw(cut).end(end)).await;
        assert_eq!(told(&answer), "unknown: the answer was cut off", "{end:?}");
        let answer = answer_to(Behaviour::raw(head).end(end)).await;
        let meaning = "unknown: the connection ended before there was an answer";
        assert_eq!(told(&answer), meaning, "{end:?}");
    }
}

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    let body = vec![b' '; 10 << 20];
    let large = answer_to(Behaviour::answer(200, &[JSON], &body)).await;
    assert_eq!(told(&large), "unknown: the answer is too large");
    // Without a length it is noticed on the way.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n", &*body].concat();
    let large = answer_to(Behaviour::raw(endless)).await;
    assert_eq!(told(&large), "unknown: the answer is too large");
    // The status says enough.
    let large = answer_to(Behaviour::answer(429, &[], &body)).await;
    assert_eq!(told(&large), "passing: the answer has status 429");
}

#[tokio::test]
async fn resets_and_ends_without_an_answer_are_doubt() {
    for end in [End::Close, End::Reset] {
        let answer = answer_to(Behaviour::raw("").end(end)).await;
        let meaning = "unknown: the connection ended before there was an answer";
        assert_eq!(told(&answer), meaning, "{end:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_doubt() {
    for behaviour in [
        Behaviour::raw("").end(End::Hang),
        Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").end(End::Hang),
        tokens().after(Duration::from_secs(20)),
    ] {
        let server = server(behaviour).await;
        let mut options = options_at(&server);
        options.timeout = TIMEOUT;
        let answer = redeem(options).await;
        assert!(
            matches!(answer, Answer::Unknown { why: Why::Timeout }),
            "{answer:?}"
        );
        // The test's thread may have stood still until the time was over.
        until("the request is there", async || {
            !server.received().is_empty()
        })
        .await;
        assert_eq!(server.received().len(), 1, "nothing is repeated");
    }
}

#[tokio::test]
async fn nothing_that_a_provider_writes_is_shown() {
    let leak = "gho_16C7e42F";
    for (status, body) in [
        (
            400,
            format!(r#"{{"error":"{leak}","error_description":"{leak}"}}"#),
        ),
        (200, format!(r#"{{"error":"{leak}"}}"#)),
        (500, leak.to_owned()),
        (
            200,
            format!(r#"{{"access_token":"{leak}","refresh_token":"{leak}"}}"#),
        ),
    ] {
        let answer = answer_to(Behaviour::answer(
            status,
            &[JSON, "X-Leak: gho_16C7e42F"],
            body,
        ))
        .await;
        let shown = format!("{answer:?}");
        assert!(!shown.contains(leak), "{shown}");
    }
}
