//! From an HTTP answer to an [`Answer`] (guarantees, section 6, R4 and R6).

use super::{Answer, Code, read::Body};
use crate::refresh::provider::{Codes, ProviderOptions, Why, exchange::Reply};

/// Codes that say that the token is refused for good: it is worth nothing, or the user has to log in again (OpenID Connect
/// Core 1.0, section 3.1.2.6; RFC 8628, section 3.5).
const REFUSED: &[&str] = &[
    "invalid_grant",
    "access_denied",
    "account_selection_required",
    "consent_required",
    "expired_token",
    "interaction_required",
    "login_required",
];

/// Codes that say that the client or the request is at fault.
const OUR_FAULT: &[&str] = &[
    "invalid_client",
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
    OurFault,
    Passing,
    /// An error that neither standard nor configuration knows.
    Other,
}

/// Returns what an answer means.
pub(in super::super) fn classify(reply: Reply, options: &ProviderOptions) -> Answer {
    let Reply {
        status,
        retry_after,
        is_form,
        body,
    } = reply;
    let codes = &options.codes;
    let passing = |why| Answer::Passing { why, retry_after };
    if status == 429 || status == 503 && retry_after.is_some() {
        return passing(Why::Status(status));
    }
    let (body, unread) = match body {
        Ok(bytes) => (Body::read(&bytes, is_form), Why::Unreadable),
        Err(why) => (None, why),
    };
    let is_success = (200..=299).contains(&status);
    let within = options.tokens_within.as_deref();
    if let Some(body) = &body
        && let Some(written) = body.error().or_else(|| configured_elsewhere(body, codes))
        && !(is_success && body.has_access_token(within))
    {
        let (meaning, code) = meaning(written, codes);
        match (meaning, status) {
            (Meaning::Passing, _) => return passing(Why::Error(code)),
            // Several providers answer errors as successes.
            (Meaning::Refused, 200..=299 | 400..=499) => return Answer::Refused { code },
            (Meaning::OurFault, 200..=299 | 400..=499) => {
                return Answer::OurFault {
                    why: Why::Error(code),
                    credentials_changed: false,
                };
            }
            // A gateway that gave up says so in JSON too, and the provider behind it may go on.
            (Meaning::Other, 408 | 499) => {}
            (Meaning::Other, 400..=499) if BUSY.contains(&code.as_str()) => {
                return passing(Why::Error(code));
            }
            (Meaning::Other, 400..=499) => return passing(Why::UnknownError(code)),
            (Meaning::Other, 200..=299) => {
                return Answer::Unknown {
                    why: Why::Error(code),
                };
            }
            _ => {}
        }
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
        (200..=299, Some(body)) if !body.is_not_ok() => match body.tokens(within) {
            Some(tokens) => return Answer::Tokens(Box::new(tokens)),
            None => Why::NoAccessToken,
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
        (&codes.our_fault, Meaning::OurFault),
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
    let code = Code::known(written);
    let standard = [
        (REFUSED, Meaning::Refused),
        (OUR_FAULT, Meaning::OurFault),
        (PASSING, Meaning::Passing),
    ];
    let known = standard
        .iter()
        .find(|(names, _)| names.contains(&code.as_str()));
    let meaning = known.map_or(Meaning::Other, |(_, meaning)| *meaning);
    (meaning, code)
}
