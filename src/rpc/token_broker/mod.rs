//! The service `TokenBroker`. Each method parses its request, calls the domain, and makes a response.

mod coordination;
mod parts;
mod request;
mod response;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use self::{
    coordination::{Begin, Renew},
    request::{Delete, Get, GetAll, GetLatestForUser, ListUserSessions},
};
use super::{
    admission::LargeRead,
    call::{Call, unary},
    notes::Given,
    status,
};
use crate::{
    audit::TokenKinds,
    proto::v1::{self, token_broker_server::TokenBroker},
    store::{Identities, Records, Store},
    tokens::{Begun, Completed, Tenants, Tokens},
};

/// Serves the tokens of all tenants. It has to stand behind a [`FrontDoor`](super::FrontDoor).
#[derive(Debug)]
pub struct TokenBrokerService<S> {
    tenants: Arc<Tenants<Tokens<S>>>,
}

impl<S: Store> TokenBrokerService<S> {
    /// Makes a service of the tokens of these tenants.
    pub fn new(tenants: Arc<Tenants<Tokens<S>>>) -> Self {
        Self { tenants }
    }
}

#[tonic::async_trait]
impl<S: Store + Identities + Records> TokenBroker for TokenBrokerService<S> {
    async fn store(
        &self,
        request: Request<v1::StoreRequest>,
    ) -> Result<Response<v1::StoreResponse>, Status> {
        let handle = |call: Call, message| async move {
            let tokens = request::store(message)?;
            call.notes.row(&tokens.key);
            if let Some(user) = &tokens.row.user_id {
                call.notes.user(user);
            }
            call.caller.may_use(&tokens.key.provider)?;
            call.caller.may_store(&tokens.row)?;
            if tokens.carry_forward {
                // It may read the user's other rows.
                call.permit.large_read(LargeRead::User).await?;
            }
            let written = self
                .tenants
                .of(&call.caller.tenant)?
                .store_within(tokens, &call.caller.reach)
                .await?;
            Ok(response::store(written))
        };
        unary(request, handle).await
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let handle = |call: Call, message| async move {
            let Get { key, binding } = request::get(message)?;
            call.notes.row(&key);
            call.caller.may_use(&key.provider)?;
            call.caller.may_read(binding.client_id.as_ref())?;
            let stored = self
                .tenants
                .of(&call.caller.tenant)?
                .get(&key, &binding)
                .await?;
            call.notes.gives(Given::All, &stored.row);
            Ok(response::get(stored, key.provider))
        };
        unary(request, handle).await
    }

    async fn get_all(
        &self,
        request: Request<v1::GetAllRequest>,
    ) -> Result<Response<v1::GetAllResponse>, Status> {
        let handle = |call: Call, message| async move {
            let GetAll { session, binding } = request::get_all(message)?;
            call.notes.session(&session);
            call.caller.may_read(binding.client_id.as_ref())?;
            call.permit.large_read(LargeRead::Session).await?;
            let reach = &call.caller.reach;
            let found = self
                .tenants
                .of(&call.caller.tenant)?
                .get_all(&session, &binding, reach)
                .await?;
            for (provider, stored) in &found.rows {
                let given = Given::All.of(&stored.row);
                call.notes.row_of(&session, provider, given, None);
            }
            for (provider, unreadable) in &found.unreadable {
                let (none, why) = (TokenKinds::default(), unreadable.clone().into());
                let why = Some(status::reason(&why));
                call.notes.row_of(&session, provider, none, why);
            }
            Ok(response::get_all(found))
        };
        unary(request, handle).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let handle = |call: Call, message| async move {
            let deleted = match request::delete(message)? {
                Delete::Row(key, version) => {
                    call.notes.row(&key);
                    call.caller.may_use(&key.provider)?;
                    self.tenants
                        .of(&call.caller.tenant)?
                        .delete(&key, version)
                        .await?
                        .into()
                }
                Delete::Session(session) => {
                    call.notes.session(&session);
                    call.caller.may_use_all_providers()?;
                    self.tenants
                        .of(&call.caller.tenant)?
                        .delete_all(&session)
                        .await?
                }
            };
            call.notes.count(deleted);
            Ok(response::delete(deleted))
        };
        unary(request, handle).await
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        let handle = |call: Call, message| async move {
            let user = request::delete_user(message)?;
            call.notes.user(&user);
            call.caller.may_use_all_providers()?;
            call.permit.large_read(LargeRead::User).await?;
            let deleted = self
                .tenants
                .of(&call.caller.tenant)?
                .delete_user(&user)
                .await?;
            call.notes.count(deleted.rows);
            Ok(response::delete_user(deleted))
        };
        unary(request, handle).await
    }

    async fn get_latest_for_user(
        &self,
        request: Request<v1::GetLatestForUserRequest>,
    ) -> Result<Response<v1::GetLatestForUserResponse>, Status> {
        let handle = |call: Call, message| async move {
            let GetLatestForUser { user, provider } = request::get_latest_for_user(message)?;
            call.notes.user(&user);
            call.notes.provider(&provider);
            call.caller.may_use(&provider)?;
            call.permit.large_read(LargeRead::User).await?;
            let latest = self.tenants.of(&call.caller.tenant)?.latest_row(
                &user,
                &provider,
                &call.caller.reach,
            );
            let (key, stored) = latest.await?;
            call.notes.found(&key);
            call.notes.gives(Given::All, &stored.row);
            Ok(response::get_latest_for_user(stored, provider))
        };
        unary(request, handle).await
    }

    async fn list_user_sessions(
        &self,
        request: Request<v1::ListUserSessionsRequest>,
    ) -> Result<Response<v1::ListUserSessionsResponse>, Status> {
        let handle = |call: Call, message| async move {
            let ListUserSessions {
                user,
                page_size,
                page_token,
            } = request::list_user_sessions(message)?;
            call.notes.user(&user);
            call.permit.large_read(LargeRead::User).await?;
            let page = self
                .tenants
                .of(&call.caller.tenant)?
                .list_user_sessions(&user, page_size, page_token.as_deref(), &call.caller.reach)
                .await?;
            call.notes.count(page.sessions.len() as u64);
            Ok(response::list_user_sessions(page))
        };
        unary(request, handle).await
    }

    async fn begin_refresh(
        &self,
        request: Request<v1::BeginRefreshRequest>,
    ) -> Result<Response<v1::BeginRefreshResponse>, Status> {
        let handle = |call: Call, message| async move {
            let Begin {
                key,
                version,
                attempt,
            } = coordination::begin(message)?;
            call.notes.row(&key);
            call.caller.may_use(&key.provider)?;
            let reach = &call.caller.reach;
            let begun = self
                .tenants
                .of(&call.caller.tenant)?
                .begin_refresh(&key, version, attempt, reach)
                .await?;
            if let Begun::Lease { stored, .. } | Begun::Fresher(stored) = &begun {
                call.notes.gives(Given::All, &stored.row);
            }
            Ok(coordination::begun(begun, key.provider))
        };
        unary(request, handle).await
    }

    async fn renew_refresh(
        &self,
        request: Request<v1::RenewRefreshRequest>,
    ) -> Result<Response<v1::RenewRefreshResponse>, Status> {
        let handle = |call: Call, message| async move {
            let Renew {
                key,
                token,
                attempt,
            } = coordination::renew(message)?;
            call.notes.row(&key);
            call.caller.may_use(&key.provider)?;
            let length = self
                .tenants
                .of(&call.caller.tenant)?
                .renew_refresh(&key, token, attempt)
                .await?;
            Ok(coordination::renewed(length))
        };
        unary(request, handle).await
    }

    async fn complete_refresh(
        &self,
        request: Request<v1::CompleteRefreshRequest>,
    ) -> Result<Response<v1::CompleteRefreshResponse>, Status> {
        let handle = |call: Call, message| async move {
            let (key, completion) = coordination::complete(message)?;
            call.notes.row(&key);
            call.caller.may_use(&key.provider)?;
            let reach = &call.caller.reach;
            let completed = self
                .tenants
                .of(&call.caller.tenant)?
                .complete_refresh(&key, completion, reach)
                .await?;
            if let Completed::Row(stored) = &completed {
                call.notes.gives(Given::All, &stored.row);
            }
            Ok(coordination::completed(completed, key.provider))
        };
        unary(request, handle).await
    }
}
