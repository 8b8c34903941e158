//! Parses the messages within requests: tokens and precondition.

use crate::{
    proto::v1::{self, precondition},
    rpc::fields::Fields,
    tokens::Precondition,
    types::{ClientId, Row, Secret, Subject, UserId},
};

/// Parses the tokens of a request into a row.
pub(super) fn tokens(fields: &mut Fields, tokens: Option<v1::UpstreamTokens>) -> Option<Row> {
    let Some(tokens) = tokens else {
        fields.reject("tokens", "is required");
        return None;
    };
    let row = Row {
        sealed: None,
        access_token: Secret::new(tokens.access_token),
        refresh_token: Secret::new(tokens.refresh_token),
        id_token: Secret::new(tokens.id_token),
        token_type: tokens.token_type,
        scopes: tokens.scopes,
        expires_at: fields.time("tokens.expires_at", tokens.expires_at),
        session_expires_at: fields.time("tokens.session_expires_at", tokens.session_expires_at),
        refresh_expires_at: fields.time("tokens.refresh_expires_at", tokens.refresh_expires_at),
        user_id: fields.optional("tokens.user_id", tokens.user_id, UserId::new),
        upstream_subject: fields.optional(
            "tokens.upstream_subject",
            tokens.upstream_subject,
            Subject::new,
        ),
        client_id: fields.optional("tokens.client_id", tokens.client_id, ClientId::new),
        updated_at: None,
        reauth: None,
        origin: None,
    };
    check(fields, &row);
    Some(row)
}

fn check(fields: &mut Fields, row: &Row) {
    if row.access_token.is_none() && row.refresh_token.is_none() && row.id_token.is_none() {
        fields.reject(
            "tokens",
            "must have an access_token, a refresh_token or an id_token",
        );
    }
    check_texts(fields, row);
}

/// Checks the texts of the tokens.
pub(super) fn check_texts(fields: &mut Fields, row: &Row) {
    for (field, fault) in row.faults() {
        fields.reject(&format!("tokens.{field}"), fault.to_string());
    }
}

/// Parses the precondition of a write. Returns `None` without a violation if the request has none.
pub(super) fn precondition(
    fields: &mut Fields,
    given: Option<v1::Precondition>,
) -> Option<Precondition> {
    match given?.condition {
        Some(precondition::Condition::MustNotExist(true)) => Some(Precondition::MustNotExist),
        Some(precondition::Condition::MustNotExist(false)) => {
            fields.reject("precondition.must_not_exist", "can only be true");
            None
        }
        Some(precondition::Condition::Version(number)) => fields
            .version("precondition.version", number)
            .map(Precondition::Version),
        None => {
            fields.reject("precondition", "must set must_not_exist or version");
            None
        }
    }
}
