//! Parses requests, with one function per RPC. Each function returns a typed request, or one error that
//! names every invalid field.

use crate::{
    error::Error,
    proto::v1,
    rpc::fields::Fields,
    types::{IdentityKey, Subject, UserId},
};

pub(super) fn resolve_user(message: v1::ResolveUserRequest) -> Result<IdentityKey, Error> {
    let mut fields = Fields::default();
    let identity = identity(&mut fields, message.provider, message.provider_subject);
    fields.finish(identity)
}

pub(super) fn get_user(message: v1::GetUserRequest) -> Result<UserId, Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    fields.finish(user)
}

pub(super) fn link_identity(
    message: v1::LinkIdentityRequest,
) -> Result<(IdentityKey, UserId), Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    let identity = identity(&mut fields, message.provider, message.provider_subject);
    fields.finish(identity.zip(user))
}

pub(super) fn unlink_identity(
    message: v1::UnlinkIdentityRequest,
) -> Result<(IdentityKey, Option<UserId>), Error> {
    let mut fields = Fields::default();
    let identity = identity(&mut fields, message.provider, message.provider_subject);
    // One that is set and empty is a mistake: it must not come to mean any user.
    let user = message.user_id.and_then(|user| fields.user(user));
    fields.finish(identity.map(|identity| (identity, user)))
}

pub(super) fn list_identities(message: v1::ListIdentitiesRequest) -> Result<UserId, Error> {
    let mut fields = Fields::default();
    let user = fields.user(message.user_id);
    fields.finish(user)
}

fn identity(fields: &mut Fields, provider: String, subject: String) -> Option<IdentityKey> {
    let provider = fields.provider(provider);
    let subject = fields.note("provider_subject", Subject::new(subject));
    Some(IdentityKey {
        provider: provider?,
        subject: subject?,
    })
}
