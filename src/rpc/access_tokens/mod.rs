//! The service `AccessTokens`. None of its answers has a refresh token.

mod request;
mod response;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use self::request::{GetAccessToken, GetAllAccessTokens};
use super::{
    admission::LargeRead,
    call::{Call, unary},
    notes::Given,
    status,
};
use crate::{
    audit::TokenKinds,
    proto::v1::{self, access_tokens_server::AccessTokens},
    refresh::waits,
    store::{Records, Store},
    tokens::{Tenants, Tokens},
};

/// Serves the access tokens of all tenants. It has to stand behind a [`FrontDoor`](super::FrontDoor).
#[derive(Debug)]
pub struct AccessTokensService<S> {
    tenants: Arc<Tenants<Tokens<S>>>,
}

impl<S: Store> AccessTokensService<S> {
    /// Makes a service of the tokens of these tenants.
    pub fn new(tenants: Arc<Tenants<Tokens<S>>>) -> Self {
        Self { tenants }
    }
}

#[tonic::async_trait]
impl<S: Store + Records> AccessTokens for AccessTokensService<S> {
    async fn get_access_token(
        &self,
        request: Request<v1::GetAccessTokenRequest>,
    ) -> Result<Response<v1::GetAccessTokenResponse>, Status> {
        let handle = |call: Call, message| async move {
            let GetAccessToken {
                key,
                wanted,
                binding,
                include_id_token,
            } = request::get_access_token(message)?;
            call.notes.row(&key);
            call.caller.may_use(&key.provider)?;
            call.caller.may_read(binding.client_id.as_ref())?;
            let work = self.tenants.of(&call.caller.tenant)?.access_token(
                &key,
                &wanted,
                &binding,
                call.answer_by(),
            );
            let stored = waits::for_call(call.permit, work).await?;
            let given = Given::Access {
                id: include_id_token,
            };
            call.notes.gives(given, &stored.row);
            Ok(response::get_access_token(stored, include_id_token))
        };
        unary(request, handle).await
    }

    async fn get_all_access_tokens(
        &self,
        request: Request<v1::GetAllAccessTokensRequest>,
    ) -> Result<Response<v1::GetAllAccessTokensResponse>, Status> {
        let handle = |call: Call, message| async move {
            let GetAllAccessTokens {
                session,
                min_validity,
                binding,
                include_id_token,
            } = request::get_all_access_tokens(message)?;
            call.notes.session(&session);
            call.caller.may_read(binding.client_id.as_ref())?;
            call.permit.large_read(LargeRead::Session).await?;
            let (reach, answer_by) = (&call.caller.reach, call.answer_by());
            let work = self.tenants.of(&call.caller.tenant)?.access_tokens(
                &session,
                min_validity,
                &binding,
                reach,
                answer_by,
            );
            let found = waits::for_call(call.permit, work).await?;
            let given = Given::Access {
                id: include_id_token,
            };
            for (provider, stored) in &found.tokens {
                let given = given.of(&stored.row);
                call.notes.row_of(&session, provider, given, None);
            }
            for (provider, error) in &found.failed {
                let (none, why) = (TokenKinds::default(), status::reason(error));
                call.notes.row_of(&session, provider, none, Some(why));
            }
            Ok(response::get_all_access_tokens(found, include_id_token))
        };
        unary(request, handle).await
    }
}
