//! The service `TokenBroker`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    calls::Calls,
    request::{self, DeleteTarget, Fields},
    response,
};
use crate::{
    proto::v1::{self, token_broker_server::TokenBroker},
    store::Store,
    tokens::Tokens,
    types::{ProviderName, RowKey, UnixTime},
};

/// Serves one tenant's tokens.
#[derive(Debug)]
pub struct TokenBrokerService<S> {
    tokens: Arc<Tokens<S>>,
    calls: Calls,
}

impl<S: Store> TokenBrokerService<S> {
    /// A service that serves `tokens` to the calls that `calls` admits.
    pub fn new(tokens: Arc<Tokens<S>>, calls: Calls) -> Self {
        Self { tokens, calls }
    }
}

#[tonic::async_trait]
impl<S: Store> TokenBroker for TokenBrokerService<S> {
    async fn store(
        &self,
        request: Request<v1::StoreRequest>,
    ) -> Result<Response<v1::StoreResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let version = self.tokens.store(request::store(request)?).await?;
            Ok(v1::StoreResponse {
                version: version.number(),
            })
        };
        self.calls.run("Store", &metadata, call).await
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let mut fields = Fields::default();
            let key = fields.key(request.session_id, request.provider);
            let binding = fields.binding(request.binding);
            let (key, binding) = fields.finish(key.zip(binding))?;
            let stored = self.tokens.get(&key, &binding).await?;
            let RowKey { provider, .. } = key;
            Ok(v1::GetResponse {
                entry: Some(response::entry(stored, provider, UnixTime::now())),
            })
        };
        self.calls.run("Get", &metadata, call).await
    }

    async fn get_all(
        &self,
        request: Request<v1::GetAllRequest>,
    ) -> Result<Response<v1::GetAllResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let mut fields = Fields::default();
            let session = fields.session(request.session_id);
            let binding = fields.binding(request.binding);
            let (session, binding) = fields.finish(session.zip(binding))?;
            let found = self.tokens.get_all(&session, &binding).await?;
            let now = UnixTime::now();
            let entry = |(provider, stored): (ProviderName, _)| {
                let name = String::from(provider.clone());
                (name, response::entry(stored, provider, now))
            };
            Ok(v1::GetAllResponse {
                entries: found.rows.into_iter().map(entry).collect(),
                unreadable: found.unreadable.into_iter().map(String::from).collect(),
            })
        };
        self.calls.run("GetAll", &metadata, call).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let deleted = match request::delete(request)? {
                DeleteTarget::Row(key, version) => self.tokens.delete(&key, version).await?.into(),
                DeleteTarget::Session(session) => self.tokens.delete_all(&session).await?,
            };
            Ok(v1::DeleteResponse { deleted })
        };
        self.calls.run("Delete", &metadata, call).await
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let mut fields = Fields::default();
            let user = fields.user(request.user_id);
            let deleted = self.tokens.delete_user(&fields.finish(user)?).await?;
            Ok(v1::DeleteUserResponse {
                deleted_rows: deleted.rows,
                deleted_identities: deleted.identities,
                existed: deleted.existed,
            })
        };
        self.calls.run("DeleteUser", &metadata, call).await
    }

    async fn get_latest_for_user(
        &self,
        request: Request<v1::GetLatestForUserRequest>,
    ) -> Result<Response<v1::GetLatestForUserResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let mut fields = Fields::default();
            let user = fields.user(request.user_id);
            let provider = fields.provider(request.provider);
            let (user, provider) = fields.finish(user.zip(provider))?;
            let stored = self.tokens.latest_for_user(&user, &provider).await?;
            let entry = response::entry(stored, provider, UnixTime::now());
            Ok(v1::GetLatestForUserResponse { entry: Some(entry) })
        };
        self.calls.run("GetLatestForUser", &metadata, call).await
    }

    async fn list_user_sessions(
        &self,
        request: Request<v1::ListUserSessionsRequest>,
    ) -> Result<Response<v1::ListUserSessionsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let call = async {
            let mut fields = Fields::default();
            let user = fields.user(request.user_id);
            let size = request::page_size(&mut fields, request.page_size);
            let user = fields.finish(user)?;
            let token = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
            let page = self.tokens.list_user_sessions(&user, size, token).await?;
            Ok(v1::ListUserSessionsResponse {
                sessions: page
                    .sessions
                    .into_iter()
                    .map(response::user_session)
                    .collect(),
                next_page_token: page.next.unwrap_or_default(),
            })
        };
        self.calls.run("ListUserSessions", &metadata, call).await
    }
}
