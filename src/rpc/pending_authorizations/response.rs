//! Makes responses, with one function per RPC. The payload is moved, not copied.

use crate::{
    error::{Damage, Error},
    proto::v1,
    rpc::values,
    types::{Payload, PendingAuthorization, UnixTime},
};

pub(super) fn create(expires_at: UnixTime) -> v1::CreateResponse {
    v1::CreateResponse {
        expires_at: values::timestamp(Some(expires_at)),
    }
}

/// # Errors
/// Returns [`Error::RecordUnreadable`] if the payload is still sealed: the store has no one to open it.
pub(super) fn consume(taken: PendingAuthorization) -> Result<v1::ConsumeResponse, Error> {
    let Payload::Plain(payload) = taken.payload else {
        return Err(Error::RecordUnreadable(Damage("it is sealed".to_owned())));
    };
    Ok(v1::ConsumeResponse {
        provider: taken.provider.into(),
        session_id: taken.session.as_str().to_owned(),
        client_id: taken.client.into(),
        user_id: taken.user.map(String::from),
        payload: payload.into_exposed(),
    })
}
