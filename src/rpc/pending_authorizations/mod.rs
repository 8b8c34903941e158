//! The service `PendingAuthorizations`.

mod request;
mod response;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    call::{Call, unary},
    notes::Notes,
};
use crate::{
    authorizations::{Authorizations, Consumed},
    proto::v1::{self, pending_authorizations_server::PendingAuthorizations},
    store,
    tokens::Tenants,
    types::ProviderName,
};

/// Serves the pending authorizations of all tenants. It has to stand behind a [`FrontDoor`](super::FrontDoor).
#[derive(Debug)]
pub struct PendingAuthorizationsService<S> {
    tenants: Arc<Tenants<Authorizations<S>>>,
}

impl<S: store::Authorizations> PendingAuthorizationsService<S> {
    /// Makes a service of the pending authorizations of these tenants.
    pub fn new(tenants: Arc<Tenants<Authorizations<S>>>) -> Self {
        Self { tenants }
    }
}

/// Notes whose login it is, also if the caller doesn't get it.
fn note(notes: &Notes, consumed: &Consumed, named: Option<&ProviderName>) {
    let (Consumed::Taken(pending) | Consumed::Misrouted(pending) | Consumed::OutOfReach(pending)) =
        consumed;
    if named != Some(&pending.provider) {
        notes.provider(&pending.provider);
    }
    notes.session(&pending.session);
    if let Some(user) = &pending.user {
        notes.user(user);
    }
    if let Consumed::OutOfReach(_) = consumed {
        notes.denied("the authorization is out of the caller's reach");
    }
}

#[tonic::async_trait]
impl<S: store::Authorizations> PendingAuthorizations for PendingAuthorizationsService<S> {
    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        let handle = |call: Call, message| async move {
            let new = request::create(message)?;
            call.notes.provider(&new.provider);
            call.notes.session(&new.session);
            if let Some(user) = &new.user {
                call.notes.user(user);
            }
            call.caller.may_use(&new.provider)?;
            call.caller.may_create(&new.client)?;
            let pending = self.tenants.of(&call.caller.tenant)?;
            Ok(response::create(pending.create(new).await?))
        };
        unary(request, handle).await
    }

    async fn consume(
        &self,
        request: Request<v1::ConsumeRequest>,
    ) -> Result<Response<v1::ConsumeResponse>, Status> {
        let handle = |call: Call, message| async move {
            let (state, provider) = request::consume(message)?;
            if let Some(provider) = &provider {
                call.notes.provider(provider);
                call.caller.may_use(provider)?;
            }
            let pending = self.tenants.of(&call.caller.tenant)?;
            let reach = &call.caller.reach;
            let consumed = pending.ask_for(&state, provider.as_ref(), reach).await?;
            note(&call.notes, &consumed, provider.as_ref());
            response::consume(consumed.given()?)
        };
        unary(request, handle).await
    }
}
