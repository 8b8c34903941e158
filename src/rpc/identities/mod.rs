//! The service `Identities`.

mod request;
mod response;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::{Call, unary};
use crate::{
    identities::Users,
    proto::v1::{self, identities_server::Identities},
    store,
    tokens::Tenants,
};

/// Serves the users of all tenants. It has to stand behind a [`FrontDoor`](super::FrontDoor).
#[derive(Debug)]
pub struct IdentitiesService<S> {
    tenants: Arc<Tenants<Users<S>>>,
}

impl<S: store::Identities> IdentitiesService<S> {
    /// Makes a service of the users of these tenants.
    pub fn new(tenants: Arc<Tenants<Users<S>>>) -> Self {
        Self { tenants }
    }
}

#[tonic::async_trait]
impl<S: store::Identities> Identities for IdentitiesService<S> {
    async fn resolve_user(
        &self,
        request: Request<v1::ResolveUserRequest>,
    ) -> Result<Response<v1::ResolveUserResponse>, Status> {
        let handle = |call: Call, message| async move {
            let identity = request::resolve_user(message)?;
            call.notes.provider(&identity.provider);
            call.caller.may_use_all_providers()?;
            let users = self.tenants.of(&call.caller.tenant)?;
            let resolved = users.resolve(&identity).await?;
            call.notes.user(&resolved.user);
            call.notes.count(resolved.created.into());
            Ok(response::resolve_user(resolved))
        };
        unary(request, handle).await
    }

    async fn get_user(
        &self,
        request: Request<v1::GetUserRequest>,
    ) -> Result<Response<v1::GetUserResponse>, Status> {
        let handle = |call: Call, message| async move {
            let user = request::get_user(message)?;
            call.notes.user(&user);
            let record = self.tenants.of(&call.caller.tenant)?.get(&user).await?;
            Ok(response::get_user(record))
        };
        unary(request, handle).await
    }

    async fn link_identity(
        &self,
        request: Request<v1::LinkIdentityRequest>,
    ) -> Result<Response<v1::LinkIdentityResponse>, Status> {
        let handle = |call: Call, message| async move {
            let (identity, user) = request::link_identity(message)?;
            call.notes.user(&user);
            call.notes.provider(&identity.provider);
            call.caller.may_use_all_providers()?;
            let users = self.tenants.of(&call.caller.tenant)?;
            let linked = users.link(&identity, &user).await?;
            call.notes.count(linked.into());
            Ok(v1::LinkIdentityResponse { linked })
        };
        unary(request, handle).await
    }

    async fn unlink_identity(
        &self,
        request: Request<v1::UnlinkIdentityRequest>,
    ) -> Result<Response<v1::UnlinkIdentityResponse>, Status> {
        let handle = |call: Call, message| async move {
            let (identity, user) = request::unlink_identity(message)?;
            if let Some(user) = &user {
                call.notes.user(user);
            }
            call.notes.provider(&identity.provider);
            call.caller.may_use_all_providers()?;
            let users = self.tenants.of(&call.caller.tenant)?;
            let removed = users.remove(&identity, user.as_ref()).await?;
            if let Some(user) = &removed.user {
                call.notes.user(user);
            }
            call.notes.count(removed.unlinked.into());
            Ok(v1::UnlinkIdentityResponse {
                unlinked: removed.unlinked,
            })
        };
        unary(request, handle).await
    }

    async fn list_identities(
        &self,
        request: Request<v1::ListIdentitiesRequest>,
    ) -> Result<Response<v1::ListIdentitiesResponse>, Status> {
        let handle = |call: Call, message| async move {
            let user = request::list_identities(message)?;
            call.notes.user(&user);
            let users = self.tenants.of(&call.caller.tenant)?;
            let found = users.list(&user, &call.caller.reach).await?;
            call.notes.count(found.len() as u64);
            Ok(response::list_identities(found))
        };
        unary(request, handle).await
    }
}
