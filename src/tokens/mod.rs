//! What the broker does with tokens.
//!
//! The operations are the same for every transport and every store: this module knows neither gRPC nor Redis.
//! An operation that needs more than a few lines has a file of its own: `store`, `carry_forward`, `listing`.
//! The others are here.

mod access;
mod binding;
mod carry_forward;
mod coordination;
mod limits;
mod listing;
mod page_token;
mod store;
mod user_rows;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use access::{SessionAccessTokens, Wanted};
pub use binding::Binding;
pub use coordination::{Begun, Completed, Completion, Outcome};
pub use limits::Limits;
pub use listing::{Page, UserSession};
pub use store::{Precondition, StoreTokens};
use user_rows::UserRows;

use crate::{
    error::{Error, Unreadable},
    refresh::{Configured, Providers, Refresher},
    store::{DeleteOutcome, Error as StoreError, Identities, Store, until_known},
    types::{ProviderName, RowKey, SessionId, StoredRow, Tenant, UserId, Version},
};

/// How often deleting a user begins anew because another server of the store takes over.
const LINEAGES: usize = 16;

/// The tenant and the settings of a [`Tokens`].
#[derive(Clone, Debug)]
pub struct Rules {
    /// The tenant that the tokens belong to.
    pub tenant: Tenant,
    /// How large rows and sessions may get.
    pub limits: Limits,
    /// How long a refresh token is assumed to live if the provider doesn't say.
    pub refresh_lifetime: Duration,
    /// The providers that are configured.
    pub providers: Providers,
    /// How long a call tries to find out what became of a write whose answer was lost.
    pub patience: Duration,
    /// How long a call tries to carry a refresh token forward while other callers keep changing the row.
    pub persistence: Duration,
}

impl Rules {
    /// The usual [`Rules::persistence`]. It lets a login through a crowd of others on the same row.
    pub const PERSISTENCE: Duration = Duration::from_secs(5);

    /// Returns how long a refresh token of this provider is assumed to live if the provider doesn't say.
    #[must_use]
    pub fn refresh_lifetime_at(&self, provider: &ProviderName) -> Duration {
        let configured = self.providers.get(provider);
        configured
            .and_then(Configured::refresh_lifetime)
            .unwrap_or(self.refresh_lifetime)
    }
}

/// The tokens of one tenant, with the operations of the `TokenBroker` service (guarantees, section 2.1).
#[derive(Debug)]
pub struct Tokens<S> {
    store: Arc<S>,
    rules: Rules,
    refresher: Refresher<S>,
}

/// All rows of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTokens {
    /// The rows that can be read.
    pub rows: BTreeMap<ProviderName, StoredRow>,
    /// The providers whose rows can't be read.
    pub unreadable: Vec<ProviderName>,
}

/// What [`Tokens::delete_user`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedUser {
    /// How many rows.
    pub rows: u64,
    /// How many identities. An identity leads from a provider's subject to the user.
    pub identities: u64,
    /// Whether there was a user record, an identity or a row.
    pub existed: bool,
}

impl<S: Store> Tokens<S> {
    /// Returns the tokens that `store` keeps.
    pub fn new(store: S, rules: Rules) -> Self {
        let store = Arc::new(store);
        let providers = rules.providers.clone();
        let refresher = Refresher::new(Arc::clone(&store), providers, rules.refresh_lifetime);
        Self {
            store,
            rules,
            refresher,
        }
    }

    /// Returns what refreshes the tokens.
    pub fn refresher(&self) -> &Refresher<S> {
        &self.refresher
    }

    /// Returns the store that keeps the tokens.
    pub fn backend(&self) -> &S {
        &self.store
    }

    /// Reads one row, whether it has expired or not.
    ///
    /// # Errors
    /// Returns [`Error::RowNotFound`], [`Error::RowUnreadable`] or [`Error::BindingMismatch`].
    pub async fn get(&self, key: &RowKey, binding: &Binding) -> Result<StoredRow, Error> {
        let stored = self.store.get(key).await?.ok_or(Error::RowNotFound)?;
        let stored = stored.map_err(Error::RowUnreadable)?;
        binding.check(&stored.row)?;
        Ok(stored)
    }

    /// Reads all rows of a session. An unknown session has none.
    ///
    /// # Errors
    /// Returns [`Error::BindingMismatch`] if any row that can be read is bound to another owner.
    pub async fn get_all(
        &self,
        session: &SessionId,
        binding: &Binding,
    ) -> Result<SessionTokens, Error> {
        let mut tokens = SessionTokens::default();
        for (provider, decoded) in self.store.get_session(session).await? {
            match decoded {
                Ok(stored) => {
                    binding.check(&stored.row)?;
                    tokens.rows.insert(provider, stored);
                }
                Err(unreadable) => {
                    log_unreadable(&provider, &unreadable);
                    tokens.unreadable.push(provider);
                }
            }
        }
        Ok(tokens)
    }

    /// Deletes one row. Returns whether there was one.
    ///
    /// # Errors
    /// Returns [`Error::VersionMismatch`] if the row has another version than `version`, and
    /// [`Error::OutcomeUnknown`].
    pub async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<bool, Error> {
        let delete = || self.store.delete(key, version);
        let outcome = match version {
            // Such a version never comes back, so that only one attempt can find it. If a later attempt doesn't, the
            // first one may have deleted the row, or another caller changed it.
            Some(version) if !version.may_come_back() => {
                let tells = |outcome: &DeleteOutcome| *outcome == DeleteOutcome::Deleted;
                until_known(self.rules.patience, delete(), delete, tells).await?
            }
            // A second delete would also remove a row that another caller stored in between.
            Some(_) | None => delete().await?,
        };
        match outcome {
            DeleteOutcome::Deleted => Ok(true),
            DeleteOutcome::Absent => Ok(false),
            DeleteOutcome::VersionMismatch => Err(Error::VersionMismatch),
        }
    }

    /// Deletes all rows of a session. Returns how many there were.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn delete_all(&self, session: &SessionId) -> Result<u64, Error> {
        Ok(self.store.delete_session(session).await?)
    }

    /// Reads the row that expires last among all rows of a user at a provider.
    ///
    /// # Errors
    /// Returns [`Error::UserRowNotFound`] if there is no row, and [`Error::RowUnreadable`] if there are rows
    /// but none of them can be read.
    pub async fn latest_for_user(
        &self,
        user: &UserId,
        provider: &ProviderName,
    ) -> Result<StoredRow, Error> {
        let (mut latest, mut unreadable) = (None::<StoredRow>, None);
        let mut rows = UserRows::new(&self.store, user, provider);
        while let Some(chunk) = rows.next().await? {
            for (_, decoded) in chunk {
                match decoded {
                    Ok(stored)
                        if latest
                            .as_ref()
                            .is_none_or(|best| expires_later(&stored, best)) =>
                    {
                        latest = Some(stored);
                    }
                    Ok(_) => {}
                    Err(error) => unreadable = Some(error),
                }
            }
        }
        latest.ok_or_else(|| unreadable.map_or(Error::UserRowNotFound, Error::RowUnreadable))
    }
}

impl<S: Store + Identities> Tokens<S> {
    /// Deletes everything that is kept about a user: first the rows, then the identities, then the user
    /// record. If another server of the store takes over meanwhile, this begins anew, because that server may lack
    /// what was deleted before.
    ///
    /// # Errors
    /// Returns an error if the store fails. What was deleted before stays deleted. A second call deletes the
    /// rest.
    pub async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        let mut all = DeletedUser::default();
        for _ in 0..LINEAGES {
            let rows = self.store.delete_user_rows(user).await;
            let rows = rows.map_err(interrupted)?;
            let identities = self.store.delete_user(user).await;
            let identities = identities.map_err(interrupted)?;
            all.rows += rows.count;
            all.identities += identities.count;
            all.existed |= rows.count > 0 || identities.count > 0 || identities.record;
            if identities.lineage == rows.lineage {
                return Ok(all);
            }
        }
        Err(StoreError::unavailable("the servers of the store keep changing").into())
    }
}

/// A deletion of a user that was interrupted is repeated until nothing is left, whatever became of its last step. So
/// the callers' retries may repeat it.
fn interrupted(error: StoreError) -> Error {
    match error {
        StoreError::Unknown(detail) => StoreError::Unavailable(detail).into(),
        known => known.into(),
    }
}

/// Whether `a` expires after `b`.
///
/// A row without an expiry expires after all others. A row without an access token counts as expired. If both
/// expire at the same time, the one that was written later counts as the one that expires later.
fn expires_later(a: &StoredRow, b: &StoredRow) -> bool {
    let rank = |stored: &StoredRow| {
        let StoredRow { row, .. } = stored;
        (
            row.access_token.is_some(),
            row.expires_at.is_none(),
            row.expires_at,
            row.updated_at,
        )
    };
    rank(a) > rank(b)
}

fn log_unreadable(provider: &ProviderName, unreadable: &Unreadable) {
    tracing::warn!(%provider, reason = %unreadable, "a row can't be read");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Row, Secret, UnixTime};

    #[test]
    fn which_row_is_the_latest() {
        let row = |access: &str, expires, updated| StoredRow {
            row: Row {
                access_token: Secret::new(access.to_owned()),
                expires_at: UnixTime::from_stored(expires),
                updated_at: UnixTime::from_stored(updated),
                ..Row::default()
            },
            version: Version::random(),
        };
        let ascending = [
            row("", 0, 9),
            row("a", 5, 9),
            row("a", 6, 7),
            row("a", 6, 8),
            row("a", 0, 1),
        ];
        for (at, earlier) in ascending.iter().enumerate() {
            assert!(!expires_later(earlier, earlier));
            assert!(
                ascending[at + 1..]
                    .iter()
                    .all(|later| expires_later(later, earlier)),
                "{at}"
            );
        }
    }
}
