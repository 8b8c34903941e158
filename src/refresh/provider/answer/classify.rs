//! From an HTTP answer to an [`Answer`] (guarantees, section 6, R4 and R6).

use super::{Answer, Code, read::Body};
use crate::{
    outbound::Reply,
    refresh::provider::{Codes, Why},
};

/// Codes that say that the token is refused for good: it is worth nothing, or the user has to log in again (OpenID Connect
/// Core 1.0, section 3.1.2.6; RFC 8628, section 3.5). Providers that have codes of their own for that use the others.
///
/// `access_denied` isn't one: nobody is asked at a refresh. A policy of the provider says it, which may change, or a
/// provider that doesn't know the client.
const REFUSED: &[&str] = &[
    "invalid_grant",
    "account_selection_required",
    "bad_refresh_token",
    "consent_required",
    "expired_refresh_token",
    "expired_token",
    "interaction_required",
    "invalid_refresh_token",
    "login_required",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_reused",
    "refresh_token_revoked",
    "token_expired",
    "token_inactive",
    "token_revoked",
];

/// Codes that say that the provider doesn't accept the client.
const CLIENT: &[&str] = &[
    "invalid_client",
    "bad_client_secret",
    "deleted_client",
    "disabled_client",
    "incorrect_client_credentials",
    "invalid_client_credentials",
    "invalid_client_id",
    "invalid_client_secret",
    "unknown_client",
];

/// Codes that say that the client or the request is at fault. Some providers say so of a dead token, too.
const OUR_FAULT: &[&str] = &[
    "unauthorized_client",
    "invalid_scope",
    "invalid_request",
    "invalid_target",
    "unsupported_grant_type",
    "use_dpop_nonce",
];

/// Codes that say, with any status, that the provider did nothing.
const PASSING: &[&str] = &["temporarily_unavailable"];

/// Other codes that speak of the provider, and not of the token.
const BUSY: &[&str] = &[
    "internal_error",
    "rate_limited",
    "ratelimited",
    "server_error",
    "slow_down",
];

/// What the code of an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Refused,
    Client,
    OurFault,
    Passing,
    /// The provider is busy: nothing was redeemed if the status says that it is an error.
    Busy,
    /// An error that neither standard nor configuration knows.
    Other,
}

/// Returns what an answer means. `tokens_within` is the JSON pointer (RFC 6901) of the object that holds the tokens, if it
/// isn't the answer itself.
#[must_use]
pub fn classify(reply: Reply, codes: &Codes, tokens_within: Option<&str>) -> Answer {
    let Reply {
        status,
        retry_after,
        is_form,
        body,
    } = reply;
    let passing = |why| Answer::Passing { why, retry_after };
    if status == 429 || status == 503 && retry_after.is_some() {
        return passing(Why::Status(status));
    }
    let (body, unread) = match body {
        Ok(bytes) => (Body::read(&bytes, is_form), Why::Unreadable),
        Err(fault) => (None, fault.into()),
    };
    let is_success = (200..=299).contains(&status);
    if let Some(body) = &body
        && let Some(written) = body.error().or_else(|| configured_elsewhere(body, codes))
        && !(is_success && body.has_access_token(tokens_within))
    {
        let (meaning, code) = meaning(written, codes);
        let our_fault = |why| Answer::OurFault {
            why,
            credentials_changed: false,
        };
        match (meaning, status) {
            (Meaning::Passing, _) if is_busy(&code) => return passing(Why::Busy(code)),
            (Meaning::Passing, _) => return passing(Why::Error(code)),
            // Several providers answer errors as successes.
            (Meaning::Refused, 200..=299 | 400..=499) => return Answer::Refused { code },
            (Meaning::Client, 200..=299 | 400..=499) => return our_fault(Why::ClientError(code)),
            (Meaning::OurFault, 200..=299 | 400..=499) => return our_fault(Why::Error(code)),
            // A gateway that gave up says so in JSON too, and the provider behind it may go on.
            (Meaning::Busy | Meaning::Other, 408 | 499) => {}
            (Meaning::Busy, 400..=499) => return passing(Why::Busy(code)),
            (Meaning::Other, 400..=499) if retry_after.is_some() => {
                return passing(Why::AskedToWait(status));
            }
            (Meaning::Other, 400..=499) => return passing(Why::UnknownError(code)),
            (Meaning::Busy, 200..=299) => {
                return Answer::Unknown {
                    why: Why::Busy(code),
                };
            }
            (Meaning::Other, 200..=299) => {
                return Answer::Unknown {
                    why: Why::UnknownError(code),
                };
            }
            _ => {}
        }
    }
    // Who limits the rate does so before anything is done. A gateway that gave up may ask to wait, too.
    if retry_after.is_some() && matches!(status, 400..=499) && !matches!(status, 408 | 499) {
        return passing(Why::AskedToWait(status));
    }
    if codes.not_redeemed_statuses.contains(&status) {
        return match status {
            // The request may be right at another time.
            408 | 425 | 499..=599 => passing(Why::Status(status)),
            _ => Answer::OurFault {
                why: Why::NotRedeemedStatus(status),
                credentials_changed: false,
            },
        };
    }
    let why = match (status, body) {
        (200..=299, Some(body)) if !body.is_not_ok() => match body.tokens(tokens_within) {
            Ok(tokens) => return Answer::Tokens(Box::new(tokens)),
            Err(why) => why,
        },
        (200..=299, _) => unread,
        _ => Why::Status(status),
    };
    Answer::Unknown { why }
}

/// Returns a code that is where OAuth has none, if the configuration names it.
fn configured_elsewhere<'a>(body: &'a Body, codes: &Codes) -> Option<&'a str> {
    let is_configured = |code: &&str| configured(code, codes).is_some();
    body.other_code().filter(is_configured)
}

/// Returns what the configuration says about a code.
fn configured<'a>(written: &str, codes: &'a Codes) -> Option<(Meaning, &'a str)> {
    let all = [
        (&codes.refused, Meaning::Refused),
        (&codes.our_fault, Meaning::Client),
        (&codes.not_redeemed, Meaning::Passing),
    ];
    all.into_iter().find_map(|(names, meaning)| {
        let name = names.iter().find(|name| name.eq_ignore_ascii_case(written));
        name.map(|name| (meaning, name.as_str()))
    })
}

fn meaning(written: &str, codes: &Codes) -> (Meaning, Code) {
    if let Some((meaning, name)) = configured(written, codes) {
        return (meaning, Code::configured(name));
    }
    let code = Code::of(written);
    let standard = [
        (REFUSED, Meaning::Refused),
        (CLIENT, Meaning::Client),
        (OUR_FAULT, Meaning::OurFault),
        (PASSING, Meaning::Passing),
        (BUSY, Meaning::Busy),
    ];
    let known = standard
        .iter()
        .find(|(names, _)| names.contains(&code.as_str()));
    let meaning = known.map_or(Meaning::Other, |(_, meaning)| *meaning);
    (meaning, code)
}

/// Whether a code speaks of the provider, and not of the token.
fn is_busy(code: &Code) -> bool {
    let is = |name: &&str| name.eq_ignore_ascii_case(code.as_str());
    PASSING.iter().chain(BUSY).any(is)
}
