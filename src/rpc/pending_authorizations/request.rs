//! Parses requests, with one function per RPC. Each function returns a typed request, or one error that
//! names every invalid field.

use std::time::Duration;

use crate::{
    authorizations::{LONGEST_TTL, NewPending, USUAL_TTL},
    error::Error,
    proto::v1,
    rpc::fields::Fields,
    types::{ClientId, ProviderName, SecretBytes, State},
};

/// How long an authorization waits at least.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

pub(super) fn create(message: v1::CreateRequest) -> Result<NewPending, Error> {
    let payload = SecretBytes::new(message.payload);
    let mut fields = Fields::default();
    let state = state(&mut fields, message.state);
    let key = fields.key(message.session_id, message.provider);
    let client = fields.note("client_id", ClientId::new(message.client_id));
    // One that is set and empty is a mistake.
    let user = message.user_id.and_then(|user| fields.user(user));
    let ttl = message
        .ttl
        .is_some()
        .then(|| fields.span("ttl", message.ttl));
    let ttl = ttl.map_or(Some(USUAL_TTL), |ttl| ttl);
    if ttl.is_some_and(|ttl| !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl)) {
        fields.reject("ttl", "must be from 1 second to 1 hour");
    }
    let all = state.zip(key).zip(client.zip(ttl));
    fields.finish(all.map(|((state, key), (client, ttl))| NewPending {
        state,
        provider: key.provider,
        session: key.session,
        client,
        user,
        payload,
        ttl,
    }))
}

pub(super) fn consume(message: v1::ConsumeRequest) -> Result<(State, Option<ProviderName>), Error> {
    let mut fields = Fields::default();
    let state = state(&mut fields, message.state);
    // One that is set and empty is a mistake: it must not come to mean any provider.
    let provider = message.provider.and_then(|name| fields.provider(name));
    fields.finish(state.map(|state| (state, provider)))
}

/// Parses a state. Clients and providers pass on printable ASCII (RFC 6749, appendix A.5).
fn state(fields: &mut Fields, state: String) -> Option<State> {
    let is_printable = state.is_ascii();
    let state = fields.note("state", State::new(state));
    if state.is_some() && !is_printable {
        fields.reject("state", "must be printable ASCII");
    }
    state
}
