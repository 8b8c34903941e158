//! Handing out access tokens that are valid, and refreshing them when they aren't (guarantees, section 2.2).

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{Binding, Tokens};
use crate::{
    error::{Error, Unreadable},
    refresh::{Due, Refreshed, Terms, due},
    store::{Records, Store},
    types::{
        ProviderName, Reach, ReauthReason, Row, RowKey, SessionId, StoredRow, UnixTime, Version,
    },
};

/// How often a call looks at a row again that somebody else stored while it was refreshed.
const LOOKS: usize = 4;

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
        key: &RowKey,
        wanted: &Wanted,
        binding: &Binding,
        deadline: Instant,
    ) -> Result<StoredRow, Error> {
        let read = self.store.get(key).await.map_err(Error::from);
        let stored = match read {
            Err(error @ Error::StoreUnavailable(_)) => {
                return self.unsaved(key, None, binding).unwrap_or(Err(error));
            }
            Err(error) => return Err(error),
            Ok(None) => return Err(Error::RowNotFound),
            Ok(Some(Ok(stored))) => {
                binding.check(&stored.row)?;
                stored
            }
            Ok(Some(Err(unreadable))) => {
                return self.unsaved_of_unreadable(key, unreadable, binding);
            }
        };
        match self.look(key, &stored, wanted) {
            Next::Serve => Ok(stored),
            // Mostly there is no need for this, and so no memory.
            next => Box::pin(self.refreshed(key, stored, next, wanted, binding, deadline)).await,
        }
    }

    /// Returns the rows of all access tokens of a session at the providers within `reach`. Those that have to be refreshed are,
    /// all at the same time. The answer comes by `deadline`.
    ///
    /// If the store can't be asked, returns the tokens that couldn't be stored yet, if there are any. Then every other
    /// configured provider has failed, because nobody knows whether the session has a row there.
    ///
    /// # Errors
    /// Returns the errors of [`Tokens::get_all`].
    pub async fn access_tokens(
        &self,
        session: &SessionId,
        min_validity: Option<Duration>,
        binding: &Binding,
        reach: &Reach,
        deadline: Instant,
    ) -> Result<SessionAccessTokens, Error> {
        let found = match self.get_all(session, binding, reach).await {
            Err(error @ Error::StoreUnavailable(_)) => {
                return self.all_unsaved(session, binding, reach, error);
            }
            found => found?,
        };
        let wanted = Wanted {
            min_validity,
            rejected_version: None,
        };
        let mut tokens = SessionAccessTokens::default();
        for (provider, unreadable) in found.unreadable {
            let key = RowKey {
                session: session.clone(),
                provider,
            };
            match self.unsaved_of_unreadable(&key, unreadable, binding) {
                Ok(stored) => _ = tokens.tokens.insert(key.provider, stored),
                Err(Error::BindingMismatch) => return Err(Error::BindingMismatch),
                Err(error) => _ = tokens.failed.insert(key.provider, error),
            }
        }
        let mut refreshing = FuturesUnordered::new();
        for (provider, stored) in found.rows {
            let key = RowKey {
                session: session.clone(),
                provider,
            };
            match self.look(&key, &stored, &wanted) {
                Next::Serve => _ = tokens.tokens.insert(key.provider, stored),
                next => refreshing.push(async move {
                    let refreshed = self.refreshed(&key, stored, next, &wanted, binding, deadline);
                    let refreshed = refreshed.await;
                    (key.provider, refreshed)
                }),
            }
        }
        while let Some((provider, refreshed)) = refreshing.next().await {
            match refreshed {
                Ok(stored) => _ = tokens.tokens.insert(provider, stored),
                Err(error) => _ = tokens.failed.insert(provider, error),
            }
        }
        Ok(tokens)
    }

    /// Returns the tokens of a session that couldn't be stored yet.
    ///
    /// # Errors
    /// Returns [`Error::BindingMismatch`] if any of them is bound to another owner, and `error` if there are none.
    fn all_unsaved(
        &self,
        session: &SessionId,
        binding: &Binding,
        reach: &Reach,
        error: Error,
    ) -> Result<SessionAccessTokens, Error> {
        let mut found = SessionAccessTokens::default();
        for configured in self.rules.providers.iter() {
            let key = RowKey {
                session: session.clone(),
                provider: configured.provider.options().name.clone(),
            };
            if !reach.providers.has(&key.provider) {
                continue;
            }
            match self.unsaved(&key, None, binding) {
                Some(stored) => _ = found.tokens.insert(key.provider, stored?),
                None => _ = found.failed.insert(key.provider, error.clone()),
            }
        }
        if found.tokens.is_empty() {
            return Err(error);
        }
        Ok(found)
    }

    /// Returns the tokens of a row that can't be read, if they were just obtained and couldn't be stored yet.
    fn unsaved_of_unreadable(
        &self,
        key: &RowKey,
        unreadable: Unreadable,
        binding: &Binding,
    ) -> Result<StoredRow, Error> {
        binding.check_unreadable(&unreadable)?;
        // Nobody can tell whether a row that shows no version is still the same one.
        let shown = unreadable.shown().map(|shown| shown.version);
        let unsaved = shown.and_then(|shown| self.unsaved(key, Some(shown), binding));
        unsaved.unwrap_or_else(|| Err(unreadable.into()))
    }

    /// Returns the tokens of a row, if they were just obtained and couldn't be stored yet. They are served from memory
    /// meanwhile (R8).
    fn unsaved(
        &self,
        key: &RowKey,
        shown: Option<Version>,
        binding: &Binding,
    ) -> Option<Result<StoredRow, Error>> {
        let unsaved = self.refresher.unsaved(key, shown)?;
        Some(binding.check(&unsaved.row).map(|()| unsaved))
    }

    /// Returns what has to be done before a row can be handed out.
    fn look(&self, key: &RowKey, stored: &StoredRow, wanted: &Wanted) -> Next {
        let now = UnixTime::now();
        if wanted.rejected_version == Some(stored.version) && !stored.row.is_expired(now) {
            return Next::Refresh(Why::Rejected);
        }
        let terms = match self.rules.providers.get(&key.provider) {
            Some(configured) => configured.terms(),
            None => Terms::default(),
        };
        match due(&stored.row, wanted.min_validity, terms, now) {
            Due::No => Next::Serve,
            Due::Soon => Next::RefreshBehind,
            Due::First => Next::Refresh(Why::EndsSoon),
            Due::Expired => Next::Refresh(Why::Expired),
        }
    }

    async fn refreshed(
        &self,
        key: &RowKey,
        mut stored: StoredRow,
        mut next: Next,
        wanted: &Wanted,
        binding: &Binding,
        deadline: Instant,
    ) -> Result<StoredRow, Error> {
        for _ in 0..LOOKS {
            let why = match next {
                Next::Serve => return Ok(stored),
                Next::RefreshBehind => {
                    if self.is_refreshable(key, &stored.row).is_ok() {
                        self.refresher.refresh_behind(key, stored.version);
                    }
                    return Ok(stored);
                }
                Next::Refresh(why) => why,
            };
            let refreshing = async {
                self.is_refreshable(key, &stored.row)?;
                let is_rejected = why == Why::Rejected;
                let deadline = match why {
                    Why::EndsSoon => deadline.min(handed_out_by(&stored.row)),
                    Why::Expired | Why::Rejected => deadline,
                };
                let refreshing = self
                    .refresher
                    .refresh(key, stored.version, is_rejected, deadline);
                refreshing.await
            };
            match refreshing.await {
                Ok(Refreshed::Row(row)) => {
                    binding.check(&row.row)?;
                    // It is as new as it gets, also if it ends before it arrives.
                    return Ok(*row);
                }
                Ok(Refreshed::Fresher(row)) => {
                    binding.check(&row.row)?;
                    stored = *row;
                    next = self.look(key, &stored, wanted);
                }
                // That is as new as it gets.
                Ok(Refreshed::Throttled) if why == Why::Rejected => return Ok(stored),
                Ok(Refreshed::Throttled) => {}
                // What is still valid is handed out as it is.
                Err(_) if why == Why::EndsSoon && !stored.row.is_expired(UnixTime::now()) => {
                    return Ok(stored);
                }
                Err(error) => return Err(error),
            }
        }
        match next {
            Next::Refresh(Why::Expired) => Err(Error::provider_unavailable(
                "others kept writing the row during its refresh",
            )),
            _ => Ok(stored),
        }
    }

    /// Checks that there is something that could be redeemed at the provider.
    fn is_refreshable(&self, key: &RowKey, row: &Row) -> Result<(), Error> {
        if let Some(reason) = row.reauth {
            return Err(Error::ReauthRequired(reason));
        }
        if row.refresh_token.is_none() {
            return Err(Error::NoRefreshToken);
        }
        if row.is_sender_constrained() {
            let why = "they are of use only together with a key of the client";
            return Err(Error::NotRefreshable(why));
        }
        if !row.refresh_token_is_live(UnixTime::now()) {
            return Err(Error::ReauthRequired(ReauthReason::Refused));
        }
        let configured = self.rules.providers.get(&key.provider);
        let configured =
            configured.ok_or_else(|| self.rules.providers.not_configured(&key.provider))?;
        if !configured.accepts(row.origin.as_ref()) {
            return Err(Error::ProviderChanged);
        }
        Ok(())
    }
}

/// Returns until when a caller waits for a refresh whose access token is still valid. Then it is handed out as it is, while
/// it can be used.
fn handed_out_by(row: &Row) -> Instant {
    let left = row
        .expires_at
        .map_or(0, |at| at.seconds() - UnixTime::now().seconds());
    let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
    Instant::now() + left / 2
}

/// What has to be done before a row can be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Serve,
    /// Nothing, but it is refreshed behind the caller's back.
    RefreshBehind,
    /// It is refreshed.
    Refresh(Why),
}

/// Why a row is refreshed before it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The access token has expired, or there is none.
    Expired,
    /// The access token doesn't live as long as the caller wants.
    EndsSoon,
    /// A resource server refused the access token.
    Rejected,
}
