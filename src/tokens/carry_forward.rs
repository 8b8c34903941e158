//! Keeping a refresh token that the provider didn't send again (guarantees, section 2.1).

use super::{Tokens, UserRows, outlasts};
use crate::{
    error::Error,
    store::{Condition, Store},
    types::{Row, RowKey, Secret, StoredRow, UnixTime, Version},
};

/// A refresh token to carry over, and what must not have changed when it is written.
pub(super) struct Source {
    /// The token; `None` if there is none to carry over.
    pub(super) token: Option<Secret>,
    /// When the token expires, where that is known: it goes where the token goes.
    pub(super) token_expires_at: Option<UnixTime>,
    /// The row that is replaced is still as it was read.
    pub(super) condition: Condition,
    /// The row of another session that the token comes from, with its version.
    pub(super) other: Option<(RowKey, Version)>,
}

impl<S: Store> Tokens<S> {
    /// Finds the refresh token that `row`, about to be stored under `key`, should keep: that of the
    /// row it replaces or, where that has none, of the latest row of the same user, provider and
    /// subject.
    pub(super) async fn refresh_token_for(&self, key: &RowKey, row: &Row) -> Result<Source, Error> {
        let (replaced, condition) = match self.store.get(key).await? {
            None => (None, Condition::Absent),
            Some(Ok(stored)) => {
                let condition = Condition::Version(stored.version);
                (Some(stored.row), condition)
            }
            // It has nothing to carry over and no version to be held to.
            Some(Err(_)) => (None, Condition::Always),
        };
        if let Some(old) = replaced
            && old.usable_refresh_token().is_some()
            && old.user_id == row.user_id
            && old.upstream_subject == row.upstream_subject
        {
            return Ok(Source {
                token: old.refresh_token,
                token_expires_at: old.refresh_expires_at,
                condition,
                other: None,
            });
        }
        let latest = self.latest_with_refresh_token(key, row).await?;
        Ok(
            latest.map_or(Source::none(condition), |(source, stored)| Source {
                token: stored.row.refresh_token,
                token_expires_at: stored.row.refresh_expires_at,
                condition,
                other: Some((source, stored.version)),
            }),
        )
    }

    /// The user's latest row in another session that has a refresh token of use. Two rows must not
    /// redeem the same token where the provider rotates it, and nothing is carried between rows
    /// that don't name a user and a subject.
    async fn latest_with_refresh_token(
        &self,
        key: &RowKey,
        row: &Row,
    ) -> Result<Option<(RowKey, StoredRow)>, Error> {
        let (Some(user), Some(subject)) = (&row.user_id, &row.upstream_subject) else {
            return Ok(None);
        };
        if self.rules.rotating_providers.contains(&key.provider) {
            return Ok(None);
        }
        let mut keys = self.store.user_rows(user).await?;
        keys.retain(|other| other.provider == key.provider && other != key);
        let mut latest = None::<(RowKey, StoredRow)>;
        let mut rows = UserRows::new(&self.store, user, &keys);
        while let Some(chunk) = rows.next(usize::MAX).await? {
            for (other, decoded) in chunk {
                let Ok(stored) = decoded else { continue };
                let is_usable = stored.row.upstream_subject.as_ref() == Some(subject)
                    && stored.row.usable_refresh_token().is_some();
                let is_later = |(_, best): &(_, StoredRow)| outlasts(&stored, best);
                if is_usable && latest.as_ref().is_none_or(is_later) {
                    latest = Some((other.clone(), stored));
                }
            }
        }
        Ok(latest)
    }
}

impl Source {
    fn none(condition: Condition) -> Self {
        Self {
            token: None,
            token_expires_at: None,
            condition,
            other: None,
        }
    }
}
