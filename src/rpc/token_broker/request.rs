//! Parses requests, with one function per RPC. Each function returns a typed request, or one error that
//! names every invalid field.

use super::parts;
use crate::{
    error::Error,
    proto::v1::{self, delete_request::Target},
    rpc::fields::Fields,
    tokens::{Binding, StoreTokens},
    types::{ProviderName, RowKey, SessionId, UserId, Version},
};

/// The row to read, and the binding that it must have.
pub(super) struct Get {
    pub(super) key: RowKey,
    pub(super) binding: Binding,
}

/// The session whose rows to read, and the binding that they must have.
pub(super) struct GetAll {
    pub(super) session: SessionId,
    pub(super) binding: Binding,
}

/// What to delete.
pub(super) enum Delete {
    Row(RowKey, Option<Version>),
    Session(SessionId),
}

/// The user and the provider whose latest row to read.
pub(super) struct GetLatestForUser {
    pub(super) user: UserId,
    pub(super) provider: ProviderName,
}

/// The user whose rows to list, and which page of them.
pub(super) struct ListUserSessions {
    pub(super) user: UserId,
    pub(super) page_size: usize,
    /// `None` for the first page.
    pub(super) page_token: Option<String>,
}

pub(super) fn store(message: v1::StoreRequest) -> Result<StoreTokens, Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let row = parts::tokens(&mut fields, message.tokens);
    let precondition = parts::precondition(&mut fields, message.precondition);
    let carry_forward = message.carry_forward_refresh_token;
    fields.finish(key.zip(row).map(|(key, row)| StoreTokens {
        key,
        row,
        precondition,
        carry_forward,
    }))
}

pub(super) fn get(message: v1::GetRequest) -> Result<Get, Error> {
    let mut fields = Fields::default();
    let key = fields.key(message.session_id, message.provider);
    let binding = fields.binding(message.binding);
    fields.finish(key.zip(binding).map(|(key, binding)| Get { key, binding }))
}

pub(super) fn get_all(message: v1::GetAllRequest) -> Result<GetAll, Error> {
    let mut fields = Fields::default();
    let session = fields.session(message.session_id);
    let binding = fields.binding(message.binding);
    let parsed = session.zip(binding);
    fields.finish(parsed.map(|(session, binding)| GetAll { session, binding }))
}

pub(super) fn delete(message: v1::DeleteRequest) -> Result<Delete, Error> {
    let mut fields = Fields::default();
    let session = fields.session(message.session_id);
    let version = message
        .version
        .and_then(|number| fields.version("version", number));
    let target = match message.target {
        Some(Target::Provider(name)) => {
            let provider = fields.provider(name);
            let key = session.zip(provider);
            key.map(|(session, provider)| Delete::Row(RowKey { session, provider }, version))
        }
        Some(Target::AllProviders(all)) => {
            if !all {
                fields.reject("all_providers", "can only be true");
            }
            if message.version.is_some() {
                fields.reject("version", "goes with provider only");
            }
            session.map(Delete::Session)
        }
        None => {
            fields.reject("target", "must set provider or all_providers");
            None
        }
    };
    fields.finish(target)
}

pub(super) fn delete_user(message: v1::DeleteUserRequest) -> Result<UserId, Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    fields.finish(user)
}

pub(super) fn get_latest_for_user(
    message: v1::GetLatestForUserRequest,
) -> Result<GetLatestForUser, Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    let provider = fields.provider(message.provider);
    let parsed = user.zip(provider);
    fields.finish(parsed.map(|(user, provider)| GetLatestForUser { user, provider }))
}

pub(super) fn list_user_sessions(
    message: v1::ListUserSessionsRequest,
) -> Result<ListUserSessions, Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    let page_size = fields.page_size(message.page_size);
    let page_token = Some(message.page_token).filter(|token| !token.is_empty());
    fields.finish(user.map(|user| ListUserSessions {
        user,
        page_size,
        page_token,
    }))
}
