//! Deleting rows and users. Where the provider is configured so (`revoke-on-delete`), the tokens are revoked in the
//! background. Only then are the rows read before.

use std::{collections::BTreeMap, fmt};

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
        let raced = || "other writes came between".to_owned();
        let mut why = None;
        for _ in 0..LOOKS {
            let stored = match self.store.get(key).await {
                Ok(Some(Ok(stored))) => stored,
                Ok(None) => break,
                // What can't be read is deleted all the same.
                Ok(Some(Err(unreadable))) => {
                    why = Some(unread(unreadable));
                    break;
                }
                Err(error) => {
                    why = Some(unread(error));
                    break;
                }
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
                Err(Error::VersionMismatch) if version.is_none() => why = Some(raced()),
                other => return self.unless_deleted(key, other, UNKNOWN),
            }
        }
        let outcome = self.delete_row(key, version).await;
        // Where there was no row, only one that came meanwhile was deleted.
        let came = matches!(outcome, Ok(true)).then(raced);
        match why.or(came) {
            Some(why) => self.unless_deleted(key, outcome, &why),
            None => outcome,
        }
    }

    /// Tells that the token of a row wasn't revoked, unless the row wasn't deleted.
    fn unless_deleted(
        &self,
        key: &RowKey,
        outcome: Result<bool, Error>,
        why: &str,
    ) -> Result<bool, Error> {
        let may_be_deleted = match &outcome {
            Ok(is_deleted) => *is_deleted,
            Err(error) => may_be_done(error),
        };
        if may_be_deleted {
            let providers = &self.rules.providers;
            providers.not_revoked(Some(&key.provider), 1, why);
        }
        outcome
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
            Some(_) => self.store.get_session(session).await,
            None => Ok(BTreeMap::new()),
        };
        let outcome = self.store.delete_session(session).await;
        let count = outcome.map_err(|error| {
            let error = Error::from(error);
            let revokes =
                |provider: &ProviderName| providers.get(provider).is_some_and(Configured::revokes);
            let had_some = rows.as_ref().is_ok_and(|rows| rows.keys().any(revokes));
            if had_some && may_be_done(&error) {
                providers.not_revoked(None, 1, UNKNOWN);
            }
            error
        })?;
        match rows {
            Ok(rows) => {
                for (provider, decoded) in rows {
                    match decoded {
                        Ok(stored) => self.revoke(&provider, stored.row),
                        Err(unreadable) => {
                            providers.not_revoked(Some(&provider), 1, &unread(unreadable));
                        }
                    }
                }
            }
            Err(error) if count > 0 => providers.not_revoked(None, 1, &unread(error)),
            Err(_) => {}
        }
        Ok(count)
    }

    fn revoke(&self, provider: &ProviderName, row: Row) {
        let providers = &self.rules.providers;
        if let Some(deleted) = providers.token_to_revoke(provider, row) {
            providers.revoke(deleted);
        }
    }

    /// Returns the tokens to revoke when this user is deleted, as many as can wait at most.
    async fn tokens_of_user(&self, user: &UserId) -> TokensOfUser<'_> {
        let mut all = TokensOfUser::default();
        let providers = &self.rules.providers;
        for provider in providers.revoking() {
            let mut rows = UserRows::new(&*self.store, user, provider);
            loop {
                let chunk = match rows.next().await {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(error) => {
                        all.miss(provider, unread(error));
                        break;
                    }
                };
                if all.read.len() >= WAITING {
                    let why = "the user has more tokens than can be revoked";
                    all.miss(provider, why.to_owned());
                    return all;
                }
                for (_, decoded) in chunk {
                    match decoded {
                        Ok(stored) => {
                            let token = providers.token_to_revoke(provider, stored.row);
                            all.read.extend(token);
                        }
                        Err(unreadable) => all.miss(provider, unread(unreadable)),
                    }
                }
            }
        }
        all
    }
}

/// The tokens of a user that are to be revoked.
#[derive(Default)]
struct TokensOfUser<'a> {
    read: Vec<Deleted>,
    /// How many others couldn't be read, by provider and by why. A read that failed counts as one.
    missed: BTreeMap<(&'a ProviderName, String), u64>,
}

impl<'a> TokensOfUser<'a> {
    fn miss(&mut self, provider: &'a ProviderName, why: String) {
        *self.missed.entry((provider, why)).or_default() += 1;
    }
}

/// Why a token wasn't revoked, if it isn't known whether its row was deleted.
const UNKNOWN: &str = "it isn't known whether the row was deleted";

/// Why a token wasn't revoked, if the deletion of its user was interrupted.
const INTERRUPTED: &str = "the deletion of a user was interrupted, and a part may be done";

fn unread(error: impl fmt::Display) -> String {
    format!("the row couldn't be read: {error}")
}

/// Whether what failed so may have been done. A second call then finds nothing.
fn may_be_done(error: &Error) -> bool {
    matches!(
        error,
        Error::OutcomeUnknown(_) | Error::NotDurable(_) | Error::DoneNotDurable(_)
    )
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
        let providers = &self.rules.providers;
        for _ in 0..LINEAGES {
            let identities = match self.store.delete_user(user).await {
                Ok(identities) => Ok(identities),
                // The user's rows can be found all the same, and nobody is to stay logged in by them.
                Err(damaged @ StoreError::WrongType) => Err(damaged),
                Err(error) => return Err(interrupted(error)),
            };
            let tokens = self.tokens_of_user(user).await;
            let rows = self.store.delete_user_rows(user).await;
            let rows = rows.map_err(|error| {
                if !tokens.read.is_empty() {
                    providers.not_revoked(None, 1, INTERRUPTED);
                }
                interrupted(error)
            })?;
            for token in tokens.read {
                providers.revoke(token);
            }
            if rows.count > 0 {
                for ((provider, why), count) in tokens.missed {
                    providers.not_revoked(Some(provider), count, &why);
                }
            }
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
