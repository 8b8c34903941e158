//! What the broker does with tokens, whoever asks and wherever they are kept.
//!
//! One file an operation where it needs thought: `store`, `carry_forward`, `listing`. The rest
//! is here. This knows neither gRPC nor Redis.

mod binding;
mod carry_forward;
mod lifetime;
mod limits;
mod listing;
mod page_token;
mod store;
mod user_rows;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

pub use binding::Binding;
pub use limits::Limits;
pub use listing::{Page, UserSession};
pub use store::{Precondition, StoreTokens};
use user_rows::UserRows;

use crate::{
    error::{Error, Unreadable},
    store::{DeleteOutcome, Identities, Store, until_known},
    types::{ProviderName, RowKey, SessionId, StoredRow, Tenant, UserId, Version},
};

/// What [`Tokens`] goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whose tokens these are.
    pub tenant: Tenant,
    /// How large rows and sessions may get.
    pub limits: Limits,
    /// How long a refresh token is taken to live where the provider doesn't tell.
    pub refresh_lifetime: Duration,
    /// Providers that rotate refresh tokens: two sessions must not hold the same one.
    pub rotating_providers: HashSet<ProviderName>,
    /// How long a write of unknown outcome is repeated, where repeating it can do no harm.
    pub patience: Duration,
}

/// The tokens of a tenant: the operations of the `TokenBroker` service (guarantees, section 2.1).
#[derive(Debug)]
pub struct Tokens<S> {
    store: S,
    rules: Rules,
}

/// All rows of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTokens {
    /// Those that can be read.
    pub rows: BTreeMap<ProviderName, StoredRow>,
    /// The providers of the others.
    pub unreadable: Vec<ProviderName>,
}

/// What [`Tokens::delete_user`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedUser {
    /// Rows.
    pub rows: u64,
    /// Links from a provider's subject to the user.
    pub identities: u64,
    /// Whether there was a user record, an identity or a row.
    pub existed: bool,
}

impl<S: Store> Tokens<S> {
    /// Tokens kept in `store`.
    pub fn new(store: S, rules: Rules) -> Self {
        Self { store, rules }
    }

    /// Where they are kept.
    pub fn backend(&self) -> &S {
        &self.store
    }

    /// Reads one row, expired or not.
    ///
    /// # Errors
    /// [`Error::RowNotFound`], [`Error::RowUnreadable`], [`Error::BindingMismatch`].
    pub async fn get(&self, key: &RowKey, binding: &Binding) -> Result<StoredRow, Error> {
        let stored = self.store.get(key).await?.ok_or(Error::RowNotFound)?;
        let stored = stored.map_err(Error::RowUnreadable)?;
        binding.check(&stored.row)?;
        Ok(stored)
    }

    /// Reads all rows of a session; none if it is unknown.
    ///
    /// # Errors
    /// [`Error::BindingMismatch`] if any row differs.
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
                    note_unreadable(&provider, &unreadable);
                    tokens.unreadable.push(provider);
                }
            }
        }
        Ok(tokens)
    }

    /// Deletes one row; answers whether there was one.
    ///
    /// # Errors
    /// [`Error::VersionMismatch`] if the row has another version than `version`.
    pub async fn delete(&self, key: &RowKey, version: Option<Version>) -> Result<bool, Error> {
        let delete = || self.store.delete(key, version);
        let outcome = match version {
            // A version never comes back: done twice, the second finds nothing of that version.
            Some(_) => until_known(self.rules.patience, delete).await?,
            // A row that somebody stored in between would go too.
            None => delete().await?,
        };
        match outcome {
            DeleteOutcome::Deleted => Ok(true),
            DeleteOutcome::Absent => Ok(false),
            DeleteOutcome::VersionMismatch => Err(Error::VersionMismatch),
        }
    }

    /// Deletes all rows of a session; answers how many there were.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn delete_all(&self, session: &SessionId) -> Result<u64, Error> {
        Ok(self.store.delete_session(session).await?)
    }

    /// Of all rows of a user at a provider the one that expires last.
    ///
    /// # Errors
    /// [`Error::UserRowNotFound`]; [`Error::RowUnreadable`] if none of the rows can be read.
    pub async fn latest_for_user(
        &self,
        user: &UserId,
        provider: &ProviderName,
    ) -> Result<StoredRow, Error> {
        let mut keys = self.store.user_rows(user).await?;
        keys.retain(|key| key.provider == *provider);
        let (mut latest, mut unreadable) = (None::<StoredRow>, None);
        let mut rows = UserRows::new(&self.store, user, &keys);
        while let Some(chunk) = rows.next(usize::MAX).await? {
            for (_, decoded) in chunk {
                match decoded {
                    Ok(stored) if latest.as_ref().is_none_or(|best| outlasts(&stored, best)) => {
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
    /// Deletes all that is known of a user: rows, identities and, last, the user record.
    ///
    /// # Errors
    /// Those of every call. What was deleted until then stays deleted; repeating it finishes it.
    pub async fn delete_user(&self, user: &UserId) -> Result<DeletedUser, Error> {
        let rows = self.store.delete_user_rows(user).await?;
        let identities = self.store.delete_user(user).await?;
        Ok(DeletedUser {
            rows,
            identities: identities.count,
            existed: rows > 0 || identities.count > 0 || identities.record,
        })
    }
}

/// Whether `a` expires after `b`: no expiry is after all others, and a row without an access token
/// has expired already. Of two that expire together the one that was written later counts.
fn outlasts(a: &StoredRow, b: &StoredRow) -> bool {
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

fn note_unreadable(provider: &ProviderName, unreadable: &Unreadable) {
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
            assert!(!outlasts(earlier, earlier));
            assert!(
                ascending[at + 1..]
                    .iter()
                    .all(|later| outlasts(later, earlier)),
                "{at}"
            );
        }
    }
}
