//! Deleting rows and users. Where the provider is configured so (`revoke-on-delete`), the tokens are revoked in the
//! background. Only then are the rows read before.

use std::collections::BTreeMap;

use super::{Tokens, UserRows};
use crate::{
    error::Error,
    refresh::{Configured, Deleted, WAITING},
    store::{DeleteOutcome, Error as StoreError, Identities, Store, until_known},
    types::{ProviderName, Row, RowKey, SessionId, UserId, Version},
};

/// How often a row is read again because another write came between.
const LOOKS: usize = 3;

/// How often deleting a user begins anew because another server of the store takes over.
const LINEAGES: usize = 16;

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
    /// Deletes one row. Returns whether there was one.
    ///
    /// # Errors
    /// Returns [`Error::VersionMismatch`] if the row has another version than `version`, and
    /// [`Error::OutcomeUnknown`].
    pub async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<bool, Error> {
        let configured = self.rules.providers.get(&key.provider);
        if configured.is_some_and(Configured::revokes) {
            self.delete_and_revoke(key, version).await
        } else {
            self.delete_row(key, version).await
        }
    }

    /// Deletes one row, and revokes the token that it had in the very moment.
    async fn delete_and_revoke(
        &self,
        key: &RowKey,
        version: Option<Version>,
    ) -> Result<bool, Error> {
        for _ in 0..LOOKS {
            // What can't be read is deleted all the same.
            let Ok(Some(Ok(stored))) = self.store.get(key).await else {
                break;
            };
            if version.is_some_and(|version| version != stored.version) {
                break;
            }
            match self.delete_row(key, Some(stored.version)).await {
                Ok(true) => {
                    self.revoke(&key.provider, stored.row);
                    return Ok(true);
                }
                // Another write came between.
                Err(Error::VersionMismatch) if version.is_none() => {}
                other => return other,
            }
        }
        self.delete_row(key, version).await
    }

    async fn delete_row(&self, key: &RowKey, version: Option<Version>) -> Result<bool, Error> {
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
        let providers = &self.rules.providers;
        let rows = match providers.revoking().next() {
            Some(_) => self.store.get_session(session).await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let count = self.store.delete_session(session).await?;
        for (provider, decoded) in rows {
            if let Ok(stored) = decoded {
                self.revoke(&provider, stored.row);
            }
        }
        Ok(count)
    }

    fn revoke(&self, provider: &ProviderName, row: Row) {
        let providers = &self.rules.providers;
        if let Some(deleted) = providers.token_to_revoke(provider, row) {
            providers.revoke(deleted);
        }
    }

    /// Returns the tokens to revoke when this user is deleted, as many as can wait at most. What can't be read is left
    /// out.
    async fn tokens_of_user(&self, user: &UserId) -> Vec<Deleted> {
        let mut tokens = Vec::new();
        let providers = &self.rules.providers;
        for provider in providers.revoking() {
            let mut rows = UserRows::new(&*self.store, user, provider);
            while let Ok(Some(chunk)) = rows.next().await {
                let read = chunk.into_iter().filter_map(|(_, decoded)| decoded.ok());
                tokens.extend(
                    read.filter_map(|stored| providers.token_to_revoke(provider, stored.row)),
                );
                if tokens.len() >= WAITING {
                    let provider = provider.as_str();
                    tracing::warn!(
                        provider,
                        "a deleted user has more tokens than can be revoked"
                    );
                    return tokens;
                }
            }
        }
        tokens
    }
}

impl<S: Store + Identities> Tokens<S> {
    /// Deletes everything that is kept about a user: first the user's record, so that no login and no link leads to it any
    /// more, then the identities, then the rows. If another server of the store takes over meanwhile, this begins anew, because that server may lack
    /// what was deleted before.
    ///
    /// # Errors
    /// Returns an error if the store fails. What was deleted before stays deleted. A second call deletes the
    /// rest. If the set of identities is damaged, the record and the rows are gone, and the error is
    /// [`Error::IndexUnreadable`].
    pub async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        let mut all = DeletedUser::default();
        for _ in 0..LINEAGES {
            let identities = match self.store.delete_user(user).await {
                Ok(identities) => Ok(identities),
                // The user's rows can be found all the same, and nobody is to stay logged in by them.
                Err(damaged @ StoreError::WrongType) => Err(damaged),
                Err(error) => return Err(interrupted(error)),
            };
            let tokens = self.tokens_of_user(user).await;
            let rows = self.store.delete_user_rows(user).await;
            let rows = rows.map_err(interrupted)?;
            let revoke = |token| self.rules.providers.revoke(token);
            tokens.into_iter().for_each(revoke);
            let identities = identities?;
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
