//! Parses requests, with one function per RPC. Each function returns a typed request, or one error that
//! names every invalid field.

use std::time::Duration;

use crate::{
    error::Error,
    proto::v1,
    rpc::fields::Fields,
    tokens::{Binding, Wanted},
    types::{RowKey, SessionId},
};

/// The longest validity that a caller may ask for.
const LONGEST_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// The row whose access token to hand out, and what it must be like.
pub(super) struct GetAccessToken {
    pub(super) key: RowKey,
    pub(super) wanted: Wanted,
    pub(super) binding: Binding,
    pub(super) include_id_token: bool,
}

/// The session whose access tokens to hand out, and what they must be like.
pub(super) struct GetAllAccessTokens {
    pub(super) session: SessionId,
    pub(super) min_validity: Option<Duration>,
    pub(super) binding: Binding,
    pub(super) include_id_token: bool,
}

pub(super) fn get_access_token(
    message: v1::GetAccessTokenRequest,
) -> Result<GetAccessToken, Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let wanted = Wanted {
        min_validity: min_validity(&mut fields, message.min_validity),
        rejected_version: message
            .rejected_version
            .and_then(|number| fields.version("rejected_version", number)),
    };
    let binding = fields.binding(message.binding);
    fields.finish(key.zip(binding).map(|(key, binding)| GetAccessToken {
        key,
        wanted,
        binding,
        include_id_token: message.include_id_token,
    }))
}

pub(super) fn get_all_access_tokens(
    message: v1::GetAllAccessTokensRequest,
) -> Result<GetAllAccessTokens, Error> {
    let mut fields = Fields::default();
    let session = fields.session(message.session_id);
    let min_validity = min_validity(&mut fields, message.min_validity);
    let names_subject = |binding: &v1::Binding| binding.upstream_subject.is_some();
    let binding = if message.binding.as_ref().is_some_and(names_subject) {
        fields.reject(
            "binding.upstream_subject",
            "must not be set: a user has another subject at each provider",
        );
        None
    } else {
        fields.binding(message.binding)
    };
    let parsed = session.zip(binding);
    fields.finish(parsed.map(|(session, binding)| GetAllAccessTokens {
        session,
        min_validity,
        binding,
        include_id_token: message.include_id_token,
    }))
}

fn min_validity(fields: &mut Fields, given: Option<prost_types::Duration>) -> Option<Duration> {
    let span = fields.span("min_validity", given)?;
    if span > LONGEST_VALIDITY {
        fields.reject("min_validity", "must be at most 30 days");
    }
    Some(span)
}
