//! The messages of `BeginRefresh`, `RenewRefresh` and `CompleteRefresh`: parses the requests and makes the responses.

use std::time::Duration;

use super::{parts, response::entry};
use crate::{
    error::Error,
    proto::v1::{
        self, begin_refresh_response, complete_refresh_request, complete_refresh_response,
    },
    refresh::provider::answer::{LONGEST_RETRY_AFTER, TokenAnswer},
    rpc::{fields::Fields, values},
    tokens::{Begun, Completed, Completion, Outcome},
    types::{
        AttemptId, ProviderName, ReauthReason, Row, RowKey, Secret, TokenHash, UnixTime, Version,
    },
};

/// The row to refresh, and the attempt.
pub(super) struct Begin {
    pub(super) key: RowKey,
    pub(super) version: Version,
    pub(super) attempt: AttemptId,
}

/// The refresh token of a row, and the attempt to redeem it.
pub(super) struct Renew {
    pub(super) key: RowKey,
    pub(super) token: TokenHash,
    pub(super) attempt: AttemptId,
}

pub(super) fn begin(message: v1::BeginRefreshRequest) -> Result<Begin, Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let version = fields.version("version", message.version);
    let attempt = attempt(&mut fields, &message.attempt_id);
    let parsed = key.zip(version).zip(attempt);
    fields.finish(parsed.map(|((key, version), attempt)| Begin {
        key,
        version,
        attempt,
    }))
}

pub(super) fn renew(message: v1::RenewRefreshRequest) -> Result<Renew, Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let attempt = attempt(&mut fields, &message.attempt_id);
    let token = token_hash(&mut fields, &message.refresh_token_sha256);
    let parsed = key.zip(token).zip(attempt);
    fields.finish(parsed.map(|((key, token), attempt)| Renew {
        key,
        token,
        attempt,
    }))
}

pub(super) fn complete(message: v1::CompleteRefreshRequest) -> Result<(RowKey, Completion), Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let attempt = attempt(&mut fields, &message.attempt_id);
    let token = token_hash(&mut fields, &message.refresh_token_sha256);
    let version = fields.version("version", message.version);
    let outcome = outcome(&mut fields, message.outcome);
    let completion = || {
        Some(Completion {
            attempt: attempt?,
            token: token?,
            version: version?,
            outcome: outcome?,
        })
    };
    let completion = completion();
    fields.finish(key.zip(completion))
}

fn attempt(fields: &mut Fields, bytes: &[u8]) -> Option<AttemptId> {
    let number = bytes.try_into().map(u128::from_be_bytes).ok();
    let number = number.filter(|number| *number != 0);
    if number.is_none() {
        fields.reject("attempt_id", "must be 16 random bytes");
    }
    number.map(AttemptId::from_number)
}

fn token_hash(fields: &mut Fields, bytes: &[u8]) -> Option<TokenHash> {
    let hash = bytes.try_into().map(TokenHash::from_bytes).ok();
    if hash.is_none() {
        fields.reject("refresh_token_sha256", "must be 32 bytes");
    }
    hash
}

fn outcome(
    fields: &mut Fields,
    outcome: Option<complete_refresh_request::Outcome>,
) -> Option<Outcome> {
    use complete_refresh_request::Outcome as Told;
    match outcome {
        Some(Told::Tokens(answered)) => {
            tokens(fields, answered).map(|answer| Outcome::Tokens(Box::new(answer)))
        }
        Some(Told::Refused(true)) => Some(Outcome::Refused),
        Some(Told::Unknown(true)) => Some(Outcome::Unknown),
        Some(Told::NotSent(v1::RefreshNotSent { retry_after })) => {
            let retry_after = fields.span("not_sent.retry_after", retry_after);
            Some(Outcome::NotRedeemed {
                retry_after: retry_after.map(|span| span.min(LONGEST_RETRY_AFTER)),
            })
        }
        Some(Told::Refused(false)) => {
            fields.reject("refused", "can only be true");
            None
        }
        Some(Told::Unknown(false)) => {
            fields.reject("unknown", "can only be true");
            None
        }
        None => {
            fields.reject("outcome", "must set tokens, refused, not_sent or unknown");
            None
        }
    }
}

/// Parses the tokens of a provider. They may be of any size: the caller has the only copy.
fn tokens(fields: &mut Fields, tokens: v1::RefreshedTokens) -> Option<TokenAnswer> {
    let row = Row {
        access_token: Secret::new(tokens.access_token),
        refresh_token: Secret::new(tokens.refresh_token),
        id_token: Secret::new(tokens.id_token),
        token_type: tokens.token_type,
        scopes: tokens.scopes,
        ..Row::default()
    };
    parts::check_texts(fields, &row);
    let Some(access_token) = row.access_token else {
        fields.reject("tokens.access_token", "must not be empty");
        return None;
    };
    Some(TokenAnswer {
        access_token,
        refresh_token: row.refresh_token,
        id_token: row.id_token,
        token_type: Some(row.token_type).filter(|kind| !kind.is_empty()),
        scopes: Some(row.scopes).filter(|scopes| !scopes.is_empty()),
        expires_in: life(fields, "tokens.expires_in", tokens.expires_in),
        refresh_expires_in: life(
            fields,
            "tokens.refresh_expires_in",
            tokens.refresh_expires_in,
        ),
    })
}

/// Parses how long a token lives. Providers say 0 where they don't say.
fn life(
    fields: &mut Fields,
    field: &str,
    given: Option<prost_types::Duration>,
) -> Option<Duration> {
    fields.span(field, given).filter(|span| !span.is_zero())
}

pub(super) fn begun(begun: Begun, provider: ProviderName) -> v1::BeginRefreshResponse {
    use begin_refresh_response::Outcome as Told;
    let now = UnixTime::now();
    let outcome = match begun {
        Begun::Lease { length, stored } => Told::Lease(v1::RefreshLease {
            length: Some(values::span(length)),
            entry: Some(entry(stored, provider, now)),
        }),
        Begun::Fresher(stored) => Told::Fresher(entry(stored, provider, now)),
        Begun::Wait(time) => Told::Wait(values::span(time)),
        Begun::ReauthRequired(reason) => Told::ReauthRequired(reauth(reason)),
    };
    v1::BeginRefreshResponse {
        outcome: Some(outcome),
    }
}

pub(super) fn renewed(length: Option<Duration>) -> v1::RenewRefreshResponse {
    v1::RenewRefreshResponse {
        length: length.map(values::span),
    }
}

pub(super) fn completed(
    completed: Completed,
    provider: ProviderName,
) -> v1::CompleteRefreshResponse {
    use complete_refresh_response::Outcome as Told;
    let outcome = match completed {
        Completed::Row(stored) => Some(Told::Entry(entry(*stored, provider, UnixTime::now()))),
        Completed::ReauthRequired(reason) => Some(Told::ReauthRequired(reauth(reason))),
        Completed::Gone => None,
    };
    v1::CompleteRefreshResponse { outcome }
}

fn reauth(reason: ReauthReason) -> i32 {
    values::reauth_reason(Some(reason)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_holds_up_others_for_a_quarter_of_an_hour_at_most() {
        for (asked, counts) in [(1, 1), (900, 900), (901, 900), (86_400, 900)] {
            let retry_after = Some(values::span(Duration::from_secs(asked)));
            let told = v1::RefreshNotSent { retry_after };
            let told = complete_refresh_request::Outcome::NotSent(told);
            let parsed = outcome(&mut Fields::default(), Some(told));
            let Some(Outcome::NotRedeemed { retry_after }) = parsed else {
                panic!("{parsed:?}")
            };
            assert_eq!(retry_after, Some(Duration::from_secs(counts)));
        }
    }
}
