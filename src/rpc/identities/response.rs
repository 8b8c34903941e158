//! Makes responses, with one function per RPC that has something to say.

use crate::{
    proto::v1,
    rpc::values,
    store::Resolved,
    types::{Identity, UserRecord},
};

pub(super) fn resolve_user(resolved: Resolved) -> v1::ResolveUserResponse {
    v1::ResolveUserResponse {
        user_id: resolved.user.into(),
        created: resolved.created,
    }
}

pub(super) fn get_user(record: UserRecord) -> v1::GetUserResponse {
    v1::GetUserResponse {
        user_id: record.id.into(),
        created_at: values::timestamp(record.created_at),
        updated_at: values::timestamp(record.updated_at),
    }
}

pub(super) fn list_identities(found: Vec<Identity>) -> v1::ListIdentitiesResponse {
    let identity = |identity: Identity| v1::Identity {
        provider: identity.key.provider.into(),
        provider_subject: identity.key.subject.into(),
        user_id: identity.user.into(),
        linked_at: values::timestamp(identity.linked_at),
        last_used_at: values::timestamp(identity.last_used_at),
    };
    v1::ListIdentitiesResponse {
        identities: found.into_iter().map(identity).collect(),
    }
}
