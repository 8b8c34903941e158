//! Carry-forward: keeping a refresh token that the provider didn't send again (guarantees, section 2.1).

use super::{Tokens, UserRows, expires_later};
use crate::{
    error::{Error, Unreadable},
    refresh::Configured,
    store::{Condition, Store},
    types::{Origin, Reach, Row, RowKey, Secret, StoredRow, UnixTime, Version},
};

/// The refresh token to carry forward, and what must not change before the row is written.
pub(super) struct Source {
    /// The token. `None` if there is none to carry forward.
    pub(super) token: Option<Secret>,
    /// When the token expires, if that is known. It is carried forward together with the token.
    pub(super) token_expires_at: Option<UnixTime>,
    /// Where the token was obtained, if that is known. It is carried forward together with the token.
    pub(super) origin: Option<Origin>,
    /// The condition that the replaced row is still the one that was read.
    pub(super) condition: Condition,
    /// If the token comes from another session: the key and the version of that session's row.
    pub(super) other: Option<(RowKey, Version)>,
}

impl<S: Store> Tokens<S> {
    /// Finds the refresh token for `row`, which is about to be stored under `key`. Takes the token of the
    /// replaced row. If that has none, or it has expired at `now`, takes the token of the latest row of the same
    /// user, provider and subject. A token that has expired is only taken if no other is known.
    ///
    /// Finds none outside of `reach`: a caller that is kept to one client would get the tokens of another in this way.
    ///
    /// Finds none if `row` doesn't name a user: nothing would tell whose token it is. Takes none that was obtained
    /// where the configured provider doesn't accept tokens from: it would be of no use there.
    pub(super) async fn refresh_token_for(
        &self,
        key: &RowKey,
        row: &Row,
        now: UnixTime,
        reach: &Reach,
    ) -> Result<Source, Error> {
        let (replaced, condition) = match self.store.get(key).await? {
            None => (None, Condition::Absent),
            Some(Ok(stored)) => {
                let condition = Condition::Version(stored.version);
                (Some(stored.row), condition)
            }
            // Its token is there for who has the key. It must not be lost, whichever client it says that it is of: nothing vouches
            // for that.
            Some(Err(unreadable @ Unreadable::KeyMissing(_))) => return Err(unreadable.into()),
            // A row that can't be read has no token to carry forward, and no version to compare with.
            Some(Err(_)) => (None, Condition::Always),
        };
        let configured = self.rules.providers.get(&key.provider);
        let own = replaced.filter(|old| {
            can_be_carried(old, configured)
                && reach.is_of_client(old)
                && old.user_id.is_some()
                && old.user_id == row.user_id
                && old.upstream_subject == row.upstream_subject
        });
        let own_is_live = |own: &Row| own.refresh_token_is_live(now);
        if let Some(own) = own.as_ref().filter(|own| own_is_live(own)) {
            return Ok(Source::new(own, condition, None));
        }
        let latest = self.latest_with_refresh_token(key, row, now, reach).await?;
        Ok(match (latest, own) {
            (Some((_, other)), Some(own)) if !other.row.refresh_token_is_live(now) => {
                Source::new(&own, condition, None)
            }
            (Some((source, stored)), _) => {
                Source::new(&stored.row, condition, Some((source, stored.version)))
            }
            (None, Some(own)) => Source::new(&own, condition, None),
            (None, None) => Source::new(&Row::default(), condition, None),
        })
    }

    /// Returns the user's latest row in another session that has a usable refresh token. A token that hasn't expired
    /// at `now` comes before one that has.
    ///
    /// # Errors
    /// Returns [`Error::KeyMissing`] if it knows no such token, and a row whose key is missing may have one.
    ///
    /// Returns `None` if the provider is configured as one that rotates refresh tokens, because two rows must not
    /// redeem the same one. Also returns `None` if `row` doesn't name a user and a subject.
    async fn latest_with_refresh_token(
        &self,
        key: &RowKey,
        row: &Row,
        now: UnixTime,
        reach: &Reach,
    ) -> Result<Option<(RowKey, StoredRow)>, Error> {
        let (Some(user), Some(subject)) = (&row.user_id, &row.upstream_subject) else {
            return Ok(None);
        };
        let configured = self.rules.providers.get(&key.provider);
        if configured.is_some_and(|configured| !configured.tokens_may_be_shared()) {
            return Ok(None);
        }
        let (mut latest, mut key_missing) = (None::<(RowKey, StoredRow)>, None);
        let mut rows = UserRows::new(&self.store, user, &key.provider);
        while let Some(chunk) = rows.next().await? {
            for (other, decoded) in chunk {
                let stored = match decoded {
                    Ok(stored) => stored,
                    Err(unreadable) => {
                        let shown = unreadable.shown();
                        let may_count = shown.is_some_and(|StoredRow { row, .. }| {
                            other != *key
                                && reach.is_of_client(row)
                                && row.upstream_subject.as_ref() == Some(subject)
                                && row.reauth.is_none()
                        });
                        key_missing = key_missing.or(may_count.then_some(unreadable));
                        continue;
                    }
                };
                let is_usable = other != *key
                    && reach.is_of_client(&stored.row)
                    && stored.row.upstream_subject.as_ref() == Some(subject)
                    && can_be_carried(&stored.row, configured);
                let is_live = stored.row.refresh_token_is_live(now);
                let is_later =
                    |(_, best): &(_, StoredRow)| match best.row.refresh_token_is_live(now) {
                        best_is_live if best_is_live == is_live => expires_later(&stored, best),
                        best_is_live => !best_is_live,
                    };
                if is_usable && latest.as_ref().is_none_or(is_later) {
                    latest = Some((other, stored));
                }
            }
        }
        match (latest, key_missing) {
            (None, Some(unreadable)) => Err(unreadable.into()),
            (latest, _) => Ok(latest),
        }
    }
}

/// Whether the refresh token of `row` can be redeemed, as far as is known.
fn can_be_carried(row: &Row, configured: Option<&Configured>) -> bool {
    let accepts = |configured: &Configured| configured.accepts(row.origin.as_ref());
    row.usable_refresh_token().is_some() && configured.is_none_or(accepts)
}

impl Source {
    /// Returns the refresh token of `row`, if it has one. `other` is set if `row` belongs to another session.
    fn new(row: &Row, condition: Condition, other: Option<(RowKey, Version)>) -> Self {
        Self {
            token: row.refresh_token.clone(),
            token_expires_at: row.refresh_expires_at,
            origin: row.origin.clone(),
            condition,
            other,
        }
    }
}
