//! Handing out access tokens that are valid, and refreshing them when they aren't (guarantees, section 2.2).

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Binding, Tokens};
use crate::{
    error::Error,
    store::{Records, Store},
    types::{ProviderName, RowKey, SessionId, StoredRow, Version},
};

/// What a caller wants of an access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How long it has to be valid. `None`: 30 s, but a tenth of its life at most.
    pub min_validity: Option<Duration>,
    /// The version of the row whose access token a resource server refused.
    pub rejected_version: Option<Version>,
}

/// The access tokens of a session.
#[derive(Debug, Default)]
pub struct SessionAccessTokens {
    /// The rows whose access tokens can be handed out.
    pub tokens: BTreeMap<ProviderName, StoredRow>,
    /// Why there is none, for the other providers of the session.
    pub failed: BTreeMap<ProviderName, Error>,
}

impl<S: Store + Records> Tokens<S> {
    /// Returns the row of an access token, refreshed first if it has to be. The answer comes by `deadline`.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get`], and those that say why a token that is needed can't be refreshed.
    pub async fn access_token(
        &self,
        _key: &RowKey,
        _wanted: &Wanted,
        _binding: &Binding,
        _deadline: Instant,
    ) -> Result<StoredRow, Error> {
        todo!()
    }

    /// Returns the rows of all access tokens of a session. Those that have to be refreshed are, all at the same time. The
    /// answer comes just before `deadline`.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get_all`].
    pub async fn access_tokens(
        &self,
        _session: &SessionId,
        _min_validity: Option<Duration>,
        _binding: &Binding,
        _deadline: Instant,
    ) -> Result<SessionAccessTokens, Error> {
        todo!()
    }
}
