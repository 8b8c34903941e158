//! Pending authorizations for tests.

use std::{sync::Arc, time::Duration};

use token_broker::{
    authorizations::{AuthorizationOptions, Authorizations, NewPending},
    error::Error,
    store::{self, PendingLimits},
    types::{ClientId, PendingAuthorization, Reach, SecretBytes, State},
};

use crate::rows::{provider, session, user};

/// Returns the state with this text.
pub fn state(text: &str) -> State {
    State::new(text).unwrap()
}

/// Returns the client with this id.
pub fn client(id: &str) -> ClientId {
    ClientId::new(id).unwrap()
}

/// Returns the pending authorizations that a store keeps. So many may wait of each client, and of the tenant.
pub fn pending_in<S: store::Authorizations>(
    store: S,
    of_client: usize,
    of_tenant: usize,
) -> Authorizations<S> {
    let options = AuthorizationOptions {
        limits: PendingLimits {
            of_client,
            of_tenant,
        },
        patience: Duration::from_secs(5),
    };
    Authorizations::new(Arc::new(store), options)
}

/// Returns one that waits for ten minutes, as after a redirect of the user `u` to `okta`.
pub fn new_pending(text: &str) -> NewPending {
    NewPending {
        state: state(text),
        provider: provider("okta"),
        session: session("s"),
        client: client("c"),
        user: Some(user("u")),
        payload: SecretBytes::new(format!("payload of {text}").into_bytes()),
        ttl: Duration::from_secs(600),
    }
}

/// Consumes one, of whichever provider and client it is.
///
/// # Errors
/// Returns why not.
pub async fn consume<S: store::Authorizations>(
    pending: &Authorizations<S>,
    text: &str,
) -> Result<PendingAuthorization, Error> {
    let reach = Reach::default();
    pending.consume(&state(text), None, &reach).await
}
