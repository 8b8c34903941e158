//! Makes responses, with one function per RPC. Tokens are moved, not copied. What isn't handed out is wiped.

use crate::{
    proto::v1,
    rpc::{status, values},
    tokens::SessionAccessTokens,
    types::StoredRow,
};

pub(super) fn get_access_token(
    stored: StoredRow,
    include_id_token: bool,
) -> v1::GetAccessTokenResponse {
    v1::GetAccessTokenResponse {
        token: Some(access_token(stored, include_id_token)),
    }
}

pub(super) fn get_all_access_tokens(
    found: SessionAccessTokens,
    include_id_tokens: bool,
) -> v1::GetAllAccessTokensResponse {
    let SessionAccessTokens { tokens, failed } = found;
    v1::GetAllAccessTokensResponse {
        tokens: tokens
            .into_iter()
            .map(|(provider, stored)| (provider.into(), access_token(stored, include_id_tokens)))
            .collect(),
        failed: failed
            .into_iter()
            .map(|(provider, error)| (provider.into(), status::failure(&error)))
            .collect(),
    }
}

fn access_token(stored: StoredRow, include_id_token: bool) -> v1::AccessToken {
    let StoredRow { row, version } = stored;
    v1::AccessToken {
        access_token: values::text(row.access_token),
        token_type: values::token_type(row.token_type),
        scopes: row.scopes,
        expires_at: values::timestamp(row.expires_at),
        version: version.number(),
        id_token: values::text(row.id_token.filter(|_| include_id_token)),
    }
}
