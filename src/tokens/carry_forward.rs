//! Carry-forward: keeping a refresh token that the provider didn't send again (guarantees, section 2.1).

use super::{Tokens, UserRows, expires_later};
use crate::{
    error::Error,
    store::{Condition, Store},
    types::{Row, RowKey, Secret, StoredRow, UnixTime, Version},
};

/// The refresh token to carry forward, and what must not change before the row is written.
pub(super) struct Source {
    /// The token. `None` if there is none to carry forward.
    pub(super) token: Option<Secret>,
    /// When the token expires, if that is known. It is carried forward together with the token.
    pub(super) token_expires_at: Option<UnixTime>,
    /// The condition that the replaced row is still the one that was read.
    pub(super) condition: Condition,
    /// If the token comes from another session: the key and the version of that session's row.
    pub(super) other: Option<(RowKey, Version)>,
}

impl<S: Store> Tokens<S> {
    /// Finds the refresh token for `row`, which is about to be stored under `key`. Takes the token of the
    /// replaced row. If that has none, takes the token of the latest row of the same user, provider and
    /// subject.
    pub(super) async fn refresh_token_for(&self, key: &RowKey, row: &Row) -> Result<Source, Error> {
        let (replaced, condition) = match self.store.get(key).await? {
            None => (None, Condition::Absent),
            Some(Ok(stored)) => {
                let condition = Condition::Version(stored.version);
                (Some(stored.row), condition)
            }
            // A row that can't be read has no token to carry forward, and no version to compare with.
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

    /// Returns the user's latest row in another session that has a usable refresh token.
    ///
    /// Returns `None` if the provider rotates refresh tokens, because two rows must not redeem the same one.
    /// Also returns `None` if `row` doesn't name a user and a subject.
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
        let mut latest = None::<(RowKey, StoredRow)>;
        let mut rows = UserRows::new(&self.store, user, &key.provider);
        while let Some(chunk) = rows.next().await? {
            for (other, decoded) in chunk {
                let Ok(stored) = decoded else { continue };
                let is_usable = other != *key
                    && stored.row.upstream_subject.as_ref() == Some(subject)
                    && stored.row.usable_refresh_token().is_some();
                let is_later = |(_, best): &(_, StoredRow)| expires_later(&stored, best);
                if is_usable && latest.as_ref().is_none_or(is_later) {
                    latest = Some((other, stored));
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
