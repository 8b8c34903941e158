//! What a token endpoint answers (guarantees, section 6, R4 and R6). The first line is the status, whether the answer is a form
//! (`f`), and for how many seconds it asks to wait; what follows is the body.
//!
//! A token counts as refused for good only where the answer says so, a success with tokens keeps the refresh token that is in it, and
//! nothing that is logged quotes the body.

use std::{sync::LazyLock, time::Duration};

use serde_json::Value;
use token_broker::{
    outbound::Reply,
    refresh::provider::{
        Answer, Codes,
        answer::{TokenAnswer, classify},
    },
    types::{Secret, SecretBytes},
};

use crate::input::{first_line, planted};

/// Stands for a token. Words that look like the code of an error are logged, and this has too many digits for one.
const TOKEN: &str = "gho_16C7e42F292c6912";

static CODES: LazyLock<Codes> = LazyLock::new(|| Codes {
    refused: ["BAD_REFRESH_TOKEN".to_owned()].into(),
    our_fault: ["wrong_app".to_owned()].into(),
    not_redeemed: ["try_again".to_owned()].into(),
    ..Codes::default()
});

pub fn run(bytes: &[u8]) -> Option<()> {
    let (head, body) = first_line(bytes);
    let mut words = str::from_utf8(head).ok()?.split(' ');
    let status: u16 = words.next()?.parse().ok()?;
    let (mut is_form, mut retry_after) = (false, None);
    for word in words {
        match word.parse() {
            Ok(seconds) => retry_after = Some(Duration::from_secs(seconds)),
            Err(_) => is_form = word == "f",
        }
    }
    let reply = Reply {
        status,
        retry_after,
        is_form,
        body: Ok(SecretBytes::new(body.to_vec())),
    };
    let answer = flawed(classify(reply, &CODES, Some("/user")), body);
    let logged = logged(&answer);
    assert!(!logged.contains(TOKEN), "a token is logged: {logged}");
    let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
    match answer {
        Answer::Tokens(tokens) => {
            assert!((200..=299).contains(&status), "{status} is no success");
            let _ = tokens.id_claims("sub");
            let is_nested = json.pointer("/user").is_some();
            let told = json.get("refresh_token").and_then(Value::as_str);
            if let (false, false, Some(told)) = (is_form, is_nested, told) {
                let kept = tokens.refresh_token.as_ref().map(Secret::expose);
                assert!(kept.unwrap_or_default() == told, "a refresh token is lost");
            }
        }
        Answer::Refused { .. } => {
            assert!(
                matches!(status, 200..=299 | 400..=499),
                "{status} refuses nothing"
            );
        }
        Answer::OurFault { .. } | Answer::Passing { .. } => {
            let is_success = (200..=299).contains(&status);
            let has_tokens = json.get("access_token").is_some_and(Value::is_string);
            assert!(
                !(is_success && has_tokens && !is_form),
                "tokens are thrown away"
            );
        }
        Answer::Unknown { .. } => {}
    }
    Some(())
}

/// Returns what a log may have of an answer. The type of a token and its scopes are no secrets, whatever stands there.
fn logged(answer: &Answer) -> String {
    match answer {
        Answer::Tokens(tokens) => {
            let shown = TokenAnswer {
                token_type: None,
                scopes: None,
                ..TokenAnswer::clone(tokens)
            };
            format!("{shown:?}")
        }
        other => format!("{other:?}"),
    }
}

fn flawed(answer: Answer, body: &[u8]) -> Answer {
    match answer {
        // A reader that takes a refresh token with a plus for none.
        Answer::Tokens(mut tokens) if planted() && body.contains(&b'+') => {
            tokens.refresh_token = None;
            Answer::Tokens(tokens)
        }
        answer => answer,
    }
}
