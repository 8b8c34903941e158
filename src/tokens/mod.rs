//! What the broker does with tokens.
//!
//! The operations are the same for every transport and every store: this module knows neither gRPC nor Redis.
//! Most operations have files of their own. What reads rows as they are is here: one row, those of a session, and the latest
//! one of a user.

mod access;
mod binding;
mod carry_forward;
mod coordination;
mod delete;
mod limits;
mod listing;
pub mod page_token;
mod store;
mod tenants;
mod user_rows;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use access::{SessionAccessTokens, Wanted};
pub use binding::Binding;
pub use coordination::{Begun, Completed, Completion, Outcome};
pub use delete::DeletedUser;
pub use limits::Limits;
pub use listing::{Page, UserSession};
pub use store::{Precondition, StoreTokens};
pub use tenants::Tenants;
use user_rows::UserRows;

use crate::{
    audit::Witness,
    error::{Error, Unreadable},
    refresh::{Providers, Refresher, RefresherOptions},
    store::Store,
    types::{ProviderName, Reach, RowKey, SessionId, StoredRow, Tenant, UserId},
};

/// The tenant and the settings of a [`Tokens`].
#[derive(Clone, Debug)]
pub struct Rules {
    /// The tenant that the tokens belong to.
    pub tenant: Tenant,
    /// How large rows and sessions may get.
    pub limits: Limits,
    /// How long a refresh token is assumed to live if the provider doesn't say.
    pub refresh_lifetime: Duration,
    /// Whether tokens of providers that rotate them are refreshed while older software may do so, too.
    pub refresh_in_grace: bool,
    /// The providers that are configured.
    pub providers: Providers,
    /// Who is told of what is to be audited and belongs to no call.
    pub witness: Witness,
    /// How long a call tries to find out what became of a write whose answer was lost.
    pub patience: Duration,
    /// How long a call tries to carry a refresh token forward while other callers keep changing the row.
    pub persistence: Duration,
}

impl Rules {
    /// The usual [`Rules::persistence`]. It lets a login through a crowd of others on the same row.
    pub const PERSISTENCE: Duration = Duration::from_secs(5);
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
    /// Why the other rows can't be read, by provider.
    pub unreadable: BTreeMap<ProviderName, Unreadable>,
}

impl<S: Store> Tokens<S> {
    /// Returns the tokens that `store` keeps.
    pub fn new(store: S, rules: Rules) -> Self {
        let store = Arc::new(store);
        let providers = rules.providers.clone();
        let options = RefresherOptions {
            refresh_lifetime: rules.refresh_lifetime,
            in_grace: rules.refresh_in_grace,
            witness: rules.witness.clone(),
        };
        let refresher = Refresher::new(Arc::clone(&store), providers, options);
        Self {
            store,
            rules,
            refresher,
        }
    }

    /// Returns the tenant that the tokens belong to.
    pub fn tenant(&self) -> &Tenant {
        &self.rules.tenant
    }

    /// Returns the providers that are configured.
    pub fn providers(&self) -> &Providers {
        &self.rules.providers
    }

    /// Returns what refreshes the tokens.
    pub fn refresher(&self) -> &Refresher<S> {
        &self.refresher
    }

    /// Returns the rules for the tokens.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the store, for what else is kept for the tenant.
    pub fn store_of_tenant(&self) -> &Arc<S> {
        &self.store
    }

    /// Returns the store that keeps the tokens.
    pub fn backend(&self) -> &S {
        &self.store
    }

    /// Reads one row, whether it has expired or not.
    ///
    /// # Errors
    /// Returns [`Error::RowNotFound`], [`Error::BindingMismatch`], [`Error::RowUnreadable`] or [`Error::KeyMissing`].
    pub async fn get(&self, key: &RowKey, binding: &Binding) -> Result<StoredRow, Error> {
        let stored = self.store.get(key).await?.ok_or(Error::RowNotFound)?;
        match stored {
            Ok(stored) => {
                binding.check(&stored.row)?;
                Ok(stored)
            }
            Err(unreadable) => {
                binding.check_unreadable(&unreadable)?;
                Err(unreadable.into())
            }
        }
    }

    /// Reads all rows of a session at the providers within `reach`. An unknown session has none.
    ///
    /// # Errors
    /// Returns [`Error::BindingMismatch`] if any of them is bound to another owner, as far as that can be read.
    pub async fn get_all(
        &self,
        session: &SessionId,
        binding: &Binding,
        reach: &Reach,
    ) -> Result<SessionTokens, Error> {
        let mut tokens = SessionTokens::default();
        for (provider, decoded) in self.store.get_session(session).await? {
            if !reach.providers.has(&provider) {
                continue;
            }
            match decoded {
                Ok(stored) => {
                    binding.check(&stored.row)?;
                    tokens.rows.insert(provider, stored);
                }
                Err(unreadable) => {
                    binding.check_unreadable(&unreadable)?;
                    log_unreadable(&provider, &unreadable);
                    tokens.unreadable.insert(provider, unreadable);
                }
            }
        }
        Ok(tokens)
    }

    /// Reads the row that expires last among all rows of a user at a provider, as far as they are within `reach`. A damaged row
    /// names no client, and so is out of the reach of a caller that is kept to one.
    ///
    /// # Errors
    /// Returns [`Error::UserRowNotFound`] if there is no row. If there are rows but none of them can be read, returns
    /// [`Error::KeyMissing`] if a broker with another key can read one, and otherwise [`Error::RowUnreadable`].
    pub async fn latest_for_user(
        &self,
        user: &UserId,
        provider: &ProviderName,
        reach: &Reach,
    ) -> Result<StoredRow, Error> {
        let latest = self.latest_row(user, provider, reach).await?;
        Ok(latest.1)
    }

    /// Reads the same row as [`Tokens::latest_for_user`], and tells which one it is.
    ///
    /// # Errors
    /// Returns the same errors.
    pub async fn latest_row(
        &self,
        user: &UserId,
        provider: &ProviderName,
        reach: &Reach,
    ) -> Result<(RowKey, StoredRow), Error> {
        let (mut latest, mut unreadable) = (None::<(RowKey, StoredRow)>, None);
        let mut rows = UserRows::new(&self.store, user, provider);
        while let Some(chunk) = rows.next().await? {
            for (key, decoded) in chunk {
                match decoded {
                    Ok(stored) if !reach.is_of_client(&stored.row) => {}
                    Ok(stored)
                        if latest
                            .as_ref()
                            .is_none_or(|(_, best)| expires_later(&stored, best)) =>
                    {
                        latest = Some((key, stored));
                    }
                    Ok(_) => {}
                    Err(error) if is_elsewhere(&error, reach) => {}
                    // It names no client, so that it is none of the caller's. Who isn't kept to a client is told of it.
                    Err(error @ Unreadable::Damaged(_)) if reach.client.is_some() => {
                        log_unreadable(&key.provider, &error);
                    }
                    Err(error) if unreadable.as_ref().is_some_and(is_key_missing) => drop(error),
                    Err(error) => unreadable = Some(error),
                }
            }
        }
        latest.ok_or_else(|| unreadable.map_or(Error::UserRowNotFound, Error::from))
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

/// Whether a row whose key is missing names another client than the one within `reach`.
fn is_elsewhere(unreadable: &Unreadable, reach: &Reach) -> bool {
    let shown = unreadable.shown();
    shown.is_some_and(|stored| !reach.is_of_client(&stored.row))
}

fn is_key_missing(unreadable: &Unreadable) -> bool {
    matches!(unreadable, Unreadable::KeyMissing(_))
}

fn log_unreadable(provider: &ProviderName, unreadable: &Unreadable) {
    tracing::warn!(%provider, reason = %unreadable, "a row can't be read");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Row, Secret, UnixTime, Version};

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
